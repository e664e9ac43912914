"""The Triton kernel of dropout by hash: as tensor operations a mask takes some forty kernels a module."""

import triton
import triton.language as tl
from torch import Tensor

ROWS, COLUMNS = 8, 256


@triton.jit
def _mixed(x, FIRST: tl.constexpr, SECOND: tl.constexpr):
    x = (x ^ ((x >> 16) & 0xFFFF)) * FIRST
    x = (x ^ ((x >> 15) & 0x1FFFF)) * SECOND
    return x ^ ((x >> 16) & 0xFFFF)


@triton.jit
def _drop(x, y, noise, salt, tokens, width, x_token, least, share, STRIDE: tl.constexpr, FIRST: tl.constexpr,
          SECOND: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    """Some rows and columns: y = x / share where the hash of noise, salt and column is `least` or more, else 0."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    stream = _mixed(tl.load(noise + row, row < tokens, other=0) ^ tl.load(salt), FIRST, SECOND)
    drawn = _mixed(stream[:, None] + (column * STRIDE)[None], FIRST, SECOND)
    row, column = row.to(tl.int64)[:, None], column[None]
    inside = (row < tokens) & (column < width)
    given = tl.load(x + row * x_token + column, inside, other=0.0).to(tl.float32)
    kept = tl.where(drawn >= least, given / share, 0.0)
    tl.store(y + row * width + column, kept.to(y.dtype.element_ty), inside)


def drop(x: Tensor, noise: Tensor, salt: Tensor, least: int, share: float, mixing: tuple[int, int, int]) -> Tensor:
    """Return x [T, n] over `share` where its hash is `least` or more, else 0; `mixing` are the hash's factors."""
    x = x if x.stride(-1) == 1 else x.contiguous()
    y, (stride, first, second) = x.new_empty(x.shape), mixing
    grid = (triton.cdiv(x.shape[0], ROWS), triton.cdiv(x.shape[1], COLUMNS))
    _drop[grid](
        x, y, noise, salt, *x.shape, x.stride(0), least, share,
        STRIDE=stride, FIRST=first, SECOND=second, ROWS=ROWS, COLUMNS=COLUMNS,
    )  # fmt: skip
    return y
