"""A unit partition taken apart: the experts and the shared network that it is, with scale factors folded in.

Axis letters: E experts, H hidden, d dynamic inner neurons, s static ones.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from padnet_hf.errors import PADNetError
from padnet_hf.layers.experts import PADExperts
from padnet_hf.layers.feed_forward import PADFeedForward
from padnet_hf.layers.routed_experts import PADRoutedExperts
from padnet_hf.method.layout import Granularity
from padnet_hf.method.weight import PADWeight
from padnet_hf.models.pad_model import PADModelMixin


class Parts(NamedTuple):
    """y = sum_e g_e FFN_e(x) + FFN_shared(x), gates g the softmax over the K largest of router x.

    router: (E, H). gate_up: (E, 2d, H), the gates' rows first. down: (E, H, d).
    shared_gate, shared_up: (s, H), shared_down: (H, s); None where nothing is static.
    """

    router: Tensor
    gate_up: Tensor
    down: Tensor
    shared_gate: Tensor | None
    shared_up: Tensor | None
    shared_down: Tensor | None

    @property
    def sizes(self) -> tuple[int, int]:
        """d and s."""
        return self.down.shape[2], 0 if self.shared_down is None else self.shared_down.shape[1]


def parts_of(model: PADModelMixin) -> dict[int, Parts]:
    """The parts of every PAD layer, by the number of its decoder layer.

    Raises PADNetError if a layer is no mixture with a shared expert, or the layers differ in size.
    """
    found: dict[int, Parts] = {}
    for number, layer in enumerate(model.base_model.layers):
        name, mlp = f"layers.{number}.mlp", layer.mlp
        if isinstance(mlp, PADFeedForward):
            found[number] = parts_of_layer(name, mlp.router.weight, mlp.experts)
        elif isinstance(getattr(mlp, "experts", None), PADRoutedExperts):
            found[number] = parts_of_layer(f"{name}.experts", mlp.gate.weight, mlp.experts)
    if not found:
        raise PADNetError(
            f"this {type(model).__name__} has no PAD layer, so it is dense: make a stock checkpoint of it with "
            "to_dense(), or padnet to-dense."
        )
    sizes = {number: parts.sizes for number, parts in found.items()}
    if len(set(sizes.values())) > 1:
        counts = ", ".join(f"layer {number}: {dynamic}" for number, (dynamic, _) in list(sizes.items())[:4])
        raise PADNetError(
            f"the layers have different numbers of dynamic neurons ({counts}, ...), but stock models have experts of "
            "one size: partition with scope='layer' (--scope layer), which gives every layer the same share."
        )
    return found


@torch.no_grad()
def parts_of_layer(name: str, router: Tensor, experts: PADExperts) -> Parts:
    """The parts of one PAD layer, `name` in messages. Raises PADNetError if it is no mixture with a shared expert."""
    up, up_bias, down, _ = experts.weights
    if not experts.gated or up_bias is not None:
        what = "has biases" if up_bias is not None else "has no gates"
        raise PADNetError(f"{name} {what}, but the experts of stock language models have gates and no biases.")
    _check_units(name, up, down)
    router = router.detach()
    if up.is_fully_dynamic or up.leaves_out:
        return Parts(router, up.dynamic.detach(), down.dynamic.detach(), None, None, None)
    if up.is_static:
        raise PADNetError(
            f"nothing of {name} is dynamic, so it is a dense network: make a stock checkpoint with to_dense() if all "
            "layers are, or partition with scope='layer' and a larger dynamic_ratio."
        )
    (up_d, up_s), (down_d, down_s) = up.scales(), down.scales()
    gate, shared_up = (up.static * up_s).chunk(2)
    return Parts(router, up.dynamic * up_d, down.dynamic * down_d, gate, shared_up, down.static * down_s)


def _check_units(name: str, *weights: PADWeight) -> None:
    granularity: Granularity = weights[0].granularity
    if granularity == "element" and any(weight.phi is not None for weight in weights):
        raise PADNetError(
            f"{name} is partitioned by element: each expert is a whole network of single weights, some of them shared, "
            "for which no stock model has a place. Partition by unit (--granularity unit), or write the fully dynamic "
            "model."
        )
