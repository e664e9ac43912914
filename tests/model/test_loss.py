"""The chunked cross-entropy is torch's."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from iikata.model import loss


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(loss, "CHUNK", 7)


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

    def head(x):
        return torch.tanh(x @ matrix.T / 3) * 3

    ours, theirs = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    got = loss.token_losses(ours, targets, head)
    wanted = cross_entropy(head(theirs), targets, reduction="none")
    torch.testing.assert_close(got, wanted, rtol=1e-14, atol=1e-14)
    (got * weights).sum().backward()
    (wanted * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-13, atol=1e-13)


@pytest.mark.usefixtures("small_chunks")
def test_losses_without_gradients_are_the_same():
    hidden, matrix, targets = heads_inputs()
    with torch.inference_mode():
        got = loss.token_losses(hidden, targets, lambda x: x @ matrix.T)
    torch.testing.assert_close(got, cross_entropy(hidden @ matrix.T, targets, reduction="none"))


@pytest.mark.usefixtures("small_chunks")
def test_the_logits_of_all_tokens_never_stand_in_memory_at_once():
    hidden, matrix, targets = heads_inputs()
    seen = []

    def head(x):
        seen.append(len(x))
        return x @ matrix.T

    loss.token_losses(hidden.requires_grad_(), targets, head).sum().backward()
    assert seen == [7, 7, 7, 2]


def test_no_loss_tokens_give_no_losses():
    hidden, matrix, targets = heads_inputs()
    assert loss.token_losses(hidden[:0].requires_grad_(), targets[:0], lambda x: x @ matrix.T).shape == (0,)
