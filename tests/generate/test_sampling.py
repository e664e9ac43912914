"""A token is drawn from the distribution that transformers' own warpers leave."""

import math

import pytest
import torch
from scipy.stats import kstest

import oracle
from iikata.generate.sampling import Sampling, draws, pick

SETTINGS = [
    Sampling(),
    Sampling(temperature=0.3),
    Sampling(temperature=1.7),
    Sampling(top_k=1),
    Sampling(top_k=5),
    Sampling(top_k=1000),
    Sampling(top_p=0.9),
    Sampling(top_p=0.01),
    Sampling(repetition_penalty=1.5),
    Sampling(repetition_penalty=0.7),
    Sampling(temperature=0.8, top_p=0.7, top_k=9, repetition_penalty=1.3),
]
VOCAB, PROMPT = 40, (3, 7, 7, 11)


def logits_of(rows: int) -> torch.Tensor:
    return torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(0)) * 3


def seen_in_prompt(rows: int) -> torch.Tensor:
    seen = torch.zeros(rows, VOCAB, dtype=torch.bool)
    seen[:, list(PROMPT)] = True
    return seen


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_each_tokens_share_of_the_unit_interval_is_its_probability(sampling):
    grid = 20_000
    uniform = (torch.arange(grid, dtype=torch.float64) + 0.5) / grid
    for row in logits_of(3):
        tokens = pick(row.expand(grid, VOCAB), uniform, seen_in_prompt(grid), sampling)
        shares = torch.bincount(tokens, minlength=VOCAB) / grid
        wanted = oracle.warped(row[None], PROMPT, sampling)[0]
        assert float((shares - wanted).abs().max()) < 1.5 / grid
        assert not shares[wanted == 0].any()


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_the_first_and_the_last_number_give_tokens_that_the_warpers_leave(sampling):
    logits = logits_of(64)
    wanted = oracle.warped(logits, PROMPT, sampling)
    last = 1 - 2.0**-53
    for number in (0.0, last):
        uniform = torch.full((64,), number, dtype=torch.float64)
        tokens = pick(logits, uniform, seen_in_prompt(64), sampling)
        assert (wanted.gather(1, tokens[:, None]) > 0).all()


def test_ties_at_the_border_of_top_k_are_kept_as_transformers_keeps_them():
    logits = torch.tensor([[1.0, 2.0, 2.0, 2.0, 0.0]])
    uniform = torch.linspace(0, 0.999, 300, dtype=torch.float64)
    seen = torch.zeros(300, 5, dtype=torch.bool)
    tokens = pick(logits.expand(300, 5), uniform, seen, Sampling(top_k=2))
    assert set(tokens.tolist()) == {1, 2, 3}


def test_temperature_zero_takes_the_likeliest_after_the_penalty():
    logits = torch.tensor([[3.0, 2.9, -1.0], [-0.1, -0.2, -5.0]])
    seen = torch.tensor([[True, False, False], [True, False, False]])
    uniform = torch.tensor([0.99, 0.99], dtype=torch.float64)
    assert pick(logits, uniform, seen, Sampling(temperature=0)).tolist() == [0, 0]
    assert pick(logits, uniform, seen, Sampling(temperature=0, repetition_penalty=3)).tolist() == [1, 1]


def test_a_rows_token_does_not_depend_on_its_neighbours():
    logits, uniform = logits_of(16), draws(1, 16)
    sampling = SETTINGS[-1]
    together = pick(logits, uniform, seen_in_prompt(16), sampling)
    alone = [int(pick(logits[i : i + 1], uniform[i : i + 1], seen_in_prompt(1), sampling)) for i in range(16)]
    assert together.tolist() == alone


def test_a_rows_numbers_are_uniform_follow_its_seed_and_begin_alike_for_any_length():
    numbers = draws(5, 4000)
    assert numbers.dtype == torch.float64
    assert kstest(numbers.numpy(), "uniform").pvalue > 1e-3
    assert torch.equal(numbers, draws(5, 4000))
    assert not torch.equal(numbers, draws(6, 4000))
    first = torch.stack([draws(seed, 2)[0] for seed in range(1000)])
    assert kstest(first.numpy(), "uniform").pvalue > 1e-3
    assert math.isclose(float(draws(5, 3)[0]), float(numbers[0]))
