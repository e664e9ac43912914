"""Attention over sequences packed in one row, without padding, as one operator with its backward.

Sequences that begin with the same tokens hold them once: their queries look at the shared keys too. Where that is a
second call of a kernel, the two results are merged by their log-sum-exps (Milakov and Gimelshein 2018). The gradient
follows from the probabilities exp(score - lse), so with the merged lse each call's backward gives its share exactly.
"""

from typing import Any

import torch
from torch import Tensor

from iikata.model.attention import plain
from iikata.model.attention.plain import Pair, Sight, Three
from iikata.model.attention.registry import at_least_float32
from iikata.model.kernels.operators import operator

_LAYOUT = "Tensor own, Tensor tiles, Tensor shared_tiles, Tensor asks, Tensor sees, Tensor places, Tensor most"


def attend_packed(query: Tensor, key: Tensor, value: Tensor, *layout: Any) -> Tensor:
    """Attend: query [T, heads, D], key and value [T, kv_heads, D] -> output [T, heads, D].

    The layout is, in this order: `own` [n + 1] int32, the ends of the sequences, each causal; `tiles` and
    `shared_tiles`, the same for the kernels of short_attention; `asks`, `sees` [m + 1] int32: the queries up to
    `asks[i + 1]` also see the keys `sees[i]` to `sees[i + 1]` of those at `places` [P], shared ones; `most` [3] on CPU,
    the tokens of a sequence, of a range of `asks`, of one of `sees` at most; the scale; the window, 0 for none.
    With a window and shared keys, `asks` are `own`, and what a sequence sees lies at `places` whole, its own keys too.
    """
    return _Attend.apply(query, key, value, *layout)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query, key, value, *layout):  # type: ignore[no-untyped-def, override]
        *tensors, ctx.scale, ctx.window = layout
        out, lse = torch.ops.iikata.attend(query, key, value, *layout)
        ctx.save_for_backward(query, key, value, out, lse, *tensors)
        return out

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def, override]
        found = torch.ops.iikata.attend_backward(grad, *ctx.saved_tensors, ctx.scale, ctx.window)
        return (*found, *[None] * 9)


def _attend(query: Tensor, key: Tensor, value: Tensor, *layout: Any) -> Pair:
    _, tiles, *_, places, _, scale, window = layout
    near = bool(window and places.numel())
    if _tiled(query) and not near:
        from iikata.model.kernels import short_attention

        return short_attention.forward(query, key, value, tiles, scale, window)
    own, shared = _sights(*layout)
    few = (key.index_select(0, places), value.index_select(0, places))
    out, lse = _forward(query, *few, shared) if near else _forward(query, key, value, own)
    if places.numel() and not near:
        out, lse = _merge(out, lse, *_forward(query, *few, shared))
    return out.contiguous(), lse.contiguous()


def _sights(
    own: Tensor, tiles: Tensor, shared_tiles: Tensor, asks: Tensor, sees: Tensor, places: Tensor, most: Tensor,
    scale: float, window: int,
) -> tuple[Sight, Sight]:  # fmt: skip
    """Return who sees whom among each sequence's own tokens, and among queries and the keys that they share."""
    longest, part, prefix = most.tolist()
    alone = Sight((own, own), (longest, longest), True, scale, window)
    if window:
        return alone, alone._replace(ends=(own, sees))
    return alone, Sight((asks, sees), (part, prefix), False, scale, 0)


def _attend_fake(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> Pair:
    return query.new_empty(query.shape), at_least_float32(query.new_empty((query.shape[1], query.shape[0])))


def _attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor, *layout: Any
) -> Three:
    _, tiles, shared_tiles, _, sees, places, _, scale, window = layout
    whole = (grad.contiguous(), query, key, value, out, lse)
    near = bool(window and places.numel())
    if _tiled(query) and not near:
        from iikata.model.kernels import short_attention

        return short_attention.backward(*whole, tiles, shared_tiles, places, scale, window)
    own, shared = _sights(*layout)
    found = [torch.zeros_like(x) for x in (query, key, value)] if near else [*_backward(*whole, own)]
    if places.numel():
        few = (key.index_select(0, places), value.index_select(0, places))
        more = _backward(whole[0], query, *few, out, lse, shared)
        # Keys that fill up the list are of no sequence: the kernel leaves their rows as they lay in memory.
        unseen = torch.arange(len(places), device=places.device)[:, None, None] >= sees[-1]
        rows = (x.masked_fill(unseen, 0) for x in more[1:])
        found = [found[0] + more[0], *(_added(x, places, y) for x, y in zip(found[1:], rows, strict=True))]
    return tuple(x.contiguous() for x in found)  # type: ignore[return-value]


def _added(x: Tensor, places: Tensor, rows: Tensor) -> Tensor:
    """Add rows to those at `places`; in float32, since a shared key may have as many of them as there are samples."""
    return at_least_float32(x).index_add(0, places, at_least_float32(rows)).to(x.dtype)


def _attend_backward_fake(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any) -> Three:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


operator(
    f"attend(Tensor query, Tensor key, Tensor value, {_LAYOUT}, float scale, int window) -> (Tensor, Tensor)",
    _attend,
    _attend_fake,
)
operator(
    "attend_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor out, Tensor lse, "
    f"{_LAYOUT}, float scale, int window) -> (Tensor, Tensor, Tensor)",
    _attend_backward,
    _attend_backward_fake,
)


def _tiled(query: Tensor) -> bool:
    return query.is_cuda and query.shape[-1] in (16, 32, 64, 128)


def _forward(query: Tensor, key: Tensor, value: Tensor, sight: Sight) -> Pair:
    if not query.is_cuda:
        return plain.forward(query, key, value, sight)
    out, lse, *_ = torch.ops.aten._flash_attention_forward(
        query, key, value, *sight.ends, *sight.most, 0.0, sight.causal and not sight.window, False, **_reach(sight)
    )
    return out, lse


def _backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, lse: Tensor, sight: Sight) -> Three:
    if not query.is_cuda:
        return plain.backward(grad, query, key, value, out, lse, sight)
    unused = torch.empty(2, dtype=torch.uint64, device=query.device)  # the random state of a dropout there is not
    return torch.ops.aten._flash_attention_backward(
        grad, query, key, value, out, lse, *sight.ends, *sight.most, 0.0, sight.causal and not sight.window, unused,
        unused, **_reach(sight),
    )  # fmt: skip


def _reach(sight: Sight) -> dict[str, Any]:
    left, right = sight.window - 1 if sight.window else -1, 0 if sight.causal else -1
    return {"scale": sight.scale, "window_size_left": left, "window_size_right": right}


def _merge(out: Tensor, lse: Tensor, more: Tensor, more_lse: Tensor) -> Pair:
    """Join two parts of one softmax. Where a query saw no shared key the kernel says inf: a part without weight."""
    more_lse = more_lse.masked_fill(more_lse.isinf(), float("-inf"))
    weight = torch.sigmoid(more_lse - lse).t()[..., None]
    return (out + weight * (more - out)).to(out.dtype), torch.logaddexp(lse, more_lse)
