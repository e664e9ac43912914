"""Triton kernels of decoding: filling slots with prompts, and one query a row over the keys in its slot."""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64
LEAST = 16
"""Rows that a product in a kernel has at least; query heads over one key head are filled up to it."""


@triton.jit
def _attend(
    q, k, v, keys, values, used, out, scale, q_row, q_head, k_row, k_head, v_row, v_head, length,
    GROUP: tl.constexpr, PADDED: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr, WINDOW: tl.constexpr,
):  # fmt: skip
    """One row and key head. `scale` holds log2(e)."""
    row, head, heads = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.num_programs(1)
    asking, column = tl.arange(0, PADDED), tl.arange(0, WIDTH)
    here = tl.load(used + row)
    keys += (row * heads + head) * length * WIDTH
    values += (row * heads + head) * length * WIDTH
    real = (asking < GROUP)[:, None]
    query = tl.load(q + row * q_row + (head * GROUP + asking[:, None]) * q_head + column[None], real, other=0.0)
    # The row's own token is not read back from its slot: it begins the sums.
    key = tl.load(k + row * k_row + head * k_head + column)
    value = tl.load(v + row * v_row + head * v_head + column)
    tl.store(keys + here * WIDTH + column, key)
    tl.store(values + here * WIDTH + column, value)
    most = tl.sum(query.to(tl.float32) * key.to(tl.float32)[None], 1) * scale
    total = tl.full([PADDED], 1.0, tl.float32)
    sums = tl.zeros([PADDED, WIDTH], tl.float32) + value.to(tl.float32)[None]
    first = tl.maximum(here - WINDOW + 1, 0) if WINDOW else 0
    for start in range(first, here, BLOCK):
        place = start + tl.arange(0, BLOCK)
        there = place < here
        old = tl.load(keys + place[None] * WIDTH + column[:, None], there[None], other=0.0)
        scores = tl.where(there[None], tl.dot(query, old) * scale, float("-inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        weights = tl.exp2(scores - higher[:, None])
        shrink = tl.exp2(most - higher)
        old_values = tl.load(values + place[:, None] * WIDTH + column[None], there[:, None], other=0.0)
        total = total * shrink + tl.sum(weights, 1)
        sums = sums * shrink[:, None] + tl.dot(weights.to(old_values.dtype), old_values)
        most = higher
    target = out + (row * heads * GROUP + head * GROUP + asking[:, None]) * WIDTH + column[None]
    tl.store(target, (sums / total[:, None]).to(out.dtype.element_ty), real)


def attend(
    query: Tensor, key: Tensor, value: Tensor, keys: Tensor, values: Tensor, used: Tensor, scale: float, window: int
) -> Tensor:
    """Write and attend as `slots._attend` says; slots are contiguous."""
    rows, heads, width = query.shape
    kv_heads, length = keys.shape[1], keys.shape[2]
    group = heads // kv_heads
    query, key, value = (x if x.stride(-1) == 1 else x.contiguous() for x in (query, key, value))
    out = torch.empty((rows, heads, width), dtype=query.dtype, device=query.device)
    _attend[(rows, kv_heads)](
        query, key, value, keys, values, used, out, scale * 1.4426950408889634,
        *query.stride()[:2], *key.stride()[:2], *value.stride()[:2], length,
        GROUP=group, PADDED=max(LEAST, triton.next_power_of_2(group)), WIDTH=width, BLOCK=BLOCK, WINDOW=window,
        num_warps=4, num_stages=2,
    )  # fmt: skip
    return out


@triton.jit
def _fill(
    key, value, keys, values, rows, places, k_head, k_token, v_head, v_token, length, width,
    WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One block of tokens of one row and key head; behind the prompt's end values become zero."""
    number, head, heads = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    row = tl.load(rows + number)
    token = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    place = tl.load(places + number * length + token, token < length, other=-1)[:, None]
    column = tl.arange(0, WIDTH)[None]
    there = (place >= 0) & (column < width)
    inside = (token < length)[:, None] & (column < width)
    slot = (row * heads + head) * length * width + token[:, None] * width + column
    tl.store(keys + slot, tl.load(key + head * k_head + place * k_token + column, there, other=0.0), inside)
    tl.store(values + slot, tl.load(value + head * v_head + place * v_token + column, there, other=0.0), inside)


def fill(keys: Tensor, values: Tensor, rows: Tensor, key: Tensor, value: Tensor, places: Tensor) -> None:
    """Fill slots as `StaticKVCache.fill` says; `rows` and `places` are int64, the last dimensions contiguous."""
    _, kv_heads, length, width = keys.shape
    _fill[(len(rows), kv_heads, triton.cdiv(length, BLOCK))](
        key, value, keys, values, rows, places.contiguous(), *key.stride()[:2], *value.stride()[:2], length, width,
        WIDTH=triton.next_power_of_2(width), BLOCK=BLOCK,
    )  # fmt: skip
