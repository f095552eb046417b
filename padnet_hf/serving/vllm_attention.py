"""What vLLM's attention needs to be told about stock attention modules to take their places."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import nn
from vllm.model_executor.models.transformers.base import Base
from vllm.model_executor.models.transformers.fusers.attention import interface_call

_USUAL_SCALE = ast.dump(ast.parse("self.head_dim**-0.5", mode="eval").body)


def _attention_modules(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if interface_call(type(module).forward) is not None]


def prepare_attention(model: nn.Module) -> None:
    """Number the attention modules of families that do not do it by themselves, as vLLM looks them up by number."""
    for number, module in enumerate(_attention_modules(model)):
        if not hasattr(module, "layer_idx"):
            module.layer_idx = number


@contextmanager
def own_attention(served: Base) -> Iterator[None]:
    """While vLLM makes its attention modules: as many as the model has, which is one where layers are shared; with the
    scale that it takes by itself where it cannot read it, and the reach that modules of encoders have."""
    config, modules = served.text_config, _attention_modules(served.model)
    for number, (name, fuser) in served.attention_fusers.items():
        if fuser.scale_expr is not None and ast.dump(fuser.scale_expr) == _USUAL_SCALE:
            served.attention_fusers[number] = name, replace(fuser, scale_expr=None)
    told = {"num_hidden_layers": len(modules)}
    reach = {window for module in modules if (window := getattr(module, "sliding_window", None)) is not None}
    if reach and not getattr(modules[0], "is_causal", True):
        (told["sliding_window"],) = reach
    before = {name: getattr(config, name) for name in told}
    try:
        for name, value in told.items():
            setattr(config, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(config, name, value)
