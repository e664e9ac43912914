"""Which inputs of an adapter are dropped: a hash of arm, step, module and position, so that no mask needs a state.

A mask drawn from a running generator would depend on what was drawn before it; a hash gives an arm the same masks
alone or beside others, and again after a restart. The mixing is Wellons' lowbias32, in wrapping 32-bit integers.
"""

from importlib.util import find_spec

import torch
from torch import Tensor

from iikata.model.kernels.operators import operator

_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B - 2**32
_STRIDE = 0x9E3779B9 - 2**32
"""2**32 over the golden ratio: neighbours' streams start far apart."""


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ (x >> 16 & 0xFFFF)) * _FIRST
    x = (x ^ (x >> 15 & 0x1FFFF)) * _SECOND
    return x ^ (x >> 16 & 0xFFFF)


def noise(seed: int, tokens: int, device: torch.device) -> Tensor:
    """Return a stream a token, [tokens] int32, of an arm's buffer named by `seed`."""
    position = torch.arange(tokens, dtype=torch.int32, device=device)
    low, high = seed & 0x7FFFFFFF, seed >> 31 & 0x7FFFFFFF
    return _mixed(_mixed(position * _STRIDE + low) ^ high)


def kept(noise: Tensor, salt: Tensor, width: int, dropout: float) -> Tensor:
    """Return [T, width], False with probability `dropout`; `salt` tells modules apart."""
    column = torch.arange(width, dtype=torch.int32, device=noise.device) * _STRIDE
    drawn = _mixed(_mixed(noise ^ salt)[:, None] + column)
    return drawn >= _least(dropout)


def _least(dropout: float) -> int:
    return int(dropout * 2**32) - 2**31


def _drop(x: Tensor, noise: Tensor, salt: Tensor, dropout: float) -> Tensor:
    if x.is_cuda and x.dtype != torch.float64 and find_spec("triton"):
        from iikata.model.kernels.drop import drop

        return drop(x, noise, salt, _least(dropout), 1 - dropout, (_STRIDE, _FIRST, _SECOND))
    return x * kept(noise, salt, x.shape[1], dropout) / (1 - dropout)


operator(
    "drop(Tensor x, Tensor noise, Tensor salt, float dropout) -> Tensor",
    _drop,
    lambda x, noise, salt, dropout: x.new_empty(x.shape),
)


def dropped(x: Tensor, noise: Tensor | None, salt: Tensor, dropout: float) -> Tensor:
    """Return x [T, n] without what is dropped, the rest made larger for it; as it is where there is no `noise`."""
    return x if noise is None else torch.ops.iikata.drop(x, noise, salt, dropout)
