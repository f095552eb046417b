"""Copies that inference keeps built, as an element partition would otherwise put them together anew in every call.

By default they are kept from the second use on, so that a program that answers once takes neither the time nor the
memory, and within a budget. A weight for which there is no room goes on without: if it drove out another that is used
as often, each would drive out the next one in every pass, and all would be built for nothing.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter

import psutil
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import WeakIdKeyDictionary

from padnet_hf.method.kept import state_of
from padnet_hf.method.packing import Packed, write_copies
from padnet_hf.method.shards import own_part

BUDGET = 2 << 30
"""Bytes per device that all weights kept by default take at most."""

SHARE = 4
"""Of the memory that would be free without them, they take one part in so many at most."""

_SAMPLED = 256
"""Values of a tensor that are looked at for changes that torch does not count, those through `.data`."""


class BuiltCopies:
    """The copies of one weight, (E, *shape), each built when it is asked for first."""

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        self._states = tuple(map(state_of, tensors))
        self._sample: Tensor | None = None
        self._missing: set[int] = set()
        self.tensor: Tensor | None = None
        self.last_use = 0
        self.is_bound_by_budget = True

    def is_of(self, tensors: tuple[Tensor, ...]) -> bool:
        """Whether these tensors are those that it was made of, and have not changed."""
        if self._states != tuple(map(state_of, tensors)):
            return False
        if self.tensor is None or (self.tensor.is_cuda and torch.cuda.is_current_stream_capturing()):
            return True  # no graph of CUDA's can hold a look at values
        return torch.equal(self._sample, _sample(tensors))

    def take_room(self, tensors: tuple[Tensor, ...], shape: Sequence[int]) -> None:
        """Take the memory, and remember what the copies are made of."""
        with torch.inference_mode(False), torch.no_grad():
            self._sample = _sample(tensors)
            self._missing = set(range(shape[0]))
            self.tensor = torch.empty(shape, dtype=tensors[0].dtype, device=tensors[0].device)  # not a DTensor

    def fill(self, copies: Iterable[int], packed: Callable[[], Packed]) -> Tensor:
        """All copies (E, *shape), of which these are built by now, from what `packed()` gives."""
        tensor, missing = self.tensor, sorted(self._missing.intersection(copies))
        if missing:
            with torch.inference_mode(False), torch.no_grad():
                write_copies(tensor.flatten(1), missing, *packed())
            self._missing.difference_update(missing)
        return tensor


class BuiltWeights:
    """The built copies of all weights of this process, by the tensor that each was made from first."""

    def __init__(self) -> None:
        self._of: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._lock = threading.RLock()  # a collection of garbage may forget while it is held
        self._uses = 0

    def use(self, tensors: tuple[Tensor, ...], shape: Sequence[int], always: bool) -> BuiltCopies | None:
        """Where the copies of shape (E, ...) of a weight made of these tensors are kept; None if they are not.

        With `always` they are, whatever the budget. Call it once for every use of the weight.
        """
        found = self._of.get(tensors[0])
        is_known = found is not None and found.is_of(tensors)
        with self._lock:
            if not is_known:
                found = self._of[tensors[0]] = BuiltCopies(tensors)
            self._uses += 1
            previous, found.last_use = found.last_use, self._uses
            found.is_bound_by_budget = not always
            if found.tensor is None and (always or (previous and self._make_room(tensors[0], shape, previous))):
                found.take_room(tensors, shape)
        return found if found.tensor is not None else None

    def _make_room(self, like: Tensor, shape: Sequence[int], previous: int) -> bool:
        """Whether there is room for these copies, once those are gone that were last used before `previous`."""
        needed = torch.Size(shape).numel() * like.element_size()
        on_device = [
            (copies.last_use, copies.tensor.nbytes, key)
            for key, copies in self._of.items()
            if copies.is_bound_by_budget and copies.tensor is not None and copies.tensor.device == like.device
        ]
        kept = sum(size for _, size, _ in on_device)
        most = min(BUDGET, (free_memory(like.device) + kept) // SHARE)
        for last_use, size, key in sorted(on_device, key=itemgetter(0)):
            if kept + needed <= most or last_use >= previous:
                break
            kept -= size
            del self._of[key]
        return kept + needed <= most

    def keeps(self, tensor: Tensor) -> bool:
        """Whether copies that were made from this tensor first are kept."""
        found = self._of.get(tensor)
        return found is not None and found.tensor is not None

    def forget(self, tensor: Tensor) -> None:
        """Let go of what was made from this tensor first, if anything was."""
        with self._lock:
            self._of.pop(tensor, None)

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._of.clear()

    @property
    def num_bytes(self) -> int:
        """Bytes that all take, on all devices."""
        with self._lock:
            return sum(copies.tensor.nbytes for copies in self._of.values() if copies.tensor is not None)


BUILT = BuiltWeights()

register_optimizer_step_post_hook(lambda *_: BUILT.clear())  # fused optimizers count no changes


def is_inference() -> bool:
    """Whether what is computed now will have no gradients, and is no part of a graph that outlives this call."""
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing())


def can_be_kept(tensors: Iterable[Tensor]) -> bool:
    """Whether changes of these tensors are counted and their values can be looked at: plain ones, in memory."""
    if torch._C._functorch.peek_interpreter_stack() is not None:  # inside torch.func's transforms
        return False
    plain = (Tensor, nn.Parameter)
    return all(type(t) in plain and t.is_contiguous() and not (t.is_meta or t.is_inference()) for t in tensors)


def free_memory(device: torch.device) -> int:
    """Bytes that can still be taken on a CPU or CUDA device; 0 on others, of which it is not known."""
    if device.type == "cpu":
        return psutil.virtual_memory().available
    if device.type == "cuda" and not torch.cuda.is_current_stream_capturing():
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return 0


def _sample(tensors: Iterable[Tensor]) -> Tensor:
    """Some values of each in one tensor, a copy: to compare it is to wait for the device once."""
    flat = [own_part(tensor).view(-1) for tensor in tensors]  # gradients are off
    return torch.cat([values[:: max(1, values.numel() // _SAMPLED)] for values in flat])
