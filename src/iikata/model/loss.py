"""Cross-entropy of a frozen head in chunks: logits of all loss tokens are never in memory at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from iikata.model.attention.registry import at_least_float32


@dataclass(frozen=True)
class Head:
    """The frozen output layer: [..., D] -> [..., V]."""

    weight: Tensor
    bias: Tensor | None = None
    softcap: float | None = None
    """Gemma squashes its logits with tanh."""
    scale: float = 1.0
    """Cohere multiplies its logits, Granite divides them."""

    def product(self, hidden: Tensor) -> Tensor:
        """Return what becomes logits once it is scaled and squashed, in the model's type."""
        return linear(hidden, self.weight, self.bias)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits in float32 (float64 for a float64 model)."""
        logits = at_least_float32(self.product(hidden))
        logits = logits if self.scale == 1 else logits * self.scale
        return torch.tanh(logits / self.softcap) * self.softcap if self.softcap else logits


def head_of(model: Any) -> Head:
    """Return the model's head by the names that transformers' models have for what it does; `fit.hold` proves it."""
    layer, config = model.get_output_embeddings(), model.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)
    scaling = getattr(config, "logits_scaling", None) or 1.0
    scale = getattr(config, "logit_scale", None) or (scaling if config.model_type == "hyperclovax" else 1.0 / scaling)
    return Head(layer.weight, layer.bias, softcap, scale)


CHUNK = 2048
"""Loss tokens whose logits are in memory at once."""
CPU_CHUNK = 256
"""The same on CPU: a block of logits that stays small is not given back to the system each time."""


def _losses(hidden: Tensor, targets: Tensor, head: Head) -> Tensor:
    if _fused(hidden):
        return _kernel(head.product(hidden), targets, head, gradient=False)
    logits = head.logits(hidden)
    return logits.logsumexp(-1) - logits.gather(-1, targets[:, None])[:, 0]


def _losses_and_gradient(hidden: Tensor, targets: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """Return each target's loss [L] and its gradient over the hidden states [L, D]: softmax minus one, times W."""
    if _fused(hidden):
        product = head.product(hidden)
        losses = _kernel(product, targets, head, gradient=True)
        return losses, product @ head.weight
    logits = head.logits(hidden)
    sums = logits.logsumexp(-1)
    losses = sums - logits.gather(-1, targets[:, None])[:, 0]
    squash = head.scale * (1 - (logits / head.softcap).square() if head.softcap else 1)
    # Another block as large as the logits would cost more than the arithmetic.
    slope = logits.sub_(sums[:, None]).exp_()
    slope[torch.arange(len(targets)), targets] -= 1
    return losses, (slope if head.scale == 1 and not head.softcap else slope * squash).to(hidden.dtype) @ head.weight


def _fused(hidden: Tensor) -> bool:
    return hidden.is_cuda and hidden.dtype != torch.float64


def _kernel(product: Tensor, targets: Tensor, head: Head, gradient: bool) -> Tensor:
    from iikata.model.kernels.cross_entropy import cross_entropy

    with torch.cuda.device(product.device):  # a kernel starts on the current GPU, which need not be the head's
        return cross_entropy(product, targets, head.scale, head.softcap, gradient)


def _chunks(hidden: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    size = CHUNK if hidden.is_cuda else CPU_CHUNK
    return zip(hidden.split(size), targets.split(size), strict=True)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """The head is frozen, so the gradient of the hidden states is all that backward needs: forward makes it."""

    @staticmethod
    def forward(ctx, hidden: Tensor, targets: Tensor, head: Head) -> Tensor:  # type: ignore[override]
        losses, gradients = [], []
        for part, wanted in _chunks(hidden, targets):
            loss, gradient = _losses_and_gradient(part, wanted, head)
            losses.append(loss)
            gradients.append(gradient)
        ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (gradient,) = ctx.saved_tensors
        return gradient * grad[:, None].to(gradient.dtype), None, None


def token_losses(hidden: Tensor, targets: Tensor, head: Head) -> Tensor:
    """Return the loss in nats of each target: hidden [L, D], targets [L] -> [L]."""
    if torch.is_grad_enabled() and hidden.requires_grad:
        return _ChunkedCrossEntropy.apply(hidden, targets, head)
    return torch.cat([_losses(part, wanted, head) for part, wanted in _chunks(hidden, targets)])
