"""Where the experts of a trained mixture are: modules of one layout, that transformers describes by flags."""

import re
from dataclasses import dataclass
from typing import Any

from torch import nn

from padnet_hf.errors import PADNetError
from padnet_hf.layers.routed_experts import PADRoutedExperts
from padnet_hf.models.seams import Seam

_FLAGS = {
    "has_gate": (True, "has no gates"),
    "has_bias": (False, "has biases"),
    "is_transposed": (False, "is transposed"),
    "is_concatenated": (True, "has the rows of gates and up projection in turn"),
    "has_post_expert_norm": (False, "has a norm after each expert"),
}
"""What transformers says of an experts module -> what it must be, and what is so otherwise.

5.19 does not say all of it, as it has no experts of which the last one is true.
"""

_WEIGHTS = ("gate_up_proj", "down_proj")


@dataclass(frozen=True)
class Experts(Seam):
    """Experts modules of a trained mixture, one in every layer that has one; block and router stay as they are.

    The modules have the layout of nearly all mixtures in transformers: `gate_up_proj` (E, 2I, H), the gates' rows
    first, and `down_proj` (E, H, I), no biases, an activation `act_fn`, and a forward of hidden states, chosen experts
    and gates.

    Attributes:
        place: path of the modules within the bare model; * stands for one part of it.
    """

    place: str
    has_copies = True

    def describe(self) -> str:
        return f"{self.place} (experts of a trained mixture)"

    def find(self, base: nn.Module) -> dict[str, nn.Module]:
        """The experts modules, by name. Raises PADNetError if there are none, or they have another layout."""
        pattern = re.compile(re.escape(self.place).replace(r"\*", r"[^.]+"))
        found = {name: module for name, module in base.named_modules() if pattern.fullmatch(name)}
        if not found:
            near = [name for name, module in base.named_modules() if hasattr(module, "is_concatenated")][:3]
            raise PADNetError(
                f"the seam's path {self.place!r} matches no module of {type(base).__name__}; its experts are called "
                f"{', '.join(map(repr, near)) or 'nothing: it has none'}, for instance. Correct the declaration, or, "
                "if the configuration gives no layer experts, take the family of the dense model."
            )
        for name, module in found.items():
            _check(name, module)
        return found

    def replace(self, base: nn.Module, *, top_k: int) -> None:
        """Put PAD layers into `base`, of experts of which a router chooses `top_k`."""
        for name, stock in self.find(base).items():
            num_experts, hidden, inner = stock.down_proj.shape
            options: dict[str, Any] = {"top_k": top_k, "gated": True, "bias": False}
            layer = PADRoutedExperts(num_experts, hidden, inner, stock.act_fn, **options)
            base.set_submodule(name, layer.train(stock.training))

    def sources(self, name: str) -> dict[str, tuple[str, ...]]:
        return {f"{name}.{key}": (f"{name}.{key}",) for key in _WEIGHTS}


def _check(name: str, module: nn.Module) -> None:
    """Raise PADNetError for experts of another layout, with all that is other about it."""
    if not (hasattr(module, "has_gate") and hasattr(module, "_apply_gate")):
        reasons = ["is no experts module of transformers' interface for them (use_experts_implementation)"]
    else:
        reasons = [what for flag, (needed, what) in _FLAGS.items() if getattr(module, flag, needed) != needed]
        if type(module)._apply_gate.__module__ != "transformers.integrations.moe":
            reasons.append("has a way of its own to apply gates (_apply_gate)")
        shapes = {own: tuple(parameter.shape) for own, parameter in module.named_parameters()}
        if not reasons and not _fit(shapes):
            reasons.append(f"has parameters of the shapes {shapes}")
    if reasons:
        raise PADNetError(
            f"{name} ({type(module).__name__}) {', '.join(reasons)}, but PAD layers take the place of experts with "
            "gate_up_proj (E, 2I, H), the gates' rows first, and down_proj (E, H, I), without biases: models with "
            "experts of another layout cannot be partitioned."
        )


def _fit(shapes: dict[str, tuple[int, ...]]) -> bool:
    if sorted(shapes) != sorted(_WEIGHTS) or any(len(shape) != 3 for shape in shapes.values()):
        return False
    num_experts, hidden, inner = shapes["down_proj"]
    return shapes["gate_up_proj"] == (num_experts, 2 * inner, hidden)
