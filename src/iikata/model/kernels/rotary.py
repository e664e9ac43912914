"""The Triton kernel of the rotary position embedding."""

import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _rotate(x, y, cos, sin, heads, x_head, x_token, width, half, HEADS: tl.constexpr, HALF: tl.constexpr,
            REST: tl.constexpr, BACK: tl.constexpr):  # fmt: skip
    """One token: y = x turned by its angles, the columns behind 2 * half copied; BACK is the transpose."""
    token = tl.program_id(0).to(tl.int64)
    head = tl.arange(0, HEADS)[:, None]
    column = tl.arange(0, HALF)[None]
    inside = (head < heads) & (column < half)
    angle = token * 2 * half + column
    known = column < half
    cos_1 = tl.load(cos + angle, known, other=0.0).to(tl.float32)
    cos_2 = tl.load(cos + angle + half, known, other=0.0).to(tl.float32)
    sin_1 = tl.load(sin + angle, known, other=0.0).to(tl.float32)
    sin_2 = tl.load(sin + angle + half, known, other=0.0).to(tl.float32)
    source = x + token * x_token + head * x_head + column
    target = y + token * heads * width + head * width + column
    x_1 = tl.load(source, inside, other=0.0).to(tl.float32)
    x_2 = tl.load(source + half, inside, other=0.0).to(tl.float32)
    if BACK:
        y_1, y_2 = x_1 * cos_1 + x_2 * sin_2, x_2 * cos_2 - x_1 * sin_1
    else:
        y_1, y_2 = x_1 * cos_1 - x_2 * sin_1, x_2 * cos_2 + x_1 * sin_2
    tl.store(target, y_1.to(y.dtype.element_ty), inside)
    tl.store(target + half, y_2.to(y.dtype.element_ty), inside)
    if REST:
        column = 2 * half + tl.arange(0, REST)[None]
        inside = (head < heads) & (column < width)
        kept = tl.load(x + token * x_token + head * x_head + column, inside, other=0.0)
        tl.store(y + token * heads * width + head * width + column, kept, inside)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, back: bool) -> Tensor:
    """Turn x [1, heads, T, D] by the angles [1, T, R]; the result is laid out as [T, heads, D]."""
    _, heads, tokens, width = x.shape
    x = x if x.stride(-1) == 1 else x.contiguous()
    half = cos.shape[-1] // 2
    y = x.new_empty(tokens, heads, width)
    rest = triton.next_power_of_2(width - 2 * half) if width > 2 * half else 0
    _rotate[(tokens,)](
        x, y, cos.contiguous(), sin.contiguous(), heads, x.stride(1), x.stride(2), width, half,
        HEADS=triton.next_power_of_2(heads), HALF=triton.next_power_of_2(half), REST=rest, BACK=back,
    )  # fmt: skip
    return y.transpose(0, 1)[None]
