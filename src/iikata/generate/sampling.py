"""From logits to tokens: the warpers of transformers, and one uniform number a row and step."""

from dataclasses import dataclass

import torch
from torch import Tensor


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
    cumulative = torch.softmax(logits.double(), dim=-1).cumsum(dim=-1)
    drawn = uniform.to(cumulative) * cumulative[:, -1]
    # The first token whose cumulative share exceeds the number; one of share zero is never it.
    return torch.searchsorted(cumulative, drawn[:, None], right=True).squeeze(1).clamp(max=logits.shape[-1] - 1)


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
