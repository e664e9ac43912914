"""Cross-entropy of a frozen head in chunks: logits of all loss tokens are never in memory at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from iikata.model.attention.registry import at_least_float32
from iikata.model.buffers import CHUNK


@dataclass(frozen=True)
class Head:
    """The frozen output layer: [..., D] -> [..., V]."""

    weight: Tensor
    bias: Tensor | None = None
    softcap: float | None = None
    """Gemma squashes its logits with tanh."""
    scale: float = 1.0
    """Cohere multiplies its logits, Granite divides them."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits in float32 (float64 for a float64 model)."""
        logits = at_least_float32(linear(hidden, self.weight, self.bias))
        logits = logits if self.scale == 1 else logits * self.scale
        return torch.tanh(logits / self.softcap) * self.softcap if self.softcap else logits


def head_of(model: Any) -> Head:
    """Return the model's head by the names that transformers' models have for what it does; `fit.hold` proves it."""
    layer, config = model.get_output_embeddings(), model.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)
    scaling = getattr(config, "logits_scaling", None) or 1.0
    scale = getattr(config, "logit_scale", None) or (scaling if config.model_type == "hyperclovax" else 1.0 / scaling)
    return Head(layer.weight, layer.bias, softcap, scale)


CPU_CHUNK = 256
"""Loss tokens a chunk on CPU: a block of logits that stays small is not given back to the system each time."""


def _losses(hidden: Tensor, targets: Tensor, head: Head) -> Tensor:
    logits = head.logits(hidden)
    return logits.logsumexp(-1) - logits.gather(-1, targets[:, None])[:, 0]


def _losses_and_gradient(hidden: Tensor, targets: Tensor, head: Head) -> tuple[Tensor, Tensor]:
    """Return each target's loss [L] and its gradient over the hidden states [L, D]: softmax minus one, times W."""
    logits = head.logits(hidden)
    sums = logits.logsumexp(-1)
    losses = sums - logits.gather(-1, targets[:, None])[:, 0]
    squash = head.scale * (1 - (logits / head.softcap).square() if head.softcap else 1)
    if hidden.is_cuda:  # compiled, all this is one pass over the logits; a scatter would be another
        column = torch.arange(logits.shape[-1], device=logits.device)
        slope = torch.exp(logits - sums[:, None])
        slope = torch.where(column == targets[:, None], slope - 1, slope)
    else:  # another block as large as the logits would cost more than the arithmetic
        slope = logits.sub_(sums[:, None]).exp_()
        slope[torch.arange(len(targets)), targets] -= 1
    return losses, (slope if head.scale == 1 and not head.softcap else slope * squash).to(hidden.dtype) @ head.weight


@cache
def _compiled(function: Any) -> Any:
    return torch.compile(function, dynamic=False)


def _fit(function: Any, hidden: Tensor) -> Any:
    """Compile on CUDA where the chunk is full: another length would be compiled again."""
    return _compiled(function) if hidden.is_cuda and len(hidden) == CHUNK else function


def _chunks(hidden: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    size = CHUNK if hidden.is_cuda else CPU_CHUNK
    return zip(hidden.split(size), targets.split(size), strict=True)


class _ChunkedCrossEntropy(torch.autograd.Function):
    """The head is frozen, so the gradient of the hidden states is all that backward needs: forward makes it."""

    @staticmethod
    def forward(ctx, hidden: Tensor, targets: Tensor, head: Head) -> Tensor:  # type: ignore[override]
        losses, gradients = [], []
        for part, wanted in _chunks(hidden, targets):
            loss, gradient = _fit(_losses_and_gradient, part)(part, wanted, head)
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
    return torch.cat([_fit(_losses, part)(part, wanted, head) for part, wanted in _chunks(hidden, targets)])
