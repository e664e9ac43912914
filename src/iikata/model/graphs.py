"""Work on tensors of few shapes, done again and again: on a GPU each shape is one CUDA graph.

A small model's thousands of kernels take longer to ask for than to run. What is recorded are the kernels that would run
anyway.
"""

import warnings
from collections.abc import Callable, Hashable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

SPARE = 1.5
"""Times what the work has taken that must be free for a graph's memory."""

Given = TypeVar("Given")
Out = TypeVar("Out")


class Graphs:
    """Does work on what it is given: of each shape the first as it is, from the second on by replaying a graph."""

    def __init__(self, device: torch.device, what: str) -> None:
        """`what` is done, as a warning calls it where it cannot be recorded."""
        self.device, self.what = device, what
        self._made: dict[Hashable, _Graph | None] = {}
        self._broken = False

    def __call__(self, work: Callable[[Given], Out], given: Given, key: Hashable = None) -> Out:
        """Return what `work` does, which holds until the next call.

        `given` is a tensor, or tuples and dataclasses of tensors and what never changes; tensors that lie elsewhere
        than on the device must be equal for one graph, as shapes and the `key` must. All else that the work reads
        must lie where it lay the first time.
        """
        if self._broken:
            return work(given)
        shape = (key, *(self._shape(x) for x in _tensors(given)))
        if shape not in self._made:  # kernels are compiled and tuned outside of a graph
            self._made[shape] = None
            return work(given)
        made = self._made[shape]
        if made is None:
            try:
                refuse_short_memory(self.device)
                # What a graph computes on the way is nobody's once it has run: all may have it in the same memory.
                pool = next((one.graph.pool() for one in self._made.values() if one), None)
                made = self._made[shape] = _Graph(work, given, self.device, pool)
            except RuntimeError as error:
                self._broken = True
                warn_unrecorded(self.what, error)
                return work(given)
        return made(given)  # type: ignore[no-any-return]

    def clear(self) -> None:
        """Let go of the memory; what could not be recorded is tried again, since memory may be free by now."""
        self._made.clear()
        self._broken = False

    def _shape(self, x: Tensor) -> Hashable:
        return x.shape if x.device.type == self.device.type else (*x.shape, *x.flatten().tolist())


class _Graph:
    def __init__(self, work: Callable[[Any], Any], given: Any, device: torch.device, pool: Any) -> None:
        own = _copied(given)
        self.places, self.out = list(_tensors(own)), None

        def run() -> None:
            self.out = work(own)

        self.graph = recorded(run, device, pool)

    def __call__(self, given: Any) -> Any:
        for place, x in zip(self.places, _tensors(given), strict=True):
            place.copy_(x)
        self.graph.replay()
        return self.out


def refuse_short_memory(device: torch.device) -> None:
    """Raise RuntimeError where memory is short for a graph, which has its own, for as much as the work takes."""
    torch.cuda.empty_cache()
    taken = torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device)
    if (free := torch.cuda.mem_get_info(device)[0]) < SPARE * taken:
        raise RuntimeError(f"{free / 1e9:.1f} GB are free, the work takes {taken / 1e9:.1f} GB")


def recorded(work: Callable[[], None], device: torch.device, pool: Any = None) -> torch.cuda.CUDAGraph:
    """Record work that ran on a GPU before, in another graph's pool of memory or, without one, in its own.

    Raises RuntimeError where a layer waits for the device, as some quantised ones do.
    """
    made, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
    # Other threads may send what comes next meanwhile.
    with torch.cuda.graph(made, pool, stream, capture_error_mode="thread_local"):
        work()
    return made


def warn_unrecorded(what: str, error: RuntimeError) -> None:
    """Warn of why `what` is done kernel by kernel."""
    first = [*str(error).splitlines(), "no reason given"][0]
    warnings.warn(f"{what} runs without a CUDA graph, which is slower: {first}", stacklevel=3)


def _tensors(x: Any) -> Iterator[Tensor]:
    if isinstance(x, Tensor):
        yield x
    elif is_dataclass(x):
        for one in fields(x):
            yield from _tensors(getattr(x, one.name))
    elif isinstance(x, tuple):
        for one in x:
            yield from _tensors(one)


def _copied(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x.clone()
    if is_dataclass(x) and not isinstance(x, type):
        return replace(x, **{one.name: _copied(getattr(x, one.name)) for one in fields(x)})
    return tuple(map(_copied, x)) if isinstance(x, tuple) else x
