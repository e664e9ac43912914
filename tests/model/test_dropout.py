"""Dropout's masks are even, independent of each other as far as they should be, and follow from their names alone."""

import math

import pytest
import torch

from iikata.model.adapters.dropout import kept, noise

CPU = torch.device("cpu")


def mask(seed=1, salt=7, tokens=400, width=64, dropout=0.3):
    return kept(noise(seed, tokens, CPU), torch.tensor(salt, dtype=torch.int32), width, dropout)


@pytest.mark.parametrize("dropout", [0.05, 0.3, 0.9])
def test_the_share_that_is_dropped_is_the_share_asked_for_in_rows_and_columns(dropout):
    dropped = 1 - mask(tokens=2000, width=500, dropout=dropout).float()
    spread = math.sqrt(dropout * (1 - dropout))
    assert float(dropped.mean()) == pytest.approx(dropout, abs=4 * spread / 1000)
    for share, count in ((dropped.mean(0), 2000), (dropped.mean(1), 500)):
        assert float(share.std()) == pytest.approx(spread / math.sqrt(count), rel=0.1)


def test_neighbouring_tokens_columns_modules_and_seeds_are_uncorrelated():
    base = mask().float() - 0.7
    others = {
        "token": base.roll(1, 0),
        "column": base.roll(1, 1),
        "module": mask(salt=8).float() - 0.7,
        "seed": mask(seed=2).float() - 0.7,
        "high seed": mask(seed=1 + 2**40).float() - 0.7,
    }
    limit = 4 * 0.21 / math.sqrt(base.numel())
    assert {name: float((base * other).mean()) for name, other in others.items()} == pytest.approx(
        dict.fromkeys(others, 0.0), abs=limit
    )


def test_a_mask_is_the_same_again_and_a_longer_buffer_begins_with_it():
    assert torch.equal(mask(), mask())
    assert torch.equal(mask(tokens=500)[:400], mask())
    assert not torch.equal(mask(), mask(seed=2))
