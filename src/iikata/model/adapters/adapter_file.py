"""Adapters on disk in PEFT's format, as plain `peft` and vLLM read it."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import pad

from iikata.core.errors import IikataError
from iikata.core.io import write_bytes, write_text
from iikata.model.adapters.adapter_config import (
    AGAIN,
    CONFIG,
    MERGE,
    AdapterConfig,
    Beyond,
    PatternError,
    named,
    read_config,
)
from iikata.model.adapters.beside import refuse_dead
from iikata.model.adapters.flat import LoraShape, Weights

WEIGHTS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"
PREFIX = "base_model.model."
LIVE = ".default."
OTHERS = {
    LIVE: "names of a live model, which no reader finds again: PEFT's save_pretrained takes them out",
    "lora_magnitude_vector": "DoRA's magnitudes",
    "lora_embedding": "an adapter on an embedding",
    "token_adapter": "single tokens trained",
    "embed": "an embedding, resized or trained",
    "lm_head": "a head, resized or trained",
    ".bias": "trained biases",
    "": "tensors of another kind",
}
"""What other tensors are, by a part of their name."""
HEADS = ("lm_head", "embed_out")
"""What output layers are called, which are not adapted here."""
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def save(folder: Path, weights: Weights, shape: LoraShape, base: str, revision: str | None = None) -> None:
    """Write adapter_config.json and adapter_model.safetensors; `base` is the hub id, never a path of this machine.

    The keys are those that plain LoRA needs: older peft, and other readers, refuse what they do not know.
    """
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": revision,
        "r": shape.r,
        "lora_alpha": int(shape.alpha) if float(shape.alpha).is_integer() else shape.alpha,
        "lora_dropout": shape.dropout,
        "target_modules": sorted(shape.target_modules),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        **({"use_rslora": True} if shape.use_rslora else {}),
    }
    named = {f"{PREFIX}{name}.weight": tensor.detach().cpu().contiguous() for name, tensor in sorted(weights.items())}
    write_text(folder / CONFIG, json.dumps(config, indent=2))
    write_bytes(folder / WEIGHTS, safetensors.torch.save(named, metadata={"format": "pt"}))


@dataclass(frozen=True)
class Stored:
    """An adapter as it lies in a folder."""

    folder: Path
    config: AdapterConfig
    weights: Weights
    """Finite pairs in float32, each of the rank that its module has."""
    beyond: tuple[Beyond, ...] = ()
    """What is more than plain LoRA, so that only peft can say what the adapter does."""

    @property
    def modules(self) -> list[str]:
        """The adapted modules, in the order of their layers."""
        found = {name.rpartition(".")[0] for name in self.weights}
        return sorted(found, key=lambda name: [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", name)])

    def same_shape(self) -> tuple[Weights, LoraShape]:
        """Return the same adapter with one rank and one scale for all modules, as the engine holds it.

        A lower rank is filled up with zeros, and what a module's scale has more than the common one goes into its B.
        """
        config = self.config
        r = max(config.rank_of(module) for module in self.modules)
        # The names in a list say which modules there are in any model, unless some of those are left out.
        by_last_parts = config.names and not (config.layers() or config.exclude_modules)
        targets = tuple(config.names if by_last_parts else self.modules)
        shape = LoraShape(r, config.lora_alpha, config.lora_dropout, targets, config.use_rslora)
        if not (config.rank_pattern or config.alpha_pattern):
            return self.weights, shape
        made: Weights = {}
        for module in self.modules:
            more = r - config.rank_of(module)
            made[f"{module}.lora_A"] = pad(self.weights[f"{module}.lora_A"], (0, 0, 0, more))
            b = self.weights[f"{module}.lora_B"] * (config.scale_of(module) / shape.scale)
            made[f"{module}.lora_B"] = pad(b, (0, more))
        return made, shape

    def refuse_inexact(self) -> None:
        """Raise IikataError for what peft could not merge exactly either."""
        if odd := [one.said for one in self.beyond if not one.exact]:
            raise IikataError(f"{self.folder / CONFIG}: {odd[0]}. {MERGE}")

    def refuse_misfit(self, linears: Iterable[str]) -> None:
        """Raise IikataError where a module is no linear layer of the base's decoder, or one that is a target lacks."""
        there = list(linears)
        if strange := [module for module in self.modules if module not in there]:
            raise IikataError(
                f"{self.folder}: {len(strange)} of its {len(self.modules)} modules are no linear layers of this base's "
                f"decoder, the first is {strange[0]}. It was trained over another base, or on a part (head, vision) "
                f"that is not adapted here. Give its own base. Or: {MERGE}"
            )
        if missing := [name for name in there if self.config.targets(name) and name not in self.modules]:
            raise IikataError(
                f"{self.folder / CONFIG}: the targets name {len(missing) + len(self.modules)} modules of the base, and "
                f"{len(missing)} of them are not in {WEIGHTS}, the first is {missing[0]}. {AGAIN}"
            )


def read(folder: Path) -> tuple[Weights, LoraShape]:
    """Return the adapter in `folder` with one rank for all modules. Raises IikataError as `read_stored` does."""
    return read_stored(folder).same_shape()


