"""Attention over packed samples and over a static cache, through transformers' attention registry.

No model code is copied or patched: a model loaded with `attn_implementation="iikata"` hands its queries, keys and
values to `attend`, and the `layout` that the caller passed to the model says who may look at whom.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

NAME = "iikata"

SMALL = 128 * 128
"""Queries x keys up to which attention on CPU is plain products; beyond, their scores would fill the memory."""


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
    if rows == columns and not windowed and options.softcap is None and not _small(query, columns):
        return scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=options.scale, enable_gqa=_grouped(query, key)
        )
    return attend_masked(query, key, value, causal_mask(rows, columns, options.window, query.device), options)


def attend_masked(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, options: Options) -> Tensor:
    """Attend where `mask` (broadcast to [B, 1, T, S]) is True."""
    if options.softcap is None and not _small(query, key.shape[2]):
        return scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=options.scale, enable_gqa=_grouped(query, key)
        )
    batch, heads, rows, width = query.shape
    kv_heads, columns = key.shape[1], key.shape[2]
    grouped = query.reshape(batch * kv_heads, -1, width)
    scores = grouped @ key.reshape(batch * kv_heads, columns, width).transpose(1, 2)
    scores = at_least_float32(scores).view(batch, heads, rows, columns) * options.scale
    if options.softcap is not None:
        scores = torch.tanh(scores / options.softcap) * options.softcap
    weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1).to(query.dtype)
    out = weights.view(batch * kv_heads, -1, columns) @ value.reshape(batch * kv_heads, columns, width)
    return out.view(batch, heads, rows, width)


def _small(query: Tensor, columns: int) -> bool:
    # On CPU the fused kernel's backward over a few dozen tokens takes six times as long as plain products do.
    return query.device.type == "cpu" and query.shape[2] * columns <= SMALL


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in float32, or in float64 where it is so already."""
    return x if x.dtype == torch.float64 else x.float()


def _grouped(query: Tensor, key: Tensor) -> bool:
    return query.shape[1] != key.shape[1]


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    layout: Layout | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in every layer; returns [B, T, heads, D]."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    options = Options(scale, sliding_window, softcap)
    if layout is None:
        out = attend_causal(query, key, value, options)
    else:
        out = layout.attend(module, query, key, value, options)
    return out.transpose(1, 2), None


def register() -> None:
    """Make `attn_implementation="iikata"` known; without a mask function transformers builds no mask."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
