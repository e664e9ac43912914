"""Low-rank adapters of many arms over one frozen base; one arm answers, or several side by side."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from iikata.core.errors import IikataError
from iikata.core.rng import stream_seed
from iikata.model.adapters.adapter_config import named
from iikata.model.adapters.flat import FlatAdapters, LoraShape, Weights
from iikata.model.adapters.lora_linear import LoraLinear
from iikata.model.adapters.multi_lora import MultiLora, join
from iikata.model.files.code import unsupported
from iikata.model.layers import decoder_of
from iikata.model.stages import LaidOver

OTHER = "It was trained for another model, or for other modules; give it the base that it was trained over."

EXPERTS = ("gate", "gate_proj", "up_proj", "down_proj", "w1", "w2", "w3")
"""Names that peft, in a model whose experts are one tensor, takes for the experts', whatever module is named so."""


class Adapters:
    """All arms' adapters on one model. The base itself is never changed."""

    def __init__(self, model: nn.Module, shape: LoraShape, laid_over: LaidOver | None = None) -> None:
        self.shape = shape
        """That of an arm of which nothing else is said; its modules are all that any arm adapts."""
        self.shapes: dict[str, LoraShape] = {}
        self.layers: dict[str, LoraLinear] = {}
        self.laid_over = laid_over
        self.parts: dict[int, dict[str, LoraLinear]] = {}
        """Stage -> its layers; one stage where the base lies on one device."""
        self._flat: dict[str, dict[int, FlatAdapters]] = {}
        """Arm -> stage -> the block that holds the arm's weights."""
        linears = dict(linears_of(model))
        refuse_no_linears(model)
        refuse_unmatched(model, shape.target_modules)
        for name, module in linears.items():
            if _targeted(name, shape.target_modules):
                salt = stream_seed("dropout", name) % 2**31
                layer = LoraLinear(module, shape.scale, shape.dropout, salt)
                parent, _, last = name.rpartition(".")
                setattr(model.get_submodule(parent), last, layer)
                self.layers[name] = layer
                self.parts.setdefault(laid_over.stage_of(module) if laid_over else 0, {})[name] = layer
        # By last parts alone, peft would adapt a vision part's modules too.
        others = [name for name, _ in model.named_modules() if name not in self.layers and not name.endswith(".base")]
        if any(_targeted(name, shape.target_modules) for name in others):
            self.shape = replace(shape, target_modules=tuple(self.layers))

    def __contains__(self, arm: str) -> bool:
        return arm in self._flat

    def shape_of(self, arm: str) -> LoraShape:
        """Return the rank, scale and modules of an arm."""
        return self.shapes.get(arm, self.shape)

    def initialise(self, arm: str, seed: int) -> None:
        """Give `arm` PEFT's initial weights: A uniform (Kaiming, a = sqrt 5), B zero. A stream a module."""
        weights: Weights = {}
        for name, size in self._sizes(arm).items():
            weights[name] = torch.zeros(size)
            if name.endswith("lora_A"):
                generator = torch.Generator().manual_seed(stream_seed("lora", seed, name.removesuffix(".lora_A")))
                nn.init.kaiming_uniform_(weights[name], a=5**0.5, generator=generator)
        self.load(arm, weights)

    def load(self, arm: str, weights: Mapping[str, Tensor]) -> None:
        """Take `weights` for `arm`. Raises IikataError where names, shapes or numbers are not such as this model's."""
        sizes = self._sizes(arm)
        if odd := sorted(set(sizes) ^ set(weights)):
            raise IikataError(
                f"adapter {arm}: {len(weights)} tensors where {len(sizes)} belong; first difference: {odd[0]}. {OTHER}"
            )
        for name, size in sizes.items():
            if (seen := tuple(weights[name].shape)) != size:
                raise IikataError(f"adapter {arm}: {name} is {seen}, the model wants {size}. {OTHER}")
            if not bool(weights[name].isfinite().all()):
                raise IikataError(f"adapter {arm}: {name} holds numbers that are not finite. Train it again.")
        self._flat[arm] = self._new_flat((arm,))
        for flat in self._flat[arm].values():
            flat.put(arm, weights)

    def _sizes(self, arm: str, layers: Mapping[str, LoraLinear] | None = None) -> dict[str, tuple[int, int]]:
        sizes, shape = {}, self.shape_of(arm)
        for name, layer in (self.layers if layers is None else layers).items():
            if _targeted(name, shape.target_modules):
                sizes[f"{name}.lora_A"] = (shape.r, int(layer.base.in_features))
                sizes[f"{name}.lora_B"] = (int(layer.base.out_features), shape.r)
        return sizes

    def _new_flat(self, arms: Sequence[str]) -> dict[int, FlatAdapters]:
        flats = {}
        for stage, layers in self.parts.items():
            if sizes := self._sizes(arms[0], layers):
                reference = next(iter(layers.values())).base.weight
                kind = torch.float64 if reference.dtype == torch.float64 else torch.float32
                flats[stage] = FlatAdapters(arms, sizes, reference.device, kind)
        return flats

    def group(self, arms: Sequence[str]) -> None:
        """Lay the weights of `arms`, all of one shape, side by side, so that they share a buffer; before training."""
        together = self._new_flat(arms)
        for arm in arms:
            for flat in together.values():
                flat.put(arm, self.weights(arm))
        self._flat |= dict.fromkeys(arms, together)

    def flats_of(self, arm: str) -> dict[int, FlatAdapters]:
        """Return the block of each stage that the arm adapts."""
        return self._flat[arm]

    def drop(self, arm: str) -> None:
        self.set_adapter(None)
        del self._flat[arm]

    def weights(self, arm: str) -> Weights:
        """Return the arm's live tensors: `{module}.lora_A` [r, in] and `{module}.lora_B` [out, r]."""
        return {name: tensor for flat in self._flat[arm].values() for name, tensor in flat.of(arm).items()}

    def set_adapter(self, arm: str | None, noise: Tensor | None = None, buckets: Tensor | None = None) -> None:
        """Make the model answer as `arm`, None as the untuned base.

        Dropout acts only with `noise` [T]. With `buckets` all arms of the arm's group answer at once, each in its own.
        """
        shape, flats = (self.shape, {}) if arm is None else (self.shape_of(arm), self._flat[arm])
        for stage, layers in self.parts.items():
            flat = flats.get(stage)
            weights = {} if flat is None else flat.of(str(arm)) if buckets is None else flat.leaves
            _give(layers, weights, shape, *(self._carried(x, stage) for x in (buckets, noise)))

    def vector(self, arm: str) -> Tensor:
        """Return an arm's weights as one vector [P]; of a base that lies on one device."""
        (flat,) = self._flat[arm].values()
        return flat.values.detach()[flat.arms.index(arm)]

    def set_vector(self, arm: str, vector: Tensor) -> None:
        """Answer as `arm` with other weights, laid out as its `vector` is."""
        (flat,) = self._flat[arm].values()
        _give(self.layers, flat.views(vector), self.shape_of(arm), None, None)

    def set_adapter_in_stage(
        self, stage: int, flat: FlatAdapters | None, shape: LoraShape, noise: Tensor | None
    ) -> None:
        """Make one stage answer by an arm's block of it, which may be dropped by now; `noise` lies on its device."""
        _give(self.parts.get(stage, {}), flat.leaves if flat else {}, shape, None, noise)

    def set_adapter_per_token(self, multi_lora: MultiLora | None, arm_index: Tensor, stage: int | None = None) -> None:
        """Let each token answer as the arm of its index [T], as the untuned base where that is -1 or nothing is joined.

        In one stage alone where that is given; then `arm_index` lies on the stage's device.
        """
        mask = multi_lora.column_mask(arm_index) if multi_lora else None
        weights = multi_lora.weights if multi_lora else {}
        for number, layers in self.parts.items() if stage is None else [(stage, self.parts.get(stage, {}))]:
            _give(layers, weights, self.shape, None, None, self._carried(mask, number))

    def join(self, arms: Sequence[str], kind: torch.dtype) -> MultiLora:
        """Copy the weights of `arms`, at least one, so that their tokens can mix."""
        return join(arms, [self.weights(arm) for arm in arms], [self.shape_of(arm) for arm in arms], self.shape, kind)

    def _carried(self, x: Tensor | None, stage: int) -> Tensor | None:
        if x is None or self.laid_over is None:
            return x
        return self.laid_over.links.send(x, self.laid_over.stages[stage].device).take()


