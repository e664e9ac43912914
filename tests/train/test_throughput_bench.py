"""A row of the training bench that fails leaves the base as it was, so that every later row is measured."""

import argparse
import sys
from pathlib import Path

import pytest
import torch

from iikata.model.load import load

# peft asks the model by a name that transformers renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
ARGS = argparse.Namespace(
    r=2, targets="all-linear", batch=4, buffer=0, turns=1, eager=True, shape="neox-3.6b", model=None
)  # fmt: skip


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    import train_throughput

    yield train_throughput
    for name in ("train_throughput", "subject"):
        sys.modules.pop(name, None)


def logits(base):
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        return base.logits(base.hidden(ids, torch.arange(20)[None]))


@pytest.mark.parametrize("where", ["while peft wraps", "while it trains"])
def test_a_baseline_that_runs_out_of_memory_spoils_no_later_row(bench, llama_folder, monkeypatch, where):
    import peft.tuners.lora.layer as theirs

    base = load(llama_folder, "float32")
    wanted, calls = logits(base), []

    def fail(*args, **kwargs):
        calls.append(1)
        if len(calls) > 3:
            raise torch.OutOfMemoryError("no memory")
        return kept(*args, **kwargs)

    name = "update_layer" if where == "while peft wraps" else "forward"
    kept = getattr(theirs.Linear, name)
    with monkeypatch.context() as patched:
        patched.setattr(theirs.Linear, name, fail)
        with pytest.raises(torch.OutOfMemoryError):
            bench.peft_loop(base, ARGS, 2, 1)
    row = bench.iikata(base, ARGS, "1 arm")
    assert row.computed > 0
    assert torch.equal(logits(bench._bare(base)), wanted)
