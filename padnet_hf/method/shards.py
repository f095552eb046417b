"""Copies on several processes (torch.distributed): each process holds some, and all that is static.

torch.distributed.tensor is imported when it is needed: there are builds of torch without it.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh


def shard_copies(copies: nn.Parameter, mesh: DeviceMesh) -> nn.Parameter:
    """Copies (E, ...), equal in all processes of `mesh` -> a DTensor (E, ...) of which each holds its share."""
    from torch.distributed.tensor import Shard, distribute_tensor

    shards = distribute_tensor(copies.detach(), mesh, [Shard(0)], src_data_rank=None)
    return nn.Parameter(shards, requires_grad=copies.requires_grad)


def summed_in_backward(tensor: Tensor, mesh: DeviceMesh | None) -> Tensor:
    """The tensor as it is, equal in all processes of `mesh`; its gradient is the sum of theirs (no mesh: its own)."""
    if mesh is None or not (torch.is_grad_enabled() and tensor.requires_grad):
        return tensor
    from torch.distributed.tensor import DTensor, Partial, Replicate

    return DTensor.from_local(tensor, mesh, [Replicate()], run_check=False).to_local(grad_placements=[Partial()])


def own_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, wherever the rest of it is."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor  # asked so, a plain one imports nothing


def is_sharded(parameters: Iterable[Tensor]) -> bool:
    """Whether any of these lies on several processes, whatever has put it there."""
    if not torch.distributed.is_available():
        return False
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) for parameter in parameters)
