"""Adapters of several arms side by side in one block of memory, and their gradients in another."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]
"""`{module}.lora_A` [r, in] and `{module}.lora_B` [out, r] for every adapted module."""


@dataclass(frozen=True)
class LoraShape:
    """Rank, scale and target modules of an adapter; the words are PEFT's."""

    r: int
    alpha: float
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ()
    """Last parts of module names, e.g. ("query_key_value",)."""
    use_rslora: bool = False
    """rsLoRA (Kalajdzievski 2023): the update is scaled by alpha / sqrt(r)."""

    @property
    def scale(self) -> float:
        """What the update B A x is multiplied by."""
        return self.alpha / (self.r**0.5 if self.use_rslora else self.r)


class FlatAdapters:
    """K arms' weights [K, P]; each tensor of an adapter is a view [K, rows, columns] of it, [rows, columns] for K = 1.

    One block a kind makes an arm's norm, clipping and optimizer step single operations instead of hundreds.
    """

    def __init__(
        self, arms: Sequence[str], sizes: Mapping[str, tuple[int, int]], device: torch.device, kind: torch.dtype
    ) -> None:
        self.arms = tuple(arms)
        self.sizes = dict(sizes)
        self.values = torch.zeros(len(arms), sum(map(prod, sizes.values())), device=device, dtype=kind)
        self.leaves = {name: view.requires_grad_() for name, view in self.views(self.values).items()}
        self._gradient: Tensor | None = None

    def views(self, block: Tensor) -> Weights:
        """Return the tensors of a block laid out as this one, [K, P], or [P] for one arm's."""
        block = block.detach()
        block = block[0] if block.dim() == 2 and len(block) == 1 else block
        parts = block.split([prod(size) for size in self.sizes.values()], dim=-1)
        return {name: part.unflatten(-1, size) for (name, size), part in zip(self.sizes.items(), parts, strict=True)}

    def put(self, arm: str, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in self.of(arm).items():
                tensor.copy_(weights[name])

    def of(self, arm: str) -> Weights:
        """Return one arm's live tensors."""
        if len(self.arms) == 1:
            return self.leaves
        index = self.arms.index(arm)
        return {name: leaf.detach()[index] for name, leaf in self.leaves.items()}

    @property
    def gradient(self) -> Tensor:
        """[K, P]; every backward pass adds to it."""
        if self._gradient is None:
            # The views' strides are their leaves' own, which is what autograd asks for but does not see.
            warnings.filterwarnings("ignore", "grad and param do not obey", UserWarning)
            self._gradient = torch.zeros_like(self.values)
            for name, view in self.views(self._gradient).items():
                self.leaves[name].grad = view
        return self._gradient

    def parameter(self, arm: str) -> nn.Parameter:
        """Return one arm's weights as one vector [P] for an optimizer, its gradient attached."""
        index = self.arms.index(arm)
        vector = nn.Parameter(self.values[index])
        vector.grad = self.gradient[index]
        return vector
