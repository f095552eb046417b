"""PADWeight: the one module that holds E copies of a weight, fully dynamic or partitioned.

Axis letters: E copies, N elements of one copy, U units of one copy, n or d dynamic elements or units.
"""

from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from padnet_hf.errors import PADNetError
from padnet_hf.method.packing import (
    Packed,
    first_positions,
    linear_of_copies,
    linear_per_copy,
    mean_over_copies,
    merge,
    merge_by_order,
    num_mask_bytes,
    pack_mask,
    packed_linear,
    packed_order,
    positions_of,
    unpack_mask,
    unpacked_copies,
)
from padnet_hf.method.scratch import scratch
from padnet_hf.method.shards import shard_copies, summed_in_backward

Granularity = Literal["element", "unit"]

Result = TypeVar("Result")

WeightState = dict[str, Tensor]
"""The tensors of a PADWeight by name: some of `dynamic`, `static`, `phi`, `mask_bits`."""


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

    The forward pass sees lambda_d * M * Theta_dynamic + lambda_s * (1 - M) * Theta_static, where lambda_d is
    2 sigmoid(phi) and lambda_s is 2 - lambda_d (PAD-Net, section 3; the sigmoid is upstream's). phi starts at 0, both
    scales at 1.

    Args:
        num_copies: E, at least 1.
        shape: shape of one copy.
        unit_dim: the dimension of `shape` along which units lie; None for a weight that belongs to no unit and is
            dynamic or static as a whole when the granularity is `unit` (a feed-forward layer's output bias).
        unit_blocks: how often all units lie along that dimension, one block after the other: 2 where one matrix holds
            the gates' rows and then the up projection's, so that unit i has a row in each.
        ordered: whether the order of units matters. Where it does not (the inner neurons of a feed-forward layer), the
            dynamic units come first and no mask is stored.
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
        self.num_copies = self.num_own_copies = num_copies
        self.shape = torch.Size(shape)
        self.unit_dim = unit_dim
        self.unit_blocks = unit_blocks
        self.ordered = ordered
        self.granularity: Granularity = "element"
        self.cache = False
        self.mesh: DeviceMesh | None = None
        self._cached: tuple[tuple[int, ...], Tensor] | None = None
        self._indexed: tuple[Tensor, Tensor, Tensor] | None = None
        for name in ("dynamic", "static", "phi"):
            self.register_parameter(name, None)
        self.register_buffer("mask_bits", None)
        self.become({"dynamic": torch.empty(num_copies, *shape)})

    # What it is

    def num_candidates(self, granularity: Granularity) -> int:
        """How many parts can be dynamic or static each by itself: N elements or U units (1 if it has no units)."""
        if granularity == "element":
            return self.shape.numel()
        return 1 if self.unit_dim is None else self.shape[self.unit_dim] // self.unit_blocks

    @property
    def is_fully_dynamic(self) -> bool:
        return self.static is None

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
        return self.dynamic.shape[1 + self.unit_dim] // self.unit_blocks

    @property
    def num_dynamic_elements(self) -> int:
        return 0 if self.is_static else self.dynamic.numel() // self.num_copies

    @property
    def values(self) -> nn.Parameter:
        """A parameter that exists in every form, for its dtype and device."""
        return self.static if self.dynamic is None else self.dynamic

    def mask(self) -> Tensor:
        """Which candidates are dynamic, (N,) or (U,) bool; for unordered units, in the order they are stored in."""
        total = self.num_candidates(self.granularity)
        if self.mask_bits is not None:
            return unpack_mask(self.mask_bits, total)
        return torch.arange(total, device=self.values.device) < self.num_dynamic

    # What it becomes

    def state_shapes(
        self, num_dynamic: int, granularity: Granularity
    ) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and dtype of every tensor that exists when `num_dynamic` candidates are dynamic.

        Raises PADNetError if the count is not in 0..candidates.
        """
        total, dtype = self.num_candidates(granularity), self.values.dtype
        if isinstance(num_dynamic, bool) or not isinstance(num_dynamic, int) or not 0 <= num_dynamic <= total:
            raise PADNetError(
                f"dynamic count {num_dynamic!r} is not possible: a weight of shape {tuple(self.shape)} has {total} "
                f"{granularity}s, so the count must be a whole number from 0 to {total}."
            )
        if num_dynamic == total:
            return {"dynamic": ((self.num_copies, *self.shape), dtype)}
        if num_dynamic == 0:
            return {"static": (tuple(self.shape), dtype)}
        if granularity == "element":
            dynamic_shape, static_shape, ordered = (num_dynamic,), (total - num_dynamic,), True
        else:
            dynamic_shape, static_shape, ordered = list(self.shape), list(self.shape), self.ordered
            dynamic_shape[self.unit_dim] = num_dynamic * self.unit_blocks
            static_shape[self.unit_dim] = (total - num_dynamic) * self.unit_blocks
        shapes = {
            "dynamic": ((self.num_copies, *dynamic_shape), dtype),
            "static": (tuple(static_shape), dtype),
            "phi": ((1,), dtype),  # FSDP2 shards no scalars
        }
        if ordered:
            shapes["mask_bits"] = ((num_mask_bytes(total),), torch.uint8)
        return shapes

    def partitioned_state(self, mask: Tensor, granularity: Granularity) -> WeightState:
        """The tensors of this fully dynamic weight when only candidates under `mask`, (N,) or (U,), are dynamic."""
        count, total = int(mask.sum()), mask.numel()
        copies = self.dynamic.detach()
        if count == total:
            return {"dynamic": copies}
        if count == 0:
            return {"static": mean_over_copies(copies)}
        if granularity == "element":
            copies, dim, along = copies.flatten(1), 0, mask
        else:
            dim, along = self.unit_dim, mask.repeat(self.unit_blocks)
        state = {
            "dynamic": copies.index_select(1 + dim, positions_of(along)),
            "static": mean_over_copies(copies.index_select(1 + dim, positions_of(~along))),
            "phi": copies.new_zeros(1),
        }
        if granularity == "element" or self.ordered:
            state["mask_bits"] = pack_mask(mask)
        return state

    def unpartitioned(self, mask: Tensor) -> Tensor:
        """All copies (E, *shape) as before `partitioned_state` with this mask, if their static values were equal."""
        if self.is_fully_dynamic:
            return self.dynamic.detach()
        copies = self.values.new_empty(self.num_copies, *self.shape)
        if self.is_static:
            return copies.copy_(self.static.detach())
        places, dim, along = copies.flatten(1), 1, mask
        if self.granularity == "unit":
            places, dim, along = copies, 1 + self.unit_dim, mask.repeat(self.unit_blocks)
        places.index_copy_(dim, positions_of(along), self.dynamic.detach())
        static = self.static.detach().expand(self.num_copies, *self.static.shape)
        places.index_copy_(dim, positions_of(~along), static)
        return copies

    def state(self) -> WeightState:
        """The tensors of this weight by name, as they are."""
        tensors = {"dynamic": self.dynamic, "static": self.static, "phi": self.phi, "mask_bits": self.mask_bits}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

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
        self._cached = self._indexed = None

    def make_room(self, num_dynamic: int, granularity: Granularity) -> None:
        """Take the form that a checkpoint with this count has, its values still to be filled in."""
        shapes, device = self.state_shapes(num_dynamic, granularity), self.values.device
        state = {name: torch.empty(shape, dtype=dtype, device=device) for name, (shape, dtype) in shapes.items()}
        if "mask_bits" in state and device.type != "meta":
            state["mask_bits"] = first_positions(num_dynamic, self.num_candidates(granularity), device)
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
    def own_dynamic(self) -> Tensor:
        """`dynamic`, as far as this process holds it."""
        return self.dynamic if self.mesh is None else self.dynamic.to_local()

    @property
    def shared_static(self) -> Tensor:
        """`static`, for a computation in which every process uses its own copies."""
        return summed_in_backward(self.static, self.mesh)

    # What it computes

    def forward(self, compute: Callable[[], Result]) -> Result:
        """`compute()`. Nothing of its own: what wraps a module acts while the module is called."""
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

        With `cache` set and gradients off, the result is kept until a parameter changes (a change through `.data`,
        which torch does not count, goes unnoticed) or gradients are on.

        Args:
            scratch_for: a purpose; on a CPU, what is built then holds only until something is built for it again.
        """
        if self.is_fully_dynamic:
            return self.own_dynamic
        if torch.compiler.is_compiling():
            return self._build()
        if not self.cache or torch.is_grad_enabled():
            self._cached = None
            return self._build(scratch_for)
        key = tuple(part for t in self.state().values() for part in (id(t), t.data_ptr(), t._version))
        if self._cached is None or self._cached[0] != key:
            self._cached = (key, self._build())
        return self._cached[1]

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
        dynamic = self.dynamic.flatten(1)
        mixed = (shares.to(dynamic.dtype) @ dynamic).to(dynamic.dtype)
        if torch.compiler.is_compiling() and not self.is_fully_dynamic:
            return self._merged_in_graph(mixed)
        if not self.is_fully_dynamic:
            mixed = merge(mixed, *self.packed()[1:])
        return mixed.view(-1, *self.shape)

    def _merged_in_graph(self, dynamic: Tensor) -> Tensor:
        """Dynamic values (B, n) with the static ones in their places, (B, *shape)."""
        mask = self.mask()
        if self.granularity == "unit":
            mask = self.over_elements(mask)
        order = packed_order(mask, dynamic.shape[1])
        return merge_by_order(dynamic, self.shared_static.flatten(), *self.scales(), order).view(-1, *self.shape)

    def linear(self, inputs: Iterable[Tensor], bias: Tensor | None) -> Iterable[Tensor]:
        """inputs[e] (T_e, I) times copy e (O, I) plus bias[e], from bias (E, O), for a weight that is a matrix.

        Like `build`, but of an element partition only one copy is built at a time, also in the backward pass.
        """
        in_full = self.granularity == "unit" or self.phi is None or (self.cache and not torch.is_grad_enabled())
        if in_full or torch.compiler.is_compiling():
            return linear_of_copies(inputs, self.build(), bias)
        if torch.is_grad_enabled():
            return packed_linear(inputs, self.shape[0], bias, *self.packed())
        copies = (copy.view(self.shape) for copy in unpacked_copies(*self.packed()))
        return linear_per_copy(inputs, copies, bias)

    def packed(self) -> Packed:
        """Its values as element-wise ones, whatever the granularity; without static part if fully dynamic."""
        if self.is_fully_dynamic:
            return Packed(self.own_dynamic.flatten(1))
        values = (self.own_dynamic.flatten(1), self.shared_static.flatten())
        return Packed(*values, *self.scales(), *self._element_positions())

    def positions(self) -> tuple[Tensor, Tensor]:
        """Positions of dynamic and of static candidates, in rising order, int32, worked out once and kept."""
        if self._indexed is None or self._indexed[0] is not self.mask_bits:
            self._indexed = (self.mask_bits, *_positions(self.mask()))
        return self._indexed[1:]

    def order(self) -> Tensor:
        """`packed_order` of its candidates."""
        return packed_order(self.mask(), self.num_dynamic)

    def _element_positions(self) -> tuple[Tensor, Tensor]:
        if self.granularity == "element":
            return self.positions()
        return _positions(self.over_elements(self.mask()))

    def over_elements(self, values: Tensor) -> Tensor:
        """One value per unit, (U,), -> the same for each of the unit's elements, (N,)."""
        sizes = [-1 if dim == self.unit_dim else 1 for dim in range(len(self.shape))]
        return values.repeat(self.unit_blocks).view(sizes).expand(self.shape).flatten()

    @torch.no_grad()
    def scale_units(self, factors: Tensor) -> None:
        """Multiply every unit of all copies by its factor, (U,), in place."""
        elements = self.over_elements(factors)
        if self.is_fully_dynamic or self.is_static:
            self.values.mul_(elements.view(self.shape))
        else:
            for values, positions in zip((self.dynamic, self.static), self._element_positions(), strict=True):
                values.mul_(elements[positions].view(values.shape[-self.static.dim() :]))

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._cached = self._indexed = None

    def __getstate__(self) -> dict[str, object]:
        """What is kept only to save time is not copied, nor pickled."""
        return self.__dict__ | {"_cached": None, "_indexed": None}

    def extra_repr(self) -> str:
        total = self.num_candidates(self.granularity)
        return f"{self.num_copies} x {tuple(self.shape)}, {self.num_dynamic} of {total} {self.granularity}s dynamic"


def _positions(mask: Tensor) -> tuple[Tensor, Tensor]:
    return positions_of(mask).int(), positions_of(~mask).int()
