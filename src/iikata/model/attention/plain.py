"""Attention over packed sequences by its formula: where there is no flash kernel, and to hold the kernel against.

A flash kernel leaves rows behind the last sequence's end as they lay in memory. Here they are NaN, so that who reads
one is found out.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from iikata.model.attention.registry import at_least_float32, causal_mask

Pair = tuple[Tensor, Tensor]
Three = tuple[Tensor, Tensor, Tensor]


class Sight(NamedTuple):
    """Which keys each query sees."""

    ends: Pair
    """Of the sequences among the queries and among the keys, both [n + 1]."""
    most: tuple[int, int]
    """Queries and keys of a sequence at most."""
    causal: bool
    scale: float
    window: int
    """0 for none; where there is one, `causal` holds."""


def forward(query: Tensor, key: Tensor, value: Tensor, sight: Sight) -> Pair:
    """Return output [T, heads, D] and log-sum-exp [heads, T]; a query that sees no key gives 0 and -inf."""
    query, key, value, kind = *map(at_least_float32, (query, key, value)), query.dtype
    (queries, _), out = sight.ends, torch.zeros_like(query)
    lse = query.new_full((query.shape[1], len(query)), float("-inf"))
    out[queries[-1] :] = lse[:, queries[-1] :] = float("nan")
    for q, k in _sequences(sight):
        scores = _scores(query[q], key[k], sight)
        lse[:, q] = scores.logsumexp(-1)
        out[q] = torch.einsum("hqk,khd->qhd", torch.softmax(scores, -1), _widened(value[k], query))
    return out.to(kind), lse


def backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor, sight: Sight) -> Three:
    """Return the gradients of query, key and value, given the whole softmax's output and log-sum-exp."""
    kind = query.dtype
    grad, query, key, value, out = map(at_least_float32, (grad, query, key, value, out))
    dq, dk, dv = (torch.zeros_like(x) for x in (query, key, value))
    queries, keys = sight.ends
    dq[queries[-1] :] = dk[keys[-1] :] = dv[keys[-1] :] = float("nan")
    slope = (grad * out).sum(-1).t()[..., None]
    for q, k in _sequences(sight):
        weights = torch.exp(_scores(query[q], key[k], sight) - lse[:, q, None])
        wide_k, wide_v = _widened(key[k], query), _widened(value[k], query)
        toward = weights * (torch.einsum("qhd,khd->hqk", grad[q], wide_v) - slope[:, q]) * sight.scale
        dq[q] = torch.einsum("hqk,khd->qhd", toward, wide_k)
        dk[k] = _narrowed(torch.einsum("hqk,qhd->khd", toward, query[q]), key)
        dv[k] = _narrowed(torch.einsum("hqk,qhd->khd", weights, grad[q]), value)
    return dq.to(kind), dk.to(kind), dv.to(kind)


def _sequences(sight: Sight) -> Iterator[tuple[slice, slice]]:
    """Yield the queries and keys of each sequence that has both.

    Raises ValueError for one longer than `sight.most`: the kernel would leave the rest of it as it lay in memory.
    """
    queries, keys = (x.tolist() for x in sight.ends)
    for a, b, c, d in zip(queries, queries[1:], keys, keys[1:], strict=False):
        if b - a > sight.most[0] or d - c > sight.most[1]:
            raise ValueError(f"{b - a} queries and {d - c} keys, where the kernel is launched for {sight.most}")
        if b > a and d > c:
            yield slice(a, b), slice(c, d)


def _scores(query: Tensor, key: Tensor, sight: Sight) -> Tensor:
    """Return [heads, queries, keys]."""
    scores = torch.einsum("qhd,khd->hqk", query, _widened(key, query)) * sight.scale
    if not sight.causal:
        return scores
    return scores.masked_fill(~causal_mask(len(query), len(key), sight.window, scores.device), float("-inf"))


def _widened(x: Tensor, query: Tensor) -> Tensor:
    return x.repeat_interleave(query.shape[1] // x.shape[1], dim=1)


def _narrowed(x: Tensor, like: Tensor) -> Tensor:
    return x.view(len(x), like.shape[1], -1, like.shape[2]).sum(2)
