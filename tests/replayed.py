"""CUDA graphs emulated on CPU: operations are recorded with the places that they read and write, and replayed on these.

Stricter than a GPU: what a graph computes is no number until it is computed again, nor is what a graph of the same
memory gave before; what is read beside and held by nobody any more is an error, as is what a GPU cannot record.
"""

from types import SimpleNamespace

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from iikata.generate import pieces
from iikata.generate.decoder import Decoder
from iikata.model import graphs, rotary
from iikata.model.base import Base
from iikata.model.layers import run_layers
from iikata.model.load import load

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "lift_fresh")
"""Operations that wait for a GPU, or bring it what is no longer in the processor's memory when a graph is replayed."""
ALLOCATES = ("empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided")
SHAPE_ALONE = (*ALLOCATES, "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")
"""Operations that look at no number of the tensor that they are given."""


def opened(folder) -> Base:
    """Return a model whose layers run through runners, as on a GPU."""
    base = load(folder, "float64")
    rotary.install(base.model)
    base.runners = run_layers(base.model)
    return base


def instead_of_graphs(monkeypatch) -> list[int]:
    """Let a CPU record; return how often each graph is replayed."""
    made: list[int] = []

    def recorded(work, device, pool=None):
        recording, number = Recording([] if pool is None else pool), len(made)
        recording.record(work)
        made.append(0)

        def replay():
            made[number] += 1
            recording.replay()

        return SimpleNamespace(replay=replay, pool=lambda: recording.pool)

    begin = Decoder.__init__

    def recordable(self, *given):
        begin(self, *given)
        self.recordable = Base.asking_bound is True

    monkeypatch.setattr(graphs, "refuse_short_memory", lambda device: None)
    monkeypatch.setattr(graphs, "recorded", recorded)
    monkeypatch.setattr(pieces, "recorded", recorded)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(Decoder, "__init__", recordable)
    monkeypatch.setattr(Base, "asking_bound", True)
    return made


class Recording(TorchDispatchMode):
    """Operations on fixed places; `pool` holds what all recordings of the same memory compute there."""

    def __init__(self, pool) -> None:
        super().__init__()
        self.pool, self.steps = pool, []
        self.own: dict[int, torch.Tensor] = {}
        """Storage -> all of it, of what is made here."""
        self.numbers: dict[int, torch.Tensor] = {}
        """Storage -> a number of Python's that is written to a place."""
        self.was: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        """Storage -> all of it and a copy, of what lies elsewhere and is written to."""

    def record(self, work) -> None:
        with self:
            work()
        for whole, copy in self.was.values():
            whole.copy_(copy)  # recording runs nothing
        self.was.clear()
        self.steps = [tree_map_only(torch.Tensor, self._place, step) for step in self.steps]
        self.pool.extend(self.own.values())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func._schema.name.partition("::")[2], kwargs or {}
        if name == "lift_fresh" and not args[0].dim():
            self.numbers[_storage(args[0])] = args[0]
            return args[0]
        assert name not in WAITS, f"a GPU cannot record {func}"
        if name in SHAPE_ALONE and args and isinstance(args[0], torch.Tensor):
            args = (torch.empty_like(args[0]), *args[1:])
            self.own[_storage(args[0])] = _whole(args[0])
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        if func._schema.is_mutable:
            for x in (x for x in given if not {_storage(x)} & (self.own.keys() | self.was.keys())):
                self.was[_storage(x)] = _whole(x), _whole(x).clone()
        out = func(*args, **kwargs)
        made = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        new = {_storage(x): _whole(x) for x in made if _storage(x) not in set(map(_storage, given))}
        self.own |= new
        if (new or func._schema.is_mutable) and name not in ALLOCATES:  # others give views
            self.steps.append((func, args, kwargs, made))
        return out

    def replay(self) -> None:
        with torch.no_grad():
            for whole in self.pool:
                whole.fill_(
                    float("nan") if whole.is_floating_point() else True if whole.dtype == torch.bool else 1 << 30
                )
            for step in self.steps:
                func, args, kwargs, places = tree_map_only(_Elsewhere, _Elsewhere.tensor, step)
                made = func(*args, **kwargs)
                made = [x for x in tree_leaves(made) if isinstance(x, torch.Tensor)]
                for place, x in zip(places, made, strict=True):
                    if _storage(place) != _storage(x):
                        place.copy_(x)

    def _place(self, x):
        return x.detach() if _storage(x) in self.own | self.numbers else _Elsewhere(x)


class _Elsewhere:
    """A place that others hold."""

    def __init__(self, x) -> None:
        self.storage, self.dtype = StorageWeakRef(x.untyped_storage()), x.dtype
        self.where = x.storage_offset(), x.shape, x.stride()

    def tensor(self):
        assert not self.storage.expired(), "a graph reads what nobody holds any more"
        storage = torch.UntypedStorage._new_with_weak_ptr(self.storage.cdata)
        return torch.empty(0, dtype=self.dtype).set_(storage, *self.where)


def _storage(x) -> int:
    return x.untyped_storage()._cdata


def _whole(x):
    with torch.no_grad():
        return torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())
