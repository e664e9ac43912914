"""The chunked cross-entropy is torch's."""

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy

from iikata.model import loss


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(loss, "CPU_CHUNK", 7)


def heads_inputs():
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(23, 8, generator=generator, dtype=torch.float64)
    matrix = torch.randn(50, 8, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 50, (23,), generator=generator)
    return hidden, matrix, targets


@pytest.mark.usefixtures("small_chunks")
def test_losses_and_gradients_are_those_of_torchs_cross_entropy_with_a_weight_a_token():
    hidden, matrix, targets = heads_inputs()
    weights = torch.arange(23, dtype=torch.float64)

    bias = torch.linspace(-1, 1, 50, dtype=torch.float64)
    ours, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    got = loss.token_losses(ours, targets, loss.Head(matrix, bias, 3.0, 0.5))
    wanted = cross_entropy(torch.tanh((theirs @ matrix.T + bias) * 0.5 / 3) * 3, targets, reduction="none")
    torch.testing.assert_close(got, wanted, rtol=1e-14, atol=1e-14)
    (got * weights).sum().backward()
    (wanted * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-13, atol=1e-13)


@pytest.mark.usefixtures("small_chunks")
def test_losses_without_gradients_are_the_same():
    hidden, matrix, targets = heads_inputs()
    with torch.inference_mode():
        got = loss.token_losses(hidden, targets, loss.Head(matrix))
    torch.testing.assert_close(got, cross_entropy(hidden @ matrix.T, targets, reduction="none"))


@pytest.mark.usefixtures("small_chunks")
def test_the_logits_of_all_tokens_never_stand_in_memory_at_once():
    hidden, matrix, targets = heads_inputs()
    seen = []

    class Head(loss.Head):
        def logits(self, hidden):
            seen.append(len(hidden))
            return super().logits(hidden)

    loss.token_losses(hidden.requires_grad_(), targets, Head(matrix)).sum().backward()
    assert seen == [7, 7, 7, 2]


@pytest.mark.parametrize("gradient", [False, True])
def test_the_kernel_starts_on_the_gpu_that_the_logits_lie_on(monkeypatch, gradient):
    """Triton starts a kernel on the current GPU, wherever its tensors lie; of several, the last has the head."""
    current, started = ["the first GPU"], []

    @contextmanager
    def on(device):
        current.append(device)
        yield
        current.pop()

    def kernel(logits, *_):
        started.append((current[-1], logits.device))
        return logits.new_empty(len(logits))

    monkeypatch.setattr(loss, "_fused", lambda hidden: True)
    monkeypatch.setattr(torch.cuda, "device", on)
    monkeypatch.setitem(sys.modules, "iikata.model.kernels.cross_entropy", SimpleNamespace(cross_entropy=kernel))
    hidden, matrix, targets = (x.to("meta") for x in heads_inputs())
    loss.token_losses(hidden.requires_grad_(gradient), targets, loss.Head(matrix))
    assert started == [(torch.device("meta"),) * 2]
