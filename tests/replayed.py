"""CUDA graphs emulated on CPU: what is recorded is run again to replay it, and what it gave before is overwritten."""

from types import SimpleNamespace

import torch

from iikata.model import graphs, rotary
from iikata.model.base import Base
from iikata.model.layers import run_layers
from iikata.model.load import load


def opened(folder) -> Base:
    """Return a model whose layers run through runners, as on a GPU."""
    base = load(folder, "float64")
    rotary.install(base.model)
    base.runners = run_layers(base.model)
    return base


def instead_of_graphs(monkeypatch) -> list[int]:
    """Let a CPU record; return how often each graph is replayed."""
    made: list[int] = []

    def recorded(work, device, pool):
        number = len(made)
        made.append(0)

        def replay():
            made[number] += 1
            work()

        return SimpleNamespace(replay=replay, pool=lambda: 0)

    call = graphs._Graph.__call__

    def overwriting(graph, given):
        with torch.no_grad():
            for tensor in _tensors(graph.out):
                tensor.fill_(float("nan"))
        return call(graph, given)

    monkeypatch.setattr(graphs, "refuse_short_memory", lambda device: None)
    monkeypatch.setattr(graphs, "recorded", recorded)
    monkeypatch.setattr(graphs._Graph, "__call__", overwriting)
    monkeypatch.setattr(Base, "asking_bound", True)
    return made


def _tensors(x):
    if isinstance(x, torch.Tensor):
        return [x]
    return [tensor for one in x for tensor in _tensors(one)] if isinstance(x, list | tuple) else []
