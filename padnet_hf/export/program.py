"""A model as one graph of torch operations for any number of inputs: torch.export.

Axis letters: B batch, S sequence, C choices or channels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from transformers import PreTrainedModel
from transformers.modeling_outputs import ModelOutput

from padnet_hf.models.pad_config import image_shape
from padnet_hf.models.registry import family_of

Inputs = dict[str, Tensor]


class _Graph(nn.Module):
    """A model whose outputs are plain tensors by name: a graph must not need transformers' output classes."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def named(self, **inputs: Tensor) -> dict[str, Tensor]:
        return named_tensors(self.model(**inputs, return_dict=True))


class _TypedTextGraph(_Graph):
    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> dict[str, Tensor]:
        return self.named(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)


class _TextGraph(_Graph):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        return self.named(input_ids=input_ids, attention_mask=attention_mask)


class _ImageGraph(_Graph):
    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        return self.named(pixel_values=pixel_values)


def named_tensors(output: ModelOutput) -> dict[str, Tensor]:
    """A model's outputs by name; those that are several, feature maps for instance, with a number each.

    Without the cache of a language model: a graph is for whole texts.
    """
    found: dict[str, Tensor] = {}
    for name, value in ((name, value) for name, value in output.items() if name != "past_key_values"):
        found |= {name: value} if isinstance(value, Tensor) else {f"{name}.{i}": part for i, part in enumerate(value)}
    return found


def takes_text(model: PreTrainedModel) -> bool:
    """Whether its inputs are tokens; they are images otherwise."""
    return model.main_input_name == "input_ids"


def has_token_types(model: PreTrainedModel) -> bool:
    """Whether a model of text tells first and second texts apart by their token types."""
    return getattr(model.config, "type_vocab_size", 0) > 1


def graph_of(model: PreTrainedModel) -> nn.Module:
    """A module that takes the model's inputs by name and gives a dictionary of tensors, logits for instance."""
    if not takes_text(model):
        return _ImageGraph(model)
    return _TypedTextGraph(model) if has_token_types(model) else _TextGraph(model)


def longest_input(model: PreTrainedModel) -> int:
    """The most tokens that a model of text takes, dense or PAD."""
    return family_of(model.config.model_type).longest_input(model.config)


def random_inputs(model: PreTrainedModel, batch: int, length: int, seed: int = 0) -> Inputs:
    """Inputs as the model takes them: tokens of which the ends are padding, or images of the model's own size.

    input_ids, attention_mask and, where the model has several, token_type_ids (B, S) int64, (B, 2, S) for multiple
    choice; or pixel_values (B, C, image_size, image_size) float32.
    """
    generator, config = torch.Generator().manual_seed(seed), model.config
    if not takes_text(model):
        return {"pixel_values": torch.randn(batch, *image_shape(config), generator=generator)}
    shape = (batch, 2, length) if "MultipleChoice" in type(model).__name__ else (batch, length)
    used = torch.randint(1, length + 1, (*shape[:-1], 1), generator=generator)
    used[0] = length
    inputs = {
        "input_ids": torch.randint(config.vocab_size, shape, generator=generator),
        "attention_mask": (torch.arange(length) < used).long(),
    }
    if has_token_types(model):
        inputs["token_type_ids"] = torch.randint(config.type_vocab_size, shape, generator=generator)
    return inputs


def exported_program(model: PreTrainedModel) -> tuple[ExportedProgram, list[str]]:
    """The graph of a model in evaluation mode, and the names of its outputs.

    It holds for any B and S (to the longest that the model takes), or any number of images of the model's `image_size`.
    """
    inputs = random_inputs(model, 2, 8)
    shapes = {name: _dynamic(model, tensor) for name, tensor in inputs.items()}
    with _for_graphs(model), torch.no_grad():
        graph = graph_of(model)
        return torch.export.export(graph, (), inputs, dynamic_shapes=shapes), list(graph(**inputs))


@contextmanager
def _for_graphs(model: PreTrainedModel) -> Iterator[None]:
    """The model computes in a way that graphs can hold, with the same outputs."""
    config = model.config
    implementation, use_cache = getattr(config, "_experts_implementation", None), getattr(config, "use_cache", None)
    if implementation is not None:
        model.set_experts_implementation("eager")  # grouped_mm has no counterpart in ONNX
    if use_cache:
        config.use_cache = False  # a cache's size depends on the length of the text
    try:
        yield
    finally:
        if implementation is not None:
            model.set_experts_implementation(implementation)
        if use_cache:
            config.use_cache = use_cache


def _dynamic(model: PreTrainedModel, tensor: Tensor) -> dict[int, Any]:
    batch = {0: Dim("batch")}
    if not takes_text(model):
        return batch
    choices = {1: Dim("choices")} if tensor.dim() == 3 else {}
    return batch | choices | {tensor.dim() - 1: Dim("length", max=longest_input(model))}
