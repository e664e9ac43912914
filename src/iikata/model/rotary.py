"""Rotary position embedding as one kernel on CUDA, in the layout that packed attention reads.

Compiled from transformers' formula, rotating, splitting and re-ordering took a fifth of a training step at 3.6B.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from iikata.model.kernels.operators import operator

NAME = "apply_rotary_pos_emb"
"""What the function is called in every model file of transformers that has it."""


def _rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, back: bool) -> tuple[Tensor, Tensor]:
    from iikata.model.kernels import rotary

    return rotary.rotate(q, cos, sin, back), rotary.rotate(k, cos, sin, back)


def _rotate_fake(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, back: bool) -> tuple[Tensor, Tensor]:
    return tuple(x.new_empty(x.shape[2], x.shape[1], x.shape[3]).transpose(0, 1).unsqueeze(0) for x in (q, k))  # type: ignore[return-value]


operator("rotate(Tensor q, Tensor k, Tensor cos, Tensor sin, bool back) -> (Tensor, Tensor)", _rotate, _rotate_fake)


class Rotate(torch.autograd.Function):
    """Turn q and k [1, heads, T, D] by cos and sin [1, T, R], R <= D; their gradients are turned back."""

    @staticmethod
    def forward(ctx, q, k, cos, sin):  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(cos, sin)
        return torch.ops.iikata.rotate(q, k, cos, sin, False)

    @staticmethod
    def backward(ctx, dq, dk):  # type: ignore[no-untyped-def, override]
        return *torch.ops.iikata.rotate(dq, dk, *ctx.saved_tensors, True), None, None


def install(model: nn.Module) -> None:
    """Let the model's own file rotate with this kernel what lies on a GPU; all else goes to transformers' function.

    A file that rotates otherwise keeps its own function: Cohere, GLM and DeepSeek turn neighbours, not halves.
    """
    for module in {type(layer).__module__ for layer in model.modules()}:
        file: Any = sys.modules[module]
        theirs = getattr(file, NAME, None)
        if theirs is not None and not hasattr(theirs, "iikata") and _turns_halves(theirs):
            setattr(file, NAME, _fused(theirs))


def _turns_halves(theirs: Callable[..., Any]) -> bool:
    """Return whether a file's function computes what the kernel does."""
    q, k = torch.arange(48.0).sin().view(1, 2, 3, 8), torch.arange(24.0).cos().view(1, 1, 3, 8)
    angles = torch.arange(12.0).view(1, 3, 4).repeat(1, 1, 2)
    cos, sin = angles.cos(), angles.sin()
    try:
        found = theirs(q, k, cos, sin)
        wanted = [x * cos[:, None] + torch.cat([-x[..., 4:], x[..., :4]], -1) * sin[:, None] for x in (q, k)]
        return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, wanted, strict=True))
    except Exception:  # a function of the same name that takes something else
        return False


def _fused(theirs: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    def apply(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        usual = not args and not kwargs and q.dim() == 4 and q.shape[0] == 1 and q.stride(-1) == 1
        if not (q.is_cuda and usual):
            return theirs(q, k, cos, sin, *args, **kwargs)
        return Rotate.apply(q, k, cos, sin)

    apply.iikata = theirs  # type: ignore[attr-defined]
    return apply


@contextmanager
def removed(model: nn.Module) -> Iterator[None]:
    """Let the model rotate as transformers does for a while."""
    files: list[Any] = [sys.modules[name] for name in {type(layer).__module__ for layer in model.modules()}]
    ours = {file: getattr(file, NAME) for file in files if hasattr(getattr(file, NAME, None), "iikata")}
    for file, function in ours.items():
        setattr(file, NAME, function.iikata)
    try:
        yield
    finally:
        for file, function in ours.items():
            setattr(file, NAME, function)
