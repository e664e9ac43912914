"""Attention over sequences packed in one row, without padding, as one operator with its backward.

Sequences that begin with the same tokens hold them once: their queries look at the shared keys in a second call, and
the two results are merged by their log-sum-exps (Milakov and Gimelshein 2018). The gradient of a flash kernel follows
from the probabilities exp(score - lse), so with the merged lse each call's backward gives its own share exactly.
"""

import torch
from torch import Tensor

from iikata.model import plain_attention
from iikata.model.plain_attention import Pair, Three


@torch.library.custom_op("iikata::attend_packed", mutates_args=())
def attend_packed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    own: Tensor,
    longest: int,
    asks: Tensor,
    sees: Tensor,
    places: Tensor,
    most_asked: int,
    longest_prefix: int,
    scale: float,
    window: int,
) -> Pair:
    """Attend: query [T, heads, D], key and value [T, kv_heads, D] -> output [T, heads, D], log-sum-exp [heads, T].

    `own` [n + 1] int32 are the ends of the sequences, each causal (with `window` > 0 over that many tokens). The
    queries up to `asks[i + 1]` also see the keys `sees[i]` to `sees[i + 1]` of those at `places` [P], shared ones.
    """
    out, lse = _forward(query, key, value, own, own, longest, longest, True, scale, window)
    if places.numel():
        shared = (key.index_select(0, places), value.index_select(0, places))
        more, more_lse = _forward(query, *shared, asks, sees, most_asked, longest_prefix, False, scale, 0)
        out, lse = _merge(out, lse, more, more_lse)
    return out.contiguous(), lse.contiguous()


@attend_packed.register_fake
def _(query, key, value, own, longest, asks, sees, places, most_asked, longest_prefix, scale, window):  # type: ignore[no-untyped-def]
    kind = torch.float64 if query.dtype == torch.float64 else torch.float32
    return query.new_empty(query.shape), query.new_empty((query.shape[1], query.shape[0]), dtype=kind)


@torch.library.custom_op("iikata::attend_packed_backward", mutates_args=())
def attend_packed_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    own: Tensor,
    longest: int,
    asks: Tensor,
    sees: Tensor,
    places: Tensor,
    most_asked: int,
    longest_prefix: int,
    scale: float,
    window: int,
) -> Three:
    """Return the gradients of query, key and value."""
    grad = grad.contiguous()
    dq, dk, dv = _backward(grad, query, key, value, out, lse, own, own, longest, longest, True, scale, window)
    if places.numel():
        shared = (key.index_select(0, places), value.index_select(0, places))
        more = _backward(grad, query, *shared, out, lse, asks, sees, most_asked, longest_prefix, False, scale, 0)
        dq = dq + more[0]
        # No place is named twice, so nothing is summed here in a short number format.
        dk, dv = (x.index_add(0, places, y) for x, y in ((dk, more[1]), (dv, more[2])))
    return dq.contiguous(), dk.contiguous(), dv.contiguous()


@attend_packed_backward.register_fake
def _(grad, query, key, value, *_):  # type: ignore[no-untyped-def]
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _keep(ctx, inputs, output):  # type: ignore[no-untyped-def]
    query, key, value, own, longest, asks, sees, places, *ctx.rest = inputs
    ctx.longest = longest
    ctx.save_for_backward(query, key, value, *output, own, asks, sees, places)
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx, grad, _):  # type: ignore[no-untyped-def]
    query, key, value, out, lse, own, asks, sees, places = ctx.saved_tensors
    found = attend_packed_backward(
        grad, query, key, value, out, lse, own, ctx.longest, asks, sees, places, *ctx.rest
    )
    return (*found, *[None] * 9)


attend_packed.register_autograd(_differentiate, setup_context=_keep)


def _forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    ends_q: Tensor,
    ends_k: Tensor,
    most_q: int,
    most_k: int,
    causal: bool,
    scale: float,
    window: int,
) -> Pair:
    if not query.is_cuda:
        return plain_attention.forward(query, key, value, (ends_q, ends_k), causal, scale, window)
    out, lse, *_ = torch.ops.aten._flash_attention_forward(
        query, key, value, ends_q, ends_k, most_q, most_k, 0.0, causal and not window, False,
        scale=scale, window_size_left=window - 1 if window else -1, window_size_right=0 if causal else -1,
    )  # fmt: skip
    return out, lse


def _backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    ends_q: Tensor,
    ends_k: Tensor,
    most_q: int,
    most_k: int,
    causal: bool,
    scale: float,
    window: int,
) -> Three:
    if not query.is_cuda:
        return plain_attention.backward(grad, query, key, value, out, lse, (ends_q, ends_k), causal, scale, window)
    unused = torch.empty(2, dtype=torch.uint64, device=query.device)  # the random state of a dropout there is not
    return torch.ops.aten._flash_attention_backward(
        grad, query, key, value, out, lse, ends_q, ends_k, most_q, most_k, 0.0, causal and not window, unused, unused,
        scale=scale, window_size_left=window - 1 if window else -1, window_size_right=0 if causal else -1,
    )  # fmt: skip


def _merge(out: Tensor, lse: Tensor, more: Tensor, more_lse: Tensor) -> Pair:
    """Join two parts of one softmax. Where a query saw no shared key the kernel says inf; such a part weighs nothing."""
    if out.is_cuda:
        from iikata.model import kernels

        return kernels.merge(out, lse, more, more_lse)
    more_lse = more_lse.masked_fill(more_lse.isinf(), float("-inf"))
    weight = torch.sigmoid(more_lse - lse).t()[..., None]
    return (out + weight * (more - out)).to(out.dtype), torch.logaddexp(lse, more_lse)