def read_stored(folder: Path, whole: bool = False) -> Stored:
    """Return the adapter in `folder`: pairs of finite matrices of the rank that its configuration says.

    Raises IikataError naming the file, and the tensor, where that does not hold. What is more than plain LoRA is an
    error too, unless the `whole` adapter is asked for: then it stands in `beyond`, and its tensors are passed over.
    """
    beyond: list[Beyond] | None = [] if whole else None
    config, path = read_config(folder, beyond), folder / WEIGHTS
    tensors = _tensors(path)
    others = {name: kind for name in tensors if (kind := _other(name))} if beyond is not None else {}
    refuse_dead(path, {name: tensors[name] for name in others})
    tensors = {name: tensor for name, tensor in tensors.items() if name not in others}
    if beyond is not None:
        counts = Counter(others.values()).items()
        beyond += [Beyond(f"{WEIGHTS} holds {kind} ({count} tensors beside the pairs)") for kind, count in counts]
        beyond += [Beyond(f"{name} has an adapter, which is the head") for name in HEADS if _adapts(name, tensors)]
    try:
        weights = {_own_name(name): _checked(path, name, tensor, config) for name, tensor in tensors.items()}
        modules = {name.rpartition(".")[0] for name in weights}
        if alone := sorted({f"{module}.lora_{side}" for module in modules for side in "AB"} - set(weights)):
            raise IikataError(f"{path}: {alone[0]} is missing; every lora_A belongs to a lora_B. {AGAIN}")
        _check_targets(folder / CONFIG, config, modules, others)
    except PatternError as error:
        raise IikataError(f"{folder / CONFIG}: {error}") from None
    return Stored(folder, config, weights, tuple(beyond or ()))


def _adapts(module: str, tensors: Iterable[str]) -> bool:
    return any(named(_own_name(name), f"{module}.lora_A") for name in tensors)


def _tensors(path: Path) -> dict[str, Tensor]:
    pickled = path.with_name(PICKLE)
    if not path.is_file():
        if pickled.is_file():
            raise IikataError(f"{path}: no such file; {PICKLE} is a pickle and is not loaded. {_conversion(pickled)}")
        raise IikataError(f"{path}: {'not a' if path.exists() else 'no such'} file. {AGAIN}")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        if _is_pickle(path):
            raise IikataError(f"{path}: a pickle under the name of a safetensors file. {_conversion(path)}") from None
        raise IikataError(f"{path}: truncated or not a safetensors file ({error}). {AGAIN}") from None
    if not tensors:
        raise IikataError(f"{path}: the adapter is empty; it would answer exactly as the untuned base does. {AGAIN}")
    return tensors


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:  # a zip file or a bare pickle, as torch.save writes them
        return file.read(4).startswith((b"PK\3\4", b"\x80\2", b"\x80\3", b"\x80\4", b"\x80\5"))


def _conversion(pickled: Path) -> str:
    """Return how a pickle becomes safetensors; `weights_only` builds tensors and nothing else."""
    made = pickled.with_name(WEIGHTS)
    source = (  # torch.load takes a file's name for its kind, so it is handed the bytes
        "import io, pathlib, torch, safetensors.torch as s; "
        f"f = io.BytesIO(pathlib.Path({json.dumps(str(pickled))}).read_bytes()); "
        'w = torch.load(f, map_location="cpu", weights_only=True); '
        f"s.save_file({{k: v.contiguous() for k, v in w.items()}}, {json.dumps(str(made))})"
    )
    return f"A pickle can run code. Where you trust it, convert it once: {shlex.join(['python', '-c', source])}"


def _checked(path: Path, name: str, tensor: Tensor, config: AdapterConfig) -> Tensor:
    """Return a tensor in float32 if it can be one of LoRA's with the rank that the configuration gives its module."""
    module, _, side = _own_name(name).rpartition(".")
    if side not in ("lora_A", "lora_B"):
        raise IikataError(
            f"{path}: {name} is no tensor of plain LoRA, lora_A.weight or lora_B.weight"
            f" ({_kind(name)}). {AGAIN} Or: {MERGE}"
        )
    if tensor.dtype not in DTYPES:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise IikataError(f"{path}: {name} holds {kind}; float16, bfloat16, float32 or float64 is allowed. {AGAIN}")
    shape, r = tuple(tensor.shape), config.rank_of(module)
    if len(shape) != 2 or shape[0 if side == "lora_A" else 1] != r:
        wanted = f"[{r}, in]" if side == "lora_A" else f"[out, {r}]"
        key = "r" if r == config.r else "rank_pattern"
        raise IikataError(f'{path}: {name} is {list(shape)}, and "{key}": {r} in {CONFIG} wants {wanted}. {AGAIN}')
    exact = tensor.to(torch.float32)
    if not bool(exact.isfinite().all()):
        raise IikataError(f"{path}: {name} holds numbers that are not finite. {AGAIN}")
    return exact


def _kind(name: str) -> str:
    return next(kind for part, kind in OTHERS.items() if part in name)


def _other(name: str) -> str:
    """Return what a tensor is that is of no pair; "" for one of a pair, or under a name that nobody would find."""
    return "" if _own_name(name).rpartition(".")[2] in ("lora_A", "lora_B") or LIVE in name else _kind(name)


def _check_targets(path: Path, config: AdapterConfig, modules: set[str], others: Iterable[str]) -> None:
    """Raise IikataError where the weights hold a module that is no target, or nothing of one that is named."""
    if odd := sorted(module for module in modules if not config.targets(module)):
        last = odd[0].rpartition(".")[2]
        named_at_all = not config.names or last in {name.rpartition(".")[2] for name in config.names}
        what = odd[0] if named_at_all else last
        raise IikataError(f'{path}: "target_modules", {what}: the weights hold it and the list does not. {AGAIN}')
    for name in config.names:
        if not any(named(module, name) for module in modules) and not any(f".{name}." in other for other in others):
            raise IikataError(f'{path}: "target_modules", {name}: the weights hold none of it. {AGAIN}')
    held = {int(number) for module in modules for number in re.findall(r"\.(\d+)\.", module)}
    if gone := sorted(config.layers() - held):
        raise IikataError(f'{path}: "layers_to_transform", {gone[0]}: the weights hold none of that layer. {AGAIN}')


def _own_name(name: str) -> str:
    return name.removeprefix(PREFIX).removesuffix(".weight")
