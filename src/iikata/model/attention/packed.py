"""The layout of whole samples packed side by side: none sees another, each sees the tokens it shares.

Sharing a template's first tokens is exact: with causal attention their hidden states are the same in every sample.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from iikata.model.attention.registry import Options, attend_causal, attend_masked, causal_mask
from iikata.model.attention.tiles import Span, joined

MOST_PADDING = 1.5
"""Samples are attended to together while the longest is at most this many times the shortest,"""
FEW = 64
"""or while it has at most so many tokens: then calls cost more than the scores that nobody needs."""


@dataclass(frozen=True)
class Group:
    """Samples that share their first tokens: [prefix][suffix 1][suffix 2]... in one buffer."""

    prefix: Span
    """The shared tokens; may be empty."""
    suffixes: tuple[Span, ...]


class _Gather(torch.autograd.Function):
    """x [heads, T, D] at places [n, L]. Only real places have a gradient, each once, so backward need not sum."""

    @staticmethod
    def forward(ctx, x: Tensor, places: Tensor, real: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(places, real)
        ctx.tokens = x.shape[1]
        return x[:, places]

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        places, real = ctx.saved_tensors
        found = grad.new_zeros(grad.shape[0], ctx.tokens, grad.shape[3])
        found[:, places.flatten()[real]] = grad.flatten(1, 2)[:, real]
        return found, None, None


@dataclass(frozen=True)
class _Block:
    """Suffixes of one group and of like length, attended to in one call."""

    prefix: Span
    places: Tensor
    """[n, L] where the tokens are in the buffer; a short suffix repeats its last token."""
    real: Tensor
    """[n * L at most] which of the places are no repetitions."""

    def mask(self, window: int | None) -> Tensor:
        """Return [L, P + L], True where seen: the prefix, and the own tokens up to the query's."""
        length = self.places.shape[1]
        return causal_mask(length, _length(self.prefix) + length, window, self.places.device)


@dataclass(frozen=True)
class Packed:
    """Layout of one buffer of T tokens; what its groups do not cover is filling, which sees and is seen by nobody."""

    groups: tuple[Group, ...]
    tokens: int
    device: torch.device

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        parts = [attend_causal(query[:, :, a:b], key[:, :, a:b], value[:, :, a:b], options) for a, b in self._prefixes]
        for block in self._blocks:
            parts.append(self._block(block, query, key, value, options))
        parts.append(query.new_zeros(query.shape[0], query.shape[1], len(self._filling), value.shape[3]))
        return torch.cat(parts, dim=2)[:, :, self._order]

    @staticmethod
    def _block(block: _Block, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        n = len(block.places)
        own_query, own_key, own_value = (
            _Gather.apply(x[0], block.places, block.real).transpose(0, 1) for x in (query, key, value)
        )
        a, b = block.prefix
        keys, values = (
            torch.cat([x[:, :, a:b].expand(n, -1, -1, -1), own], dim=2)
            for x, own in ((key, own_key), (value, own_value))
        )
        out = attend_masked(own_query, keys, values, block.mask(options.window), options)
        return out.transpose(0, 1).flatten(1, 2).index_select(1, block.real)[None]

    @property
    def _prefixes(self) -> list[Span]:
        return [group.prefix for group in self.groups if _length(group.prefix)]

    @cached_property
    def _blocks(self) -> list[_Block]:
        return [_block_of(group.prefix, part, self.device) for group in self.groups for part in _alike(group.suffixes)]

    @cached_property
    def _order(self) -> Tensor:
        """Where each token of the buffer is among the parts' tokens."""
        return torch.cat([*self._covered, self._filling]).argsort()

    @property
    def _covered(self) -> list[Tensor]:
        spans = [torch.arange(a, b, device=self.device) for a, b in self._prefixes]
        return [*spans, *(block.places.flatten()[block.real] for block in self._blocks)]

    @cached_property
    def _filling(self) -> Tensor:
        free = torch.ones(self.tokens, dtype=torch.bool, device=self.device)
        for places in self._covered:
            free[places] = False
        return free.nonzero()[:, 0]


def _alike(suffixes: Sequence[Span]) -> Iterator[list[Span]]:
    """Yield the suffixes in parts of like length, shortest first; ties stay in order."""
    by_length = sorted(suffixes, key=_length)
    return joined(by_length, lambda part, span: _length(span) <= max(FEW, MOST_PADDING * _length(part[0])))


def _length(span: Span) -> int:
    return span[1] - span[0]


def _block_of(prefix: Span, spans: Sequence[Span], device: torch.device) -> _Block:
    longest = max(b - a for a, b in spans)
    starts = torch.tensor([[a] for a, _ in spans], device=device)
    ends = torch.tensor([[b] for _, b in spans], device=device)
    places = starts + torch.arange(longest, device=device)
    return _Block(prefix, places.minimum(ends - 1), (places < ends).flatten().nonzero()[:, 0])
