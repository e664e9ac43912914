"""Triton kernels for causal attention over many short sequences in one row, and over the keys that they share.

A flash kernel made for long sequences spends much of its time on training samples of one or two tiles: it is launched
for the longest, and its backward adds to a float32 copy of dQ. Here the tiles are listed beforehand, and each gradient
is written once by the program that owns it. Algorithm: FlashAttention-2 (Dao 2023).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from iikata.model.attention.tiles import TILE

FAR = 1 << 30
"""A window that hides nothing."""
SHAPE = {"BLOCK": TILE, "num_warps": 4, "num_stages": 2}
"""The fastest of those tried at 22 heads of 128 and at 9 heads of 64 over 3."""


@triton.jit
def _forward(
    q, k, v, out, lse, tiles, tokens, scale, window, q_token, q_head, k_token, k_head, v_token, v_head,
    GROUP: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One tile of one head's queries, over the keys they share and then over their own. `scale` holds log2(e)."""
    tiles += tl.program_id(0) * 5
    head, heads = tl.program_id(1), tl.num_programs(1)
    first, start, end = tl.load(tiles), tl.load(tiles + 1), tl.load(tiles + 2)
    low, high = tl.load(tiles + 3), tl.load(tiles + 4)
    row, column = first + tl.arange(0, BLOCK), tl.arange(0, WIDTH)
    inside = row < end
    k += head // GROUP * k_head
    v += head // GROUP * v_head
    own = tl.load(q + row[:, None].to(tl.int64) * q_token + head * q_head + column[None], inside[:, None], other=0.0)
    most = tl.full([BLOCK], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    sums = tl.zeros([BLOCK, WIDTH], tl.float32)
    start = tl.maximum(start, first - window + 1)
    shared = tl.cdiv(high - low, BLOCK)
    for block in range(shared + tl.cdiv(tl.minimum(end, first + BLOCK) - start, BLOCK)):
        apart = block >= shared
        other = tl.where(apart, start + (block - shared) * BLOCK, low + block * BLOCK) + tl.arange(0, BLOCK)
        there = other < tl.where(apart, end, high)
        keys = tl.load(k + other[None].to(tl.int64) * k_token + column[:, None], there[None], other=0.0)
        values = tl.load(v + other[:, None].to(tl.int64) * v_token + column[None], there[:, None], other=0.0)
        behind = row[:, None] - other[None]
        seen = (((behind >= 0) & (behind < window)) | (block < shared)) & there[None]
        scores = tl.where(seen, tl.dot(own, keys) * scale, float("-inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        # A row whose window begins behind this block has seen nothing yet.
        anchor = tl.where(higher == float("-inf"), 0.0, higher)
        weights = tl.exp2(scores - anchor[:, None])
        shrink = tl.exp2(most - anchor)
        total = total * shrink + tl.sum(weights, 1)
        sums = sums * shrink[:, None] + tl.dot(weights.to(values.dtype), values)
        most = higher
    place = out + (row[:, None].to(tl.int64) * heads + head) * WIDTH + column[None]
    tl.store(place, (sums / total[:, None]).to(out.dtype.element_ty), inside[:, None])
    tl.store(lse + head * tokens + row, (most + tl.log2(total)) / 1.4426950408889634, inside)


@triton.jit
def _backward_query(
    grad, q, k, v, out, lse, delta, dq, tiles, tokens, scale, window, q_token, q_head, k_token, k_head, v_token, v_head,
    GROUP: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One tile of dQ; also writes delta, the sum of grad * out of each query."""
    tiles += tl.program_id(0) * 5
    head, heads = tl.program_id(1), tl.num_programs(1)
    first, start, end = tl.load(tiles), tl.load(tiles + 1), tl.load(tiles + 2)
    low, high = tl.load(tiles + 3), tl.load(tiles + 4)
    row, column = first + tl.arange(0, BLOCK), tl.arange(0, WIDTH)
    inside = row < end
    k += head // GROUP * k_head
    v += head // GROUP * v_head
    place = (row[:, None].to(tl.int64) * heads + head) * WIDTH + column[None]
    toward = tl.load(grad + place, inside[:, None], other=0.0)
    slope = tl.sum(toward.to(tl.float32) * tl.load(out + place, inside[:, None], other=0.0).to(tl.float32), 1)
    tl.store(delta + head * tokens + row, slope, inside)
    own = tl.load(q + row[:, None].to(tl.int64) * q_token + head * q_head + column[None], inside[:, None], other=0.0)
    norm = tl.load(lse + head * tokens + row, inside, other=0.0) * 1.4426950408889634
    sums = tl.zeros([BLOCK, WIDTH], tl.float32)
    start = tl.maximum(start, first - window + 1)
    shared = tl.cdiv(high - low, BLOCK)
    for block in range(shared + tl.cdiv(tl.minimum(end, first + BLOCK) - start, BLOCK)):
        apart = block >= shared
        other = tl.where(apart, start + (block - shared) * BLOCK, low + block * BLOCK) + tl.arange(0, BLOCK)
        there = other < tl.where(apart, end, high)
        keys = tl.load(k + other[:, None].to(tl.int64) * k_token + column[None], there[:, None], other=0.0)
        values = tl.load(v + other[None].to(tl.int64) * v_token + column[:, None], there[None], other=0.0)
        behind = row[:, None] - other[None]
        seen = (((behind >= 0) & (behind < window)) | (block < shared)) & there[None]
        weights = tl.where(seen, tl.exp2(tl.dot(own, tl.trans(keys)) * scale - norm[:, None]), 0.0)
        change = weights * (tl.dot(toward, values) - slope[:, None])
        sums += tl.dot(change.to(keys.dtype), keys)
    tl.store(dq + place, (sums * (scale / 1.4426950408889634)).to(dq.dtype.element_ty), inside[:, None])


@triton.jit
def _backward_key(
    grad, q, k, v, lse, delta, dk, dv, tiles, tokens, scale, window, q_token, q_head, k_token, k_head, v_token, v_head,
    GROUP: tl.constexpr, SHARED: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One tile of dK and dV, summed over the query heads that share it; of SHARED keys a part of the queries' sum."""
    tiles += tl.program_id(0) * 5
    kv_head, kv_heads = tl.program_id(1), tl.num_programs(1)
    heads = kv_heads * GROUP
    if SHARED:
        first, end, begin, stop, place = (
            tl.load(tiles), tl.load(tiles + 1), tl.load(tiles + 2), tl.load(tiles + 3), tl.load(tiles + 4)
        )  # fmt: skip
    else:
        first, end, place = tl.load(tiles), tl.load(tiles + 2), tl.load(tiles)
        begin, stop = first, tl.minimum(end, first + BLOCK - 1 + window)
    row, column = first + tl.arange(0, BLOCK), tl.arange(0, WIDTH)
    inside = row < end
    keys = tl.load(
        k + row[:, None].to(tl.int64) * k_token + kv_head * k_head + column[None], inside[:, None], other=0.0
    )
    values = tl.load(
        v + row[:, None].to(tl.int64) * v_token + kv_head * v_head + column[None], inside[:, None], other=0.0
    )
    sum_k = tl.zeros([BLOCK, WIDTH], tl.float32)
    sum_v = tl.zeros([BLOCK, WIDTH], tl.float32)
    for head in range(kv_head * GROUP, kv_head * GROUP + GROUP):
        for at in range(begin, stop, BLOCK):
            other = at + tl.arange(0, BLOCK)
            there = other < stop
            asked = tl.load(
                q + other[:, None].to(tl.int64) * q_token + head * q_head + column[None], there[:, None], other=0.0
            )
            toward = tl.load(
                grad + (other[:, None].to(tl.int64) * heads + head) * WIDTH + column[None], there[:, None], other=0.0
            )
            norm = tl.load(lse + head * tokens + other, there, other=0.0) * 1.4426950408889634
            slope = tl.load(delta + head * tokens + other, there, other=0.0)
            behind = other[None] - row[:, None]
            seen = there[None] & inside[:, None] if SHARED else (behind >= 0) & (behind < window) & there[None]
            weights = tl.where(seen, tl.exp2(tl.dot(keys, tl.trans(asked)) * scale - norm[None]), 0.0)
            sum_v += tl.dot(weights.to(toward.dtype), toward)
            change = weights * (tl.dot(values, tl.trans(toward)) - slope[None])
            sum_k += tl.dot(change.to(asked.dtype), asked)
    sum_k *= scale / 1.4426950408889634
    target = ((place + tl.arange(0, BLOCK))[:, None].to(tl.int64) * kv_heads + kv_head) * WIDTH + column[None]
    if SHARED:
        tl.atomic_add(dk + target, sum_k, inside[:, None])
        tl.atomic_add(dv + target, sum_v, inside[:, None])
    else:
        tl.store(dk + target, sum_k.to(dk.dtype.element_ty), inside[:, None])
        tl.store(dv + target, sum_v.to(dv.dtype.element_ty), inside[:, None])


LOG2_E = 1.4426950408889634


def forward(q: Tensor, k: Tensor, v: Tensor, tiles: Tensor, scale: float, window: int) -> tuple[Tensor, Tensor]:
    """Return output [T, heads, D] and log-sum-exp [heads, T]; `tiles` must cover all T tokens."""
    tokens, heads, width = q.shape
    out, lse = q.new_empty(q.shape), q.new_empty((heads, tokens), dtype=torch.float32)
    _forward[(len(tiles) // 5, heads)](
        q, k, v, out, lse, tiles, tokens, scale * LOG2_E, window or FAR, *_strides(q, k, v),
        GROUP=heads // k.shape[1], WIDTH=width, **SHAPE,
    )  # fmt: skip
    return out, lse


def backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    lse: Tensor,
    tiles: Tensor,
    shared_tiles: Tensor,
    places: Tensor,
    scale: float,
    window: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query, key and value; `grad` is contiguous, shared keys stand at `places`."""
    tokens, heads, width = q.shape
    kv_heads = k.shape[1]
    dq, dk, dv = q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
    delta = torch.empty_like(lse)
    rest = (tokens, scale * LOG2_E, window or FAR, *_strides(q, k, v))
    shape = {"GROUP": heads // kv_heads, "WIDTH": width, **SHAPE}
    _backward_query[(len(tiles) // 5, heads)](grad, q, k, v, out, lse, delta, dq, tiles, *rest, **shape)
    own = (len(tiles) // 5, kv_heads)
    _backward_key[own](grad, q, k, v, lse, delta, dk, dv, tiles, *rest, SHARED=False, **shape)
    if len(shared_tiles):
        # Summed in float32 over all that share them; the order of that sum is the one thing that is not fixed here.
        more = torch.zeros(2, len(places), kv_heads, width, device=q.device)
        parts = (len(shared_tiles) // 5, kv_heads)
        _backward_key[parts](grad, q, k, v, lse, delta, *more, shared_tiles, *rest, SHARED=True, **shape)
        for own_part, shared_part in ((dk, more[0]), (dv, more[1])):
            own_part.index_add_(0, places, shared_part.to(k.dtype))
    return dq, dk, dv


def _strides(*tensors: Tensor) -> list[int]:
    return [stride for x in tensors for stride in (x.stride(0), x.stride(1))]
