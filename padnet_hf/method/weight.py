"""PADWeight: the one module that holds E copies of a weight, fully dynamic or partitioned.

Axis letters: E copies, N elements of one copy, U units of one copy, n or d dynamic elements or units.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from padnet_hf.errors import PADNetError
from padnet_hf.method.built import BUILT, BuiltCopies, can_be_kept, is_inference
from padnet_hf.method.layout import Form, Granularity, Layout, Masks
from padnet_hf.method.packing import (
    Packed,
    first_positions,
    linear_of_copies,
    linear_of_some,
    linear_per_copy,
    merge,
    merge_by_order,
    packed_linear,
    packed_order,
    unpack_mask,
    unpacked_copies,
)
from padnet_hf.method.positions import Positions, positions_by_bits, positions_in
from padnet_hf.method.scratch import scratch
from padnet_hf.method.shards import shard_copies, summed_in_backward

Result = TypeVar("Result")

WeightState = dict[str, Tensor]
"""The tensors of a PADWeight by name: some of `dynamic`, `static`, `phi`, `mask_bits`."""

_TENSORS = ("dynamic", "static", "phi", "mask_bits")


class PADWeight(nn.Module):
    """E copies of a weight of shape `shape`; after partition, part of it in E copies and the rest in one.

    The compact tensors are the parameters, nothing dense is kept beside them. What exists depends on the count of
    dynamic candidates (elements, or units along `unit_dim`):

    | count | tensors |
    |---|---|
    | all | `dynamic` (E, *shape) |
    | none | `static` (*shape) |
    | n of N elements | `dynamic` (E, n), `static` (N-n,), `phi` (1,), `mask_bits` (ceil(N/8),) uint8 |
    | d of U units | `dynamic` (E, ..d..), `static` (..U-d..), `phi` (1,), and `mask_bits` (ceil(U/8),) if `ordered` |
    | n of each copy's own | `dynamic` (E, n), `static` (N,), `phi` (1,), `mask_bits` (E, ceil(N/8)) uint8 |
    | d units of each, no others | `dynamic` (E, ..d..) |

    The forward pass sees lambda_d * M * Theta_dynamic + lambda_s * (1 - M) * Theta_static, where lambda_d is
    2 sigmoid(phi) and lambda_s is 2 - lambda_d (PAD-Net, section 3; the sigmoid is upstream's). phi starts at 0, both
    scales at 1. M is one mask for all copies, or each copy's own.

    Args:
        num_copies: E, at least 1.
        shape: shape of one copy.
        unit_dim, unit_blocks, ordered: where its units are, see `Layout`.
    """

    mask_bits: Tensor | None

    def __init__(
        self,
        num_copies: int,
        shape: tuple[int, ...],
        *,
        unit_dim: int | None = None,
        unit_blocks: int = 1,
        ordered: bool = True,
    ) -> None:
        super().__init__()
        self.layout = Layout(num_copies, torch.Size(shape), unit_dim, unit_blocks, ordered)
        self.num_own_copies = num_copies
        self.granularity: Granularity = "element"
        self.keeps_built: bool | None = None
        self.mesh: DeviceMesh | None = None
        for name in ("dynamic", "static", "phi"):
            self.register_parameter(name, None)
        self.register_buffer("mask_bits", None)
        self.become({"dynamic": torch.empty(num_copies, *shape)})

    # What it is

    @property
    def shape(self) -> torch.Size:
        """Shape of one copy."""
        return self.layout.shape

    @property
    def num_copies(self) -> int:
        """E."""
        return self.layout.num_copies

    def num_candidates(self, granularity: Granularity) -> int:
        """How many parts can be dynamic or static each by itself: N elements or U units (1 if it has no units)."""
        return self.layout.num_candidates(granularity)

    @property
    def is_fully_dynamic(self) -> bool:
        return self.static is None and self.dynamic.shape[1:] == self.shape

    @property
    def leaves_out(self) -> bool:
        """Whether units were left out of every copy."""
        return self.static is None and not self.is_fully_dynamic

    @property
    def has_own_masks(self) -> bool:
        """Whether every copy has a mask of its own over its elements."""
        return self.mask_bits is not None and self.mask_bits.dim() == 2

    @property
    def masks(self) -> Masks:
        """Whether all copies keep the same candidates, or each its own."""
        return "per_copy" if self.has_own_masks or self.leaves_out else "shared"

    @property
    def is_static(self) -> bool:
        return self.dynamic is None

    @property
    def num_dynamic(self) -> int:
        """Dynamic candidates, in elements or units as `granularity` says."""
        if self.is_fully_dynamic:
            return self.num_candidates(self.granularity)
        if self.is_static:
            return 0
        if self.granularity == "element":
            return self.dynamic.shape[1]
        return self.dynamic.shape[1 + self.layout.unit_dim] // self.layout.unit_blocks

    @property
    def num_dynamic_elements(self) -> int:
        return 0 if self.is_static else self.dynamic.numel() // self.num_copies

    @property
    def values(self) -> nn.Parameter:
        """A parameter that exists in every form, for its dtype and device."""
        return self.static if self.dynamic is None else self.dynamic

    def mask(self) -> Tensor:
        """Which candidates are dynamic, bool: (N,), (E, N) for each copy, or (U,), in the order that is stored."""
        total = self.num_candidates(self.granularity)
        if self.mask_bits is not None:
            return unpack_mask(self.mask_bits, total)
        return torch.arange(total, device=self.values.device) < self.num_dynamic

    # What it becomes

    def state(self) -> WeightState:
        """The tensors of this weight by name, as they are."""
        return {name: tensor for name in _TENSORS if (tensor := getattr(self, name)) is not None}

    def become(self, state: WeightState, granularity: Granularity | None = None) -> None:
        """Take these tensors as its own; floating-point ones become parameters, trainable if it was trainable."""
        trainable = all(p.requires_grad for p in self.parameters())
        for name in ("dynamic", "static", "phi"):
            tensor = state.get(name)
            if tensor is not None and not isinstance(tensor, nn.Parameter):
                tensor = nn.Parameter(tensor, requires_grad=trainable)
            setattr(self, name, tensor)
        self.mask_bits = state.get("mask_bits")
        self.granularity = granularity or self.granularity

    def make_room(self, num_dynamic: int, granularity: Granularity, masks: Masks = "shared") -> None:
        """Take the form that a checkpoint with this count has, its values still to be filled in.

        Raises PADNetError if the count is not in 0..candidates.
        """
        values, shapes = self.values, self.layout.shapes(Form(num_dynamic, granularity, masks))
        state = {name: values.new_empty(shape) for name, shape in shapes.items() if name != "mask_bits"}
        if "mask_bits" in shapes:
            *copies, _ = shapes["mask_bits"]
            total = self.num_candidates(granularity)
            state["mask_bits"] = first_positions(num_dynamic, total, values.device, copies)
        if "phi" in state:
            state["phi"].zero_()
        self.become(state, granularity)

    # On several processes

    def shard(self, mesh: DeviceMesh) -> None:
        """Spread the copies over the processes of `mesh`, which hold equal ones; static values stay whole in each.

        From then on `build`, `linear` and `packed` are about this process's copies. The gradients that they give for
        static values and phi are summed over the processes, so that these stay equal.
        Raises PADNetError if the copies cannot be spread evenly.
        """
        own, rest = divmod(self.num_copies, mesh.size())
        if rest:
            raise PADNetError(
                f"{self.num_copies} copies (experts) cannot be spread evenly over {mesh.size()} processes: take a "
                f"number of processes that divides {self.num_copies}, or leave them whole (ep_size=1)."
            )
        if self.dynamic is not None:
            self.dynamic = shard_copies(self.dynamic, mesh)
        self.mesh, self.num_own_copies = mesh, own

    @property
    def _own_copies(self) -> slice:
        """Those that this process holds."""
        first = 0 if self.mesh is None else self.mesh.get_local_rank() * self.num_own_copies
        return slice(first, first + self.num_own_copies)

    @property
    def own_dynamic(self) -> Tensor:
        """`dynamic`, as far as this process holds it."""
        return self.dynamic if self.mesh is None else self.dynamic.to_local()

    @property
    def shared_static(self) -> Tensor:
        """`static`, for a computation in which every process uses its own copies."""
        return summed_in_backward(self.static, self.mesh)

    # What it computes

    def forward(self, compute: Callable[[], Result]) -> Result:
        """`compute()`, which uses this weight.

        Layers call a weight although it does nothing by itself, because accelerate's hooks and PEFT's wrappers act
        while a module is called.
        """
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self.forget_built()
        return compute()

    def scales(self) -> tuple[Tensor, Tensor]:
        """lambda_d and lambda_s, each of shape (); both 1 unless the weight has a dynamic and a static part."""
        if self.phi is None:
            one = self.values.new_ones(())
            return one, one
        scale_dynamic = 2 * torch.sigmoid(summed_in_backward(self.phi, self.mesh).squeeze(0))
        return scale_dynamic, 2 - scale_dynamic

    def build(self, scratch_for: str | None = None) -> Tensor:
        """All copies in full, (E, *shape); differentiable in every parameter.

        With gradients off it may be kept for the next time (`keep_built`): do not write to it.

        Args:
            scratch_for: a purpose; on a CPU, what is built then holds only until something is built for it again.
        """
        if self.static is None:
            return self.own_dynamic
        kept = self._kept()
        return self._build(scratch_for) if kept is None else kept.fill(range(self.num_own_copies), self.packed)

    def keep_built(self, keep: bool | None = True) -> None:
        """Whether copies once built are kept, in evaluation and with gradients off, at E * N numbers.

        None, as it is at first: from the second use on, within a budget (padnet_hf/method/built.py). True: whatever it
        takes, from the first use on. False: never. They are let go when a parameter changes, or the weight is trained,
        loaded into or moved. A change of a few values through `.data` may go unnoticed: call `forget_built` after it.
        """
        self.keeps_built = keep
        if not keep:
            self.forget_built()

    def forget_built(self) -> None:
        """Let go of the copies that are kept built."""
        BUILT.forget(self.values)

    def train(self, mode: bool = True) -> Self:
        """As any module's; training keeps no built copies."""
        if mode:
            self.forget_built()
        return super().train(mode)

    def _kept(self) -> BuiltCopies | None:
        """Where its copies are kept while they are used once more; None if they are not."""
        if self.phi is None or self.keeps_built is False or not is_inference():
            return None
        tensors = tuple(self.state().values())
        if not self.keeps_built and (self.training or self.mesh is not None or not can_be_kept(tensors)):
            return None
        return BUILT.use(tensors, (self.num_own_copies, *self.shape), always=bool(self.keeps_built))

    def _build(self, scratch_for: str | None = None) -> Tensor:
        if self.is_static:
            return self.shared_static.expand(self.num_own_copies, *self.shape)
        if torch.compiler.is_compiling():
            return self._merged_in_graph(self.own_dynamic.flatten(1))
        memory, packed = None, self.packed()
        if scratch_for is not None and self.values.device.type == "cpu":
            memory = scratch(scratch_for, self.num_own_copies * self.shape.numel(), self.values.dtype)
        return merge(*packed, memory).view(self.num_own_copies, *self.shape)

    def mix(self, shares: Tensor) -> Tensor:
        """A weight per sample, (B, *shape), whose dynamic part is the sum of the copies times `shares` (B, E)."""
        if self.is_static:
            return self.static.expand(shares.shape[0], *self.shape)
        are_whole = self.static is None or self.has_own_masks
        dynamic = (self.build() if are_whole else self.dynamic).flatten(1)
        mixed = (shares.to(dynamic.dtype) @ dynamic).to(dynamic.dtype)
        if torch.compiler.is_compiling() and not are_whole:
            return self._merged_in_graph(mixed)
        if not are_whole:
            mixed = merge(mixed, *self.packed()[1:])
        return mixed.view(-1, *self.shape)

    def _merged_in_graph(self, dynamic: Tensor) -> Tensor:
        """Dynamic values (B, n) with the static ones in their places, (B, *shape)."""
        mask = self.mask()
        if self.granularity == "unit":
            mask = self.layout.over_elements(mask)
        order = packed_order(mask[self._own_copies] if self.has_own_masks else mask, dynamic.shape[1])
        return merge_by_order(dynamic, self.shared_static.flatten(), *self.scales(), order).view(-1, *self.shape)

    def linear(
        self, inputs: Iterable[Tensor], bias: Tensor | None, chosen: Sequence[int] | None = None
    ) -> Iterable[Tensor]:
        """inputs[e] (T_e, I) times copy e (O, I) plus bias[e], from bias (E, O), for a weight that is a matrix.

        Like `build`, but of an element partition only one copy is built at a time, also in the backward pass. With
        gradients off the inputs may be those of some copies, `chosen`, in this order.
        """
        if self.granularity == "unit" or self.phi is None or torch.compiler.is_compiling():
            whole = self.build()
            return (
                linear_of_copies(inputs, whole, bias) if chosen is None else linear_of_some(inputs, whole, bias, chosen)
            )
        if torch.is_grad_enabled():
            return packed_linear(inputs, self.shape[0], bias, *self.packed())
        chosen = range(self.num_own_copies) if chosen is None else chosen
        if (kept := self._kept()) is not None:
            return linear_of_some(inputs, kept.fill(chosen, self.packed), bias, chosen)
        shifts = None if bias is None else map(bias.__getitem__, chosen)
        copies = unpacked_copies(*self.packed(), chosen=chosen)
        return linear_per_copy(inputs, (copy.view(self.shape) for copy in copies), shifts)

    def packed(self) -> Packed:
        """Its values as element-wise ones, whatever the granularity; without static part if nothing is static."""
        if self.static is None:
            return Packed(self.own_dynamic.flatten(1))
        values = (self.own_dynamic.flatten(1), self.shared_static.flatten())
        return Packed(*values, *self.scales(), *self._element_positions())

    def positions(self) -> Positions:
        """Positions of dynamic and of static candidates; worked out once for every mask.

        Raises PADNetError if the mask has been changed so that it does not fit the values any more.
        """
        if self.mask_bits is None:
            return positions_in(self.mask())
        total, what = self.num_candidates(self.granularity), f"{self.granularity}s of a weight of {tuple(self.shape)}"
        return positions_by_bits(self.mask_bits, total, self.num_dynamic, what, self._own_copies)

    def _element_positions(self) -> Positions:
        positions = self.positions()
        if self.num_candidates(self.granularity) == self.shape.numel():  # elements, or units of one element each
            return positions
        return positions_in(self.layout.over_elements(self.mask()))

    @torch.no_grad()
    def scale_units(self, factors: Tensor) -> None:
        """Multiply every unit of all copies by its factor, (U,), in place."""
        elements = self.layout.over_elements(factors)
        if self.is_fully_dynamic or self.is_static:
            self.values.mul_(elements.view(self.shape))
            return
        packed = self.packed()
        packed.dynamic.mul_(elements[packed.dynamic_index])
        packed.static.mul_(elements if packed.static_index is None else elements[packed.static_index])

    # What torch does to it as to any module

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """Load; a weight that has another form takes that of the tensors it finds, as new parameters."""
        self.forget_built()
        found = {name: tuple(state_dict[prefix + name].shape) for name in _TENSORS if prefix + name in state_dict}
        is_new = found != {name: tuple(tensor.shape) for name, tensor in self.state().items()}
        if is_new and self.mesh is None and (form := self.layout.form_of(found, self.granularity)) is not None:
            self.make_room(*form)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Save; the mask as a copy, for what writes averages of whole models into a state dict."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.mask_bits is not None and not keep_vars:
            destination[f"{prefix}mask_bits"] = self.mask_bits.clone()

    def _apply(self, function: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Self:
        """Apply; kernels stay in the order of their elements, which positions count: they have no memory format."""
        self.forget_built()

        def in_order(tensor: Tensor) -> Tensor:
            return function(tensor.flatten()).view(tensor.shape) if tensor.dim() > 3 else function(tensor)

        return super()._apply(in_order, *args, **kwargs)

    def extra_repr(self) -> str:
        total = self.num_candidates(self.granularity)
        return f"{self.num_copies} x {tuple(self.shape)}, {self.num_dynamic} of {total} {self.granularity}s dynamic"
