"""The Triton kernel of cross-entropy over a block of logits, and of its gradient in their place."""

import torch
import triton
import triton.language as tl
from torch import Tensor

SHAPE = {"BLOCK": 4096, "num_warps": 8}


@triton.jit
def _squashed(x, scale, cap, CAPPED: tl.constexpr):
    x = x.to(tl.float32) * scale
    return cap * (2 * tl.sigmoid(2 * x / cap) - 1) if CAPPED else x  # tanh, which Triton has none of


@triton.jit
def _cross_entropy(
    logits, targets, losses, columns, stride, scale, cap,
    CAPPED: tl.constexpr, GRADIENT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One token: its loss, and where GRADIENT the slope of it over its logits, written over them."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    target = tl.load(targets + row)
    own = _squashed(tl.load(logits + target), scale, cap, CAPPED)
    most = tl.full([], float("-inf"), tl.float32)
    total = tl.full([], 0.0, tl.float32)
    for start in range(0, columns, BLOCK):
        column = start + tl.arange(0, BLOCK)
        x = _squashed(tl.load(logits + column, column < columns, other=0.0), scale, cap, CAPPED)
        x = tl.where(column < columns, x, float("-inf"))
        higher = tl.maximum(most, tl.max(x, 0))
        total = total * tl.exp(most - higher) + tl.sum(tl.exp(x - higher), 0)
        most = higher
    sums = most + tl.log(total)
    tl.store(losses + row, sums - own)
    if GRADIENT:
        for start in range(0, columns, BLOCK):
            column = start + tl.arange(0, BLOCK)
            x = _squashed(tl.load(logits + column, column < columns, other=0.0), scale, cap, CAPPED)
            slope = (tl.exp(x - sums) - tl.where(column == target, 1.0, 0.0)) * scale
            slope = slope * (1 - (x / cap) * (x / cap)) if CAPPED else slope
            tl.store(logits + column, slope.to(logits.dtype.element_ty), column < columns)


def cross_entropy(logits: Tensor, targets: Tensor, scale: float, cap: float | None, gradient: bool) -> Tensor:
    """Return the loss in nats of each target [L] of logits [L, V] that are scaled and squashed by tanh; float32.

    With `gradient`, the logits are overwritten by what the losses' gradients over them are.
    """
    losses = logits.new_empty(len(logits), dtype=torch.float32)
    if len(logits):
        _cross_entropy[(len(logits),)](
            logits, targets, losses, logits.shape[1], logits.stride(0), scale, cap or 1.0,
            CAPPED=cap is not None, GRADIENT=gradient, **SHAPE,
        )  # fmt: skip
    return losses
