"""Cross-entropy of a frozen head in chunks: logits of all loss tokens never stand in memory at once."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

CHUNK = 1024
"""Loss tokens a chunk."""


class _ChunkedCrossEntropy(torch.autograd.Function):
    """The head is frozen, so the gradient of the hidden states is all that backward needs: forward makes it."""

    @staticmethod
    def forward(ctx, hidden: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:  # type: ignore[override]
        losses, gradients = [], []
        for part, wanted in zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True):
            with torch.enable_grad():
                leaf = part.detach().requires_grad_()
                loss = cross_entropy(head(leaf), wanted, reduction="none")
                (gradient,) = torch.autograd.grad(loss.sum(), leaf)
            losses.append(loss.detach())
            gradients.append(gradient)
        ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return gradient * grad[:, None].to(gradient.dtype), None, None


def token_losses(hidden: Tensor, targets: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the loss in nats of each target: hidden [L, D], targets [L] -> [L]; `head` maps [n, D] to [n, V]."""
    if torch.is_grad_enabled() and hidden.requires_grad:
        return _ChunkedCrossEntropy.apply(hidden, targets, head)
    parts = zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True)
    return torch.cat([cross_entropy(head(part), wanted, reduction="none") for part, wanted in parts])
