"""Rotary position embedding as one kernel on CUDA, in the layout that packed attention reads.

Compiled from transformers' formula, rotating, splitting and re-ordering took a fifth of a training step at 3.6B.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

NAME = "apply_rotary_pos_emb"
"""What the function is called in every model file of transformers that has it."""


@torch.library.custom_op("iikata::rotate", mutates_args=(), device_types="cuda")
def rotate(x: Tensor, cos: Tensor, sin: Tensor, back: bool) -> Tensor:
    """Turn x [1, heads, T, D] by cos and sin [1, T, R], R <= D; `back` is the transposed map, its gradient."""
    from iikata.model import kernels

    return kernels.rotate(x, cos, sin, back)


@rotate.register_fake
def _(x, cos, sin, back):  # type: ignore[no-untyped-def]
    _, heads, tokens, width = x.shape
    return x.new_empty(tokens, heads, width).transpose(0, 1).unsqueeze(0)


def _keep(ctx, inputs, output):  # type: ignore[no-untyped-def]
    _, cos, sin, ctx.back = inputs
    ctx.save_for_backward(cos, sin)


def _differentiate(ctx, grad):  # type: ignore[no-untyped-def]
    cos, sin = ctx.saved_tensors
    if grad.stride(-1) != 1:
        grad = grad.contiguous()
    return rotate(grad, cos, sin, not ctx.back), None, None, None


rotate.register_autograd(_differentiate, setup_context=_keep)


def install(model: nn.Module) -> None:
    """Let the model's own file rotate with this kernel what lies on a GPU; all else goes to transformers' function."""
    for module in {type(layer).__module__ for layer in model.modules()}:
        file: Any = sys.modules[module]
        theirs = getattr(file, NAME, None)
        if theirs is not None and not hasattr(theirs, "iikata"):
            setattr(file, NAME, _fused(theirs))


def _fused(theirs: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    def apply(
        q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        usual = not args and not kwargs and q.dim() == 4 and q.shape[0] == 1 and q.stride(-1) == 1
        if not (q.is_cuda and usual):
            return theirs(q, k, cos, sin, *args, **kwargs)
        return rotate(q, cos, sin, False), rotate(k, cos, sin, False)

    apply.iikata = True  # type: ignore[attr-defined]
    return apply
