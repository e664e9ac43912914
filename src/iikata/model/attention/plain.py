"""Attention over packed sequences by its formula: where there is no flash kernel, and to hold the kernel against."""

from collections.abc import Iterator

import torch
from torch import Tensor

Pair = tuple[Tensor, Tensor]
Three = tuple[Tensor, Tensor, Tensor]
Ends = tuple[Tensor, Tensor]
"""Ends of the sequences among the queries and among the keys, both [n + 1]."""


def forward(query: Tensor, key: Tensor, value: Tensor, ends: Ends, causal: bool, scale: float, window: int) -> Pair:
    """Return output [T, heads, D] and log-sum-exp [heads, T]; a query that sees no key gives 0 and -inf."""
    kind = _kind(query)
    out = torch.zeros_like(query)
    lse = torch.full((query.shape[1], len(query)), float("-inf"), dtype=kind, device=query.device)
    for q, k in _sequences(ends):
        scores = _scores(query[q], key[k], causal, scale, window)
        lse[:, q] = scores.logsumexp(-1)
        weights = torch.softmax(scores, -1)
        out[q] = torch.einsum("hqk,khd->qhd", weights, _widened(value[k], query).to(kind)).to(query.dtype)
    return out, lse


def backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    ends: Ends,
    causal: bool,
    scale: float,
    window: int,
) -> Three:
    """Return the gradients of query, key and value, given the whole softmax's output and log-sum-exp."""
    kind = _kind(query)
    dq, dk, dv = (torch.zeros_like(x, dtype=kind) for x in (query, key, value))
    slope = (grad.to(kind) * out.to(kind)).sum(-1).t()[..., None]
    for q, k in _sequences(ends):
        weights = torch.exp(_scores(query[q], key[k], causal, scale, window) - lse[:, q, None])
        own, wide_k, wide_v = grad[q].to(kind), _widened(key[k], query).to(kind), _widened(value[k], query).to(kind)
        toward = weights * (torch.einsum("qhd,khd->hqk", own, wide_v) - slope[:, q]) * scale
        dq[q] = torch.einsum("hqk,khd->qhd", toward, wide_k)
        dk[k] = _narrowed(torch.einsum("hqk,qhd->khd", toward, query[q].to(kind)), key)
        dv[k] = _narrowed(torch.einsum("hqk,qhd->khd", weights, own), value)
    return dq.to(query.dtype), dk.to(key.dtype), dv.to(value.dtype)


def _kind(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _sequences(ends: Ends) -> Iterator[tuple[slice, slice]]:
    """Yield the queries and keys of each sequence that has both."""
    queries, keys = (x.tolist() for x in ends)
    for a, b, c, d in zip(queries, queries[1:], keys, keys[1:], strict=False):
        if b > a and d > c:
            yield slice(a, b), slice(c, d)


def _scores(query: Tensor, key: Tensor, causal: bool, scale: float, window: int) -> Tensor:
    """Return [heads, queries, keys]; the last query is aligned with the last key."""
    kind = _kind(query)
    scores = torch.einsum("qhd,khd->hqk", query.to(kind), _widened(key, query).to(kind)) * scale
    behind = torch.arange(len(query))[:, None] + len(key) - len(query) - torch.arange(len(key))[None]
    hidden = torch.zeros_like(behind, dtype=torch.bool)
    if causal:
        hidden |= behind < 0
    if window:
        hidden |= behind >= window
    return scores.masked_fill(hidden.to(scores.device), float("-inf"))


def _widened(x: Tensor, query: Tensor) -> Tensor:
    return x.repeat_interleave(query.shape[1] // x.shape[1], dim=1)


def _narrowed(x: Tensor, like: Tensor) -> Tensor:
    return x.view(len(x), like.shape[1], -1, like.shape[2]).sum(2)
