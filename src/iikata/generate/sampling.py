"""From logits to tokens: the warpers of transformers, and one uniform number a row and step."""

from dataclasses import dataclass

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
    logits = _penalised(logits, seen, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    logits = _top_p(_top_k(logits / sampling.temperature, sampling.top_k), sampling.top_p)
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


def _penalised(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    if penalty == 1.0:
        return logits
    lowered = torch.where(logits < 0, logits * penalty, logits / penalty)
    return torch.where(seen, lowered, logits)


def _top_k(logits: Tensor, k: int) -> Tensor:
    if not 0 < k < logits.shape[-1]:
        return logits
    least = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < least, float("-inf"))


def _top_p(logits: Tensor, p: float) -> Tensor:
    if p >= 1.0:
        return logits
    ascending, order = logits.sort(dim=-1)
    outside = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - p
    outside[:, -1] = False
    return logits.masked_fill(outside.scatter(1, order, outside), float("-inf"))
