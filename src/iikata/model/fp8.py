"""A frozen linear layer whose products are made in 8-bit floats: each row of both sides has its own scale.

The weight is held twice, scaled by its rows for the forward product and by its columns for the gradient of the input,
which takes the bytes of one 16-bit copy. Format: OCP e4m3; arithmetic: torch's row-wise scaled product.
"""

import torch
from torch import Tensor, nn

FP8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FP8).max


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x [n, m] in 8 bits and its scales [n, 1] in float32: x is about their product."""
    scale = x.abs().amax(-1, keepdim=True).float().clamp(min=1e-12) / LARGEST
    return (x.float() / scale).clamp(-LARGEST, LARGEST).to(FP8), scale


def product(x: Tensor, weight: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x [T, n] times the transpose of weight [m, n] in 8 bits with its scales [m, 1]."""
    small, own = quantize(x)
    if not x.is_cuda:  # what the GPU computes, by its formula
        y = (small.float() * own) @ (weight.float() * scale).T
        return (y if bias is None else y + bias).to(x.dtype)
    return torch._scaled_mm(
        small, weight.t(), scale_a=own, scale_b=scale.t(), bias=bias, out_dtype=x.dtype, use_fast_accum=True
    )


class _Fp8(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, rows, row_scale, columns, column_scale, bias):  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(columns, column_scale)
        return product(x, rows, row_scale, bias)

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def, override]
        dx = product(grad, *ctx.saved_tensors) if ctx.needs_input_grad[0] else None
        return dx, None, None, None, None, None


class Fp8Linear(nn.Module):
    """Stands in for a frozen nn.Linear."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features, self.bias = layer.in_features, layer.out_features, layer.bias
        self.weight, self.row_scale = (nn.Buffer(x) for x in quantize(layer.weight.detach()))
        self.columns, self.column_scale = (nn.Buffer(x) for x in quantize(layer.weight.detach().t().contiguous()))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        y = _Fp8.apply(flat, self.weight, self.row_scale, self.columns, self.column_scale, self.bias)
        return y.view(*x.shape[:-1], -1)


def install(layers: list[nn.Module]) -> None:
    """Replace the linear layers of the decoder's blocks; the head and the embeddings stay as they are."""
    for layer in layers:
        for name, module in list(layer.named_modules()):
            if type(module) is nn.Linear:
                parent, _, last = name.rpartition(".")
                setattr(layer.get_submodule(parent), last, Fp8Linear(module))
