"""From logits to tokens: the warpers of transformers, and one uniform number a row and step."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 128
"""Tokens summed up together when a token is drawn."""


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn; the names are the experiment's. temperature 0 is greedy."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0


def draws(seed: int, steps: int) -> Tensor:
    """Return a row's uniform numbers, [steps] float64: its whole random stream, known before it starts."""
    return torch.rand(steps, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pick(logits: Tensor, uniform: Tensor, seen: Tensor, sampling: Sampling) -> Tensor:
    """Return a token a row: logits [R, V], uniform [R], seen [R, V] bool (tokens so far) -> [R].

    A row's token depends on its own logits and its own uniform number alone (inverse of the cumulative distribution).
    """
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    if (penalty := sampling.repetition_penalty) != 1:
        logits = torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits / sampling.temperature
    ids: Any = None  # which these two do not look at
    if sampling.top_k:
        logits = TopKLogitsWarper(sampling.top_k)(ids, logits)
    if sampling.top_p < 1:
        logits = TopPLogitsWarper(sampling.top_p)(ids, logits)
    return _inverse(torch.softmax(logits, dim=-1), uniform)


def _inverse(shares: Tensor, uniform: Tensor) -> Tensor:
    """Return the first token at which the cumulative share exceeds the row's number: [R, V], [R] -> [R].

    In two steps, the block of tokens and then the token in it: a float64 running sum over whole vocabularies takes
    longer on CPU than a small model does.
    """
    rows, tokens = shares.shape
    blocks = pad(shares, (0, -tokens % BLOCK)).view(rows, -1, BLOCK)
    cumulative = blocks.sum(dim=-1).double().cumsum(dim=-1)
    drawn = (uniform.to(cumulative) * cumulative[:, -1])[:, None]
    block = _first_above(cumulative, drawn)
    before = torch.where(block > 0, cumulative.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = blocks.gather(1, block[:, :, None].expand(-1, -1, BLOCK)).squeeze(1).double().cumsum(dim=-1)
    return (block * BLOCK + _first_above(inside, drawn - before)).squeeze(1)


def _first_above(cumulative: Tensor, drawn: Tensor) -> Tensor:
    # Rounding may put the number at or past the whole sum; then it is the last place of a share above zero.
    last = torch.searchsorted(cumulative, cumulative[:, -1:].contiguous())
    return torch.minimum(torch.searchsorted(cumulative, drawn, right=True), last)
