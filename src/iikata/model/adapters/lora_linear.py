"""A frozen linear layer with the low-rank update of one arm, of several side by side, or of each token's own arm."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from iikata.model.adapters.dropout import dropped
from iikata.model.buffers import BUCKET
from iikata.model.kernels.operators import operator


def _add_product(y: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
    (y.addmm_ if y.dim() == 2 else y.baddbmm_)(left, right, alpha=scale)


# y += scale * left @ right in place, [T, n] or [buckets, BUCKET, n]; compiled, torch.addmm would copy y first.
operator(
    "add_product(Tensor(a!) y, Tensor left, Tensor right, float scale) -> ()",
    _add_product,
    lambda y, left, right, scale: None,
)


class _Adapted(torch.autograd.Function):
    """W x + bias + scale B A x for x [T, in]: a [r, in] and b [out, r], in buckets a [n, r, in] and b [n, out, r].

    With `noise` B A sees what dropout leaves of x, which backward works out again.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, a, b, scale, noise, salt, dropout):  # type: ignore[no-untyped-def, override]
        y = linear(x, weight, bias)
        inner = _cut(dropped(x, noise, salt, dropout), a) @ a.mT
        torch.ops.iikata.add_product(_cut(y, a), inner, b.mT, scale)
        ctx.save_for_backward(x, weight, a, b, inner, noise, salt)
        ctx.scale, ctx.dropout = scale, dropout
        return y

    @staticmethod
    def backward(ctx, dy):  # type: ignore[no-untyped-def, override]
        x, weight, a, b, inner, noise, salt = ctx.saved_tensors
        toward = _cut(dy, a)
        d_inner = (toward @ b) * ctx.scale
        da = d_inner.mT @ _cut(dropped(x, noise, salt, ctx.dropout), a)
        db = (toward.mT @ inner) * ctx.scale
        dx = None
        if ctx.needs_input_grad[0]:
            dx = dy @ weight
            if noise is None:
                torch.ops.iikata.add_product(_cut(dx, a), d_inner, a, 1.0)
            else:
                dx += dropped((d_inner @ a).view(dx.shape), noise, salt, ctx.dropout)
        return dx, None, None, da, db, None, None, None, None


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, noise, salt, dropout):  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(noise, salt)
        ctx.dropout = dropout
        return dropped(x, noise, salt, dropout)

    @staticmethod
    def backward(ctx, dy):  # type: ignore[no-untyped-def, override]
        noise, salt = ctx.saved_tensors
        return dropped(dy, noise, salt, ctx.dropout), None, None, None


def _cut(x: Tensor, a: Tensor) -> Tensor:
    return x if a.dim() == 2 else x.view(-1, BUCKET, x.shape[1])


class LoraLinear(nn.Module):
    """A frozen linear layer plus the low-rank update of an arm (Hu et al. 2021): W x + (alpha / r) B A x."""

    def __init__(self, base: Any, scale: float, dropout: float, salt: int) -> None:
        super().__init__()
        self.base = base
        self.scale = scale
        self.dropout = dropout
        self.a: Tensor | None = None
        self.b: Tensor | None = None
        self.buckets: Tensor | None = None
        """[n] which of the arms in `a` and `b` each bucket of tokens belongs to; None where one arm answers."""
        self.noise: Tensor | None = None
        """[T] int32, a stream a token; dropout acts only with it."""
        self.column_mask: Tensor | None = None
        """[T, n] bool, which columns of joined arms are not each token's own; None where they are not joined."""
        device: torch.device = base.weight.device
        self.salt = torch.tensor(salt, dtype=torch.int32, device=device)

    def forward(self, x: Tensor) -> Tensor:
        if self.a is None or self.b is None:
            return self.base(x)
        a, b = self.a, self.b
        if self.column_mask is not None:
            return self._multi_lora(x, a, b, self.column_mask)
        if self.buckets is not None:
            a, b = a.index_select(0, self.buckets), b.index_select(0, self.buckets)
        # The weights are kept in float32; they are rounded to the activations' type where they are used.
        a, b = a.to(x.dtype), b.to(x.dtype)
        flat = x.reshape(-1, x.shape[-1])
        if type(self.base) is nn.Linear:
            base, drop = self.base, (self.noise, self.salt, self.dropout)
            y = _Adapted.apply(flat, base.weight, base.bias, a, b, self.scale, *drop)
        else:
            y = self._apart(flat, a, b)
        return y.view(*x.shape[:-1], -1)

    def _multi_lora(self, x: Tensor, a: Tensor, b: Tensor, column_mask: Tensor) -> Tensor:
        """Without gradients: a [n, in] and b [out, n] are in the activations' type."""
        flat = x.reshape(-1, x.shape[-1])
        y = self.base(flat)
        torch.ops.iikata.add_product(y, linear(flat, a).masked_fill(column_mask, 0), b.mT, self.scale)
        return y.view(*x.shape[:-1], -1)

    def _apart(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Add the update to what another kind of layer gives, as quantised weights do."""
        y = self.base(x)
        x = x if self.noise is None else _Dropped.apply(x, self.noise, self.salt, self.dropout)
        return y + self.scale * (_cut(x, a) @ a.mT @ b.mT).view(y.shape)
