"""Low-rank adapters of many arms over one frozen base; one arm speaks at a time."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from iikata.errors import IikataError
from iikata.streams import stream_seed

Weights = dict[str, Tensor]
"""`{module}.lora_A` [r, in] and `{module}.lora_B` [out, r] for every adapted module."""


@dataclass(frozen=True)
class LoraShape:
    """Rank, scale and place of an adapter; the words are PEFT's."""

    r: int
    alpha: float
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ()
    """Last parts of module names, e.g. ("query_key_value",)."""


class LoraLinear(nn.Module):
    """A frozen linear layer plus the active arm's low-rank update (Hu et al. 2021): W x + (alpha / r) B A x."""

    def __init__(self, base: nn.Module, scale: float, dropout: float) -> None:
        super().__init__()
        self.base: Any = base
        self.scale = scale
        self.dropout = dropout
        self.a: Tensor | None = None
        self.b: Tensor | None = None
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        if self.a is None or self.b is None:
            return y
        # The weights are kept in float32; they are rounded to the activations' type where they are used.
        update = self._dropped(x) @ self.a.to(x.dtype).T @ self.b.to(x.dtype).T
        return y + self.scale * update

    def _dropped(self, x: Tensor) -> Tensor:
        if self.generator is None or not self.dropout:
            return x
        keep = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.dropout
        return x * keep / (1 - self.dropout)


class Adapters:
    """All arms' adapters on one model. The base itself is never changed."""

    def __init__(self, model: nn.Module, shape: LoraShape) -> None:
        self.shape = shape
        self.layers: dict[str, LoraLinear] = {}
        self._arms: dict[str, Weights] = {}
        known = linear_names(model)
        odd = sorted(set(shape.target_modules) - set(known))
        if odd or not shape.target_modules:
            raise IikataError(
                f"train.lora.target_modules {odd} match no linear layer of the model's blocks. "
                f"It has: {', '.join(known) or 'none'}."
            )
        for name, module in list(model.named_modules()):
            if name.rsplit(".", 1)[-1] in shape.target_modules and hasattr(module, "in_features"):
                layer = LoraLinear(module, shape.alpha / shape.r, shape.dropout)
                parent, _, last = name.rpartition(".")
                setattr(model.get_submodule(parent), last, layer)
                self.layers[name] = layer

    def __contains__(self, arm: str) -> bool:
        return arm in self._arms

    def initialise(self, arm: str, seed: int) -> None:
        """Give `arm` PEFT's initial weights: A uniform (Kaiming, a = sqrt 5), B zero. A stream a module."""
        weights: Weights = {}
        for name, layer in self.layers.items():
            base = layer.base
            generator = torch.Generator().manual_seed(stream_seed("lora", seed, name))
            a = torch.empty(self.shape.r, int(base.in_features))
            nn.init.kaiming_uniform_(a, a=5**0.5, generator=generator)
            weights[f"{name}.lora_A"] = a
            weights[f"{name}.lora_B"] = torch.zeros(int(base.out_features), self.shape.r)
        self.load(arm, weights)

    def load(self, arm: str, weights: Mapping[str, Tensor]) -> None:
        """Take `weights` for `arm`. Raises IikataError where names or shapes are not those of this model."""
        expected = {f"{name}.lora_{letter}" for name in self.layers for letter in "AB"}
        if odd := sorted(expected ^ set(weights)):
            raise IikataError(
                f"adapter {arm}: {len(weights)} tensors where {len(expected)} belong; first difference: {odd[0]}."
            )
        for name, layer in self.layers.items():
            r, width, height = self.shape.r, int(layer.base.in_features), int(layer.base.out_features)
            for letter, right in (("A", (r, width)), ("B", (height, r))):
                seen = tuple(weights[f"{name}.lora_{letter}"].shape)
                if seen != right:
                    raise IikataError(f"adapter {arm}: {name}.lora_{letter} is {seen}, the model wants {right}.")
        reference = next(iter(self.layers.values())).base.weight
        kind = torch.float64 if reference.dtype == torch.float64 else torch.float32
        self._arms[arm] = {
            name: tensor.to(reference.device, kind, copy=True).requires_grad_() for name, tensor in weights.items()
        }

    def drop(self, arm: str) -> None:
        """Forget an arm's weights."""
        self.speak(None)
        del self._arms[arm]

    def weights(self, arm: str) -> Weights:
        """Return the arm's live tensors."""
        return self._arms[arm]

    def speak(self, arm: str | None, generator: torch.Generator | None = None) -> None:
        """Make the model answer as `arm`, None as the untuned base; dropout acts only with a generator."""
        weights = self._arms[arm] if arm is not None else {}
        for name, layer in self.layers.items():
            layer.a, layer.b = weights.get(f"{name}.lora_A"), weights.get(f"{name}.lora_B")
            layer.generator = generator


def linear_names(model: Any) -> list[str]:
    """Return the last name parts of the linear layers inside the decoder, in order; the head is not one."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return list(dict.fromkeys(name.rsplit(".", 1)[-1] for name, _ in _linears(model, head)))


def _linears(model: nn.Module, head: nn.Module | None) -> Iterator[tuple[str, nn.Module]]:
    for name, module in model.named_modules():
        if hasattr(module, "in_features") and hasattr(module, "weight") and module is not head:
            yield name, module


def resolve_targets(asked: str | Iterable[str], model_type: str, model: nn.Module) -> tuple[str, ...]:
    """Turn `target_modules` into names: `auto` is PEFT's choice for the model family, `all-linear` all of them."""
    if not isinstance(asked, str):
        return tuple(asked)
    if asked == "auto":
        from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

        if isinstance(known := KNOWN.get(model_type), list):
            return tuple(known)
    elif asked != "all-linear":
        return (asked,)
    return tuple(linear_names(model))
