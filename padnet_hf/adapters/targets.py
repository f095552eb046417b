"""What of a model LoRA can adapt, by names that are the same in every model.

| group | what |
|---|---|
| attention | linear layers inside of attention |
| feed_forward | other linear layers of the numbered layers: the feed-forward networks of a dense model |
| experts | the two projections of every expert, where they are matrices: fully dynamic, or partitioned by unit |
| router | routers; small, so trained in full and kept with the adapter |

The values of an element partition are packed, (E, n) and (N-n,): no matrices, so a low rank means nothing there.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import nn

from padnet_hf.errors import PADNetError
from padnet_hf.layers.experts import PADExperts
from padnet_hf.layers.router import NoisyTopKRouter
from padnet_hf.method.weight import PADWeight

GROUPS = ("attention", "feed_forward", "experts", "router")
_ATTENTION = {"attention", "attn", "self_attn"}
"""What transformers calls the modules of attention."""
_NUMBERED = re.compile(r"^(.*\.)?\d+\.")


class Target(NamedTuple):
    """One thing to adapt.

    group: of GROUPS, "" for a linear layer in none of them.
    kind: how PEFT reaches it: "module", "parameter", or "saved" if it is trained in full.
    name: of the module or parameter in the model.
    sizes: rows and columns of the matrix, (0, 0) for packed values, which cannot be adapted.
    """

    group: str
    kind: str
    name: str
    sizes: tuple[int, int]

    @property
    def relative(self) -> str:
        """The name within its numbered layer, the same for every layer."""
        return _NUMBERED.sub("", self.name)


def find_targets(model: nn.Module) -> list[Target]:
    """Everything in the model that could be adapted, packed experts included."""
    found = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            group = "feed_forward" if _ATTENTION.isdisjoint(name.split(".")) else "attention"
            group = group if _NUMBERED.match(name) else ""
            found.append(Target(group, "module", name, tuple(module.weight.shape)))
        elif isinstance(module, NoisyTopKRouter):
            found.append(Target("router", "saved", name, tuple(module.weight.shape)))
        elif isinstance(module, PADExperts):
            weights = module.weights
            found += _of_weight(f"{name}.{module.up_name}", weights.up)
            found += _of_weight(f"{name}.down_proj", weights.down)
    return found


def _of_weight(name: str, weight: PADWeight) -> Iterator[Target]:
    is_packed = weight.granularity == "element" and weight.phi is not None
    for part in ("dynamic", "static"):
        values = getattr(weight, part)
        if values is not None:
            sizes = (0, 0) if is_packed else tuple(values.shape[-2:])
            yield Target("experts", "parameter", f"{name}.{part}", sizes)


def choose_targets(model: nn.Module, asked: Sequence[str] | None) -> list[Target]:
    """The targets under these names: groups, or ends of names of linear layers; every group there is for None.

    Packed experts are left out unless asked for. Raises PADNetError for a name that matches nothing, or packed experts.
    """
    found = find_targets(model)
    if asked is None:
        return [target for target in found if target.group and all(target.sizes)]
    chosen = {}
    for name in asked:
        matching = [t for t in found if t.group == name] or [
            t for t in found if t.kind == "module" and f".{t.name}".endswith(f".{name}")
        ]
        if not matching:
            groups = [group for group in GROUPS if any(t.group == group and all(t.sizes) for t in found)]
            layers = sorted({t.relative for t in found if t.kind == "module"})
            raise PADNetError(
                f"the LoRA target {name!r} matches nothing in this {type(model).__name__}: give groups "
                f"({', '.join(groups) or 'it has none'}) or linear layers ({', '.join(layers) or 'it has none'})."
            )
        packed = [t for t in matching if not all(t.sizes)]
        if packed:
            raise PADNetError(
                f"LoRA cannot adapt {packed[0].name}: the values of an element partition are packed, not matrices. "
                "Leave the target 'experts' out (attention and router remain), or partition with granularity 'unit'."
            )
        chosen |= dict.fromkeys(matching)
    return list(chosen)
