"""Compiled layers give the plain ones' numbers, are made once, and a layer that cannot be compiled runs as it is."""

import pytest
import torch

import models
from iikata.model import rotary
from iikata.model.attention.limits import Limits
from iikata.model.buffers import Part
from iikata.model.layers import compilations, run_layers

PREFIX = (5, 9, 4, 7)
LIMITS = Limits(64, 512, 8)


@pytest.fixture
def running(llama_folder):
    """A model whose layers run through runners, as on a GPU, with an adapter that acts."""
    loaded = models.opened(llama_folder)
    rotary.install(loaded.model)
    loaded.runners = run_layers(loaded.model)
    adapters = loaded.adapt(4, 8, 0.0, "all-linear")
    adapters.initialise("arm", 0)
    models.stir(adapters.weights("arm"))
    loaded.set_adapter("arm")
    return loaded


def gradients(loaded, samples, prefixes, limits=LIMITS):
    buffer = loaded.pack([Part(samples, prefixes)], limits)
    losses = loaded.losses(buffer)
    losses[buffer.sample_index >= 0].mean().backward()
    weights = loaded.adapters.weights("arm").values()
    found = [weight.grad.clone() for weight in weights]
    for weight in weights:
        weight.grad = None
    return found


@pytest.mark.parametrize("checkpointed", [False, True])
def test_computing_layers_twice_gives_the_same_gradients(running, checkpointed):
    samples = models.samples(6, prefix=PREFIX)
    plain = gradients(running, samples, (PREFIX,))
    running.run_layers(False, checkpointed)
    for ours, theirs in zip(gradients(running, samples, (PREFIX,)), plain, strict=True):
        assert torch.equal(ours, theirs)


def test_a_layer_is_made_for_the_compiler_when_it_is_first_compiled(running, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda forward, **more: asked.append(more) or forward)
    samples = models.samples(6, prefix=PREFIX)
    gradients(running, samples, (PREFIX,))
    assert not asked
    running.run_layers(True)
    gradients(running, samples, (PREFIX,))
    gradients(running, samples, (PREFIX,))
    assert asked == [{"fullgraph": True, "options": None}] * len(running.runners)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_layers_agree_and_other_lengths_need_no_other_graph(running):
    """With torch's own backend that only traces: what is asked is which graphs there are, not how they are run."""
    for runner in running.runners:
        runner.compiled = torch.compile(runner.plain, fullgraph=True, backend="aot_eager")
    sets = [models.samples(count, seed=count, prefix=PREFIX) for count in (6, 40, 61)]
    wanted = [gradients(running, samples, (PREFIX,)) for samples in sets]
    running.run_layers(True)
    before = compilations()
    for samples, theirs in zip(sets, wanted, strict=True):
        for ours, own in zip(gradients(running, samples, (PREFIX,)), theirs, strict=True):
            torch.testing.assert_close(ours, own, rtol=1e-4, atol=1e-6)
    gradients(running, sets[0], (PREFIX,), Limits(128, 1024, 16))
    # The first layer's input needs no gradient: one graph for it, one for all others.
    assert compilations() - before == 2


def test_a_layer_that_cannot_be_compiled_runs_as_it_is_and_says_so(running):
    samples = models.samples(6, prefix=PREFIX)
    plain = gradients(running, samples, (PREFIX,))
    import torch._dynamo.exc

    def broken(*args, **kwargs):
        raise torch._dynamo.exc.TorchDynamoException("no C compiler found")

    for runner in running.runners:
        runner.compiled = broken
    running.run_layers(True)
    with pytest.warns(UserWarning, match="runs as it is: no C compiler found"):
        found = gradients(running, samples, (PREFIX,))
    assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))
