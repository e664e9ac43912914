"""Attention over packed samples and over a static cache, through transformers' attention registry.

No model code is copied or patched: a model loaded with `attn_implementation="iikata"` hands its queries, keys and
values to `attend`, and the caller's layout says who may look at whom.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

NAME = "iikata"
HARMLESS = {"dropout", "is_causal", "position_ids", "use_cache", "output_attentions"}
"""What models hand their attention beside what `attend` takes. Dropout never acts: the base is in eval mode."""

SMALL = 128 * 128
"""Queries x keys up to which attention on CPU is plain products; beyond, their scores would fill the memory."""


class Unsupported(Exception):  # noqa: N818 - a reason, told with the model's name
    """A model asks its attention for what iikata does not compute."""


class Layout(Protocol):
    """Says which keys each query sees. Shapes: query [B, heads, T, D], key and value [B, kv_heads, T, D]."""

    def attend(
        self, module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, options: "Options"
    ) -> Tensor: ...


@dataclass(frozen=True)
class Options:
    """What a model asks of its attention."""

    scale: float
    window: int | None = None
    """Sliding window in tokens, the query's own included (Gemma, Qwen)."""
    softcap: float | None = None
    """Gemma 2 squashes scores with tanh."""
    sinks: Tensor | None = None
    """[heads] a score that takes its share and leads nowhere (gpt-oss)."""

    @property
    def plain(self) -> bool:
        """Whether scores are a softmax of scaled products, which fused kernels compute."""
        return self.softcap is None and self.sinks is None


@dataclass
class Kept:
    """A layout that keeps every layer's keys and values [kv_heads, T, D]."""

    layout: Layout
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    def attend(self, module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        self.keys.append(key[0])
        # A copy: as part of a fused product, values would keep its queries and keys alive too.
        self.values.append(value[0].contiguous())
        return self.layout.attend(module, query, key, value, options)


def causal_mask(rows: int, columns: int, window: int | None, device: torch.device) -> Tensor:
    """Return [rows, columns], True where seen; the last query is aligned with the last key."""
    query_at = torch.arange(columns - rows, columns, device=device)[:, None]
    key_at = torch.arange(columns, device=device)[None]
    seen = key_at <= query_at
    return seen & (query_at - key_at < window) if window else seen


def attend_causal(query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
    """Attend to the query's own token and those before it; the last query is aligned with the last key."""
    rows, columns = query.shape[2], key.shape[2]
    windowed = options.window is not None and columns > options.window
    if rows == columns and not windowed and options.plain and not _small(query, columns):
        return _fused(query, key, value, options, is_causal=True)
    return attend_masked(query, key, value, causal_mask(rows, columns, options.window, query.device), options)


def attend_masked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, options: Options) -> Tensor:
    """Attend where `mask` (broadcast to [B, 1, T, S]) is True."""
    if options.plain and not _small(query, key.shape[2]):
        return _fused(query, key, value, options, attn_mask=mask)
    return attend_by_products(query, key, value, mask, options)


def _fused(query: Tensor, key: Tensor, value: Tensor, options: Options, **seen: Any) -> Tensor:
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(query, key, value, scale=options.scale, enable_gqa=grouped, **seen)


def attend_by_products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, options: Options) -> Tensor:
    """Attend by batched products, which treat every member of the batch the same; SDPA with two threads does not."""
    batch, heads, rows, width = query.shape
    kv_heads, columns = key.shape[1], key.shape[2]
    grouped = query.reshape(batch * kv_heads, -1, width)
    scores = grouped @ key.reshape(batch * kv_heads, columns, width).transpose(1, 2)
    weights = _shares(scores.view(batch, heads, rows, columns), mask, options)
    out = weights.view(batch * kv_heads, -1, columns) @ value.reshape(batch * kv_heads, columns, -1)
    return out.view(batch, heads, rows, -1)


def _shares(scores: Tensor, mask: Tensor, options: Options) -> Tensor:
    """Return each query's shares of the keys: products [B, heads, T, S] -> [B, heads, T, S]."""
    kind = scores.dtype
    scores = at_least_float32(scores) * options.scale
    if options.softcap:
        scores = torch.tanh(scores / options.softcap) * options.softcap
    scores = scores.masked_fill(~mask, float("-inf"))
    if options.sinks is not None:
        sinks = options.sinks.to(scores.dtype).view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sinks], dim=-1)
    return torch.softmax(scores, dim=-1)[..., : mask.shape[-1]].to(kind)


def _small(query: Tensor, columns: int) -> bool:
    # On CPU the fused kernel's backward over a few dozen tokens takes six times as long as plain products do.
    return query.device.type == "cpu" and query.shape[2] * columns <= SMALL


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in float32, or in float64 where it is so already."""
    return x if x.dtype == torch.float64 else x.float()


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    layout: Layout | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in every layer; returns [B, T, heads, D]."""
    if odd := sorted(name for name, value in more.items() if name not in HARMLESS and value is not None):
        raise Unsupported(f"its attention asks for {odd[0]}, which iikata does not know")
    if more.get("is_causal") is False:
        raise Unsupported("its tokens look at those behind them")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    options = Options(scale, sliding_window, softcap, s_aux)
    layout = layout or LAYOUT.get()
    if layout is None:
        out = attend_causal(query, key, value, options)
    else:
        out = layout.attend(module, query, key, value, options)
    return out.transpose(1, 2).contiguous(), None  # as transformers' own give it; some models then take a view


LAYOUT: ContextVar[Layout | None] = ContextVar("layout", default=None)
"""What `laid_out` says."""


@contextmanager
def laid_out(layout: Layout | None) -> Iterator[None]:
    """Attend by `layout` for a while; not every model hands its layers' attention what it is called with."""
    token = LAYOUT.set(layout)
    try:
        yield
    finally:
        LAYOUT.reset(token)


def register() -> None:
    """Make `attn_implementation="iikata"` known; without a mask function transformers builds no mask."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