def _give(
    layers: Mapping[str, LoraLinear], weights: Weights, shape: LoraShape, buckets: Tensor | None,
    noise: Tensor | None, column_mask: Tensor | None = None,
) -> None:  # fmt: skip
    for name, layer in layers.items():
        a, b = weights.get(f"{name}.lora_A"), weights.get(f"{name}.lora_B")
        given = dict(scale=shape.scale, dropout=shape.dropout, a=a, b=b)
        # Past nn.Module's own way, which takes a processor longer than a layer's first kernels.
        layer.__dict__.update(given, buckets=buckets, noise=noise, column_mask=column_mask)


def refuse_no_linears(model: Any) -> None:
    """Raise IikataError where there is nothing that an adapter could go on."""
    if not linear_names(model):
        folder = Path(model.config.name_or_path)
        raise unsupported(folder, model.config, "it has no linear layers that an adapter could go on")


def refuse_unmatched(model: Any, targets: Sequence[str]) -> None:
    """Raise IikataError where targets name no linear layer that an adapter could go on."""
    names = [name for name, _ in linears_of(model)]
    odd = sorted(target for target in targets if not any(named(name, target) for name in names))
    if odd or not targets:
        raise IikataError(
            f"train.lora.target_modules {odd} match no linear layer of the model's blocks. "
            f"It has: {', '.join(linear_names(model))}."
        )


def linear_names(model: Any) -> list[str]:
    """Return the last name parts of the linear layers inside the decoder, in order; the head is not one."""
    return list(dict.fromkeys(name.rpartition(".")[2] for name, _ in linears_of(model)))


def linears_of(model: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the linear layers of the decoder, by their names in the model; none of a vision or audio part."""
    decoder = decoder_of(model)
    head, inside = model.get_output_embeddings(), set(decoder.modules())
    kept = EXPERTS if any(parameter.dim() == 3 for parameter in decoder.parameters()) else ()
    for name, module in model.named_modules():
        if module in inside and module is not head and _is_linear(module) and name.rpartition(".")[2] not in kept:
            yield name, module


def _is_linear(module: nn.Module) -> bool:
    """Return whether a layer multiplies and does nothing else; some models' routers are linear layers that choose."""
    own = type(module).__module__.startswith("transformers.models.") and type(module).forward is not nn.Linear.forward
    return hasattr(module, "in_features") and hasattr(module, "weight") and not own


def _targeted(name: str, targets: Iterable[str]) -> bool:
    return any(named(name, target) for target in targets)


def resolve_targets(asked: str | Iterable[str], model: Any) -> tuple[str, ...]:
    """Turn `target_modules` into names: `auto` is PEFT's choice for the model family, `all-linear` all of them."""
    if not isinstance(asked, str):
        return tuple(asked)
    if asked == "auto":
        from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

        if isinstance(known := KNOWN.get(model.config.model_type), list):
            return tuple(known)
    elif asked != "all-linear":
        return (asked,)
    return tuple(linear_names(model))
