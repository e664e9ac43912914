"""Which inputs of an adapter are dropped: a hash of arm, step, module and position, so that no mask needs a state.

A mask drawn from a running generator would depend on what was drawn before it; a hash gives an arm the same masks
alone or beside others, and again after a restart. The mixing is Wellons' lowbias32, in wrapping 32-bit integers.
"""

import torch
from torch import Tensor

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
    return drawn >= int(dropout * 2**32) - 2**31
