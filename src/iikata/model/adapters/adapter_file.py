"""Adapters on disk in PEFT's format, as plain `peft` and vLLM read it."""

import json
import shlex
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from iikata.core.errors import IikataError
from iikata.core.io import write_bytes, write_text
from iikata.model.adapters.adapter_config import AGAIN, CONFIG, AdapterConfig, read_config
from iikata.model.adapters.flat import LoraShape, Weights

WEIGHTS = "adapter_model.safetensors"
PICKLE = "adapter_model.bin"
PREFIX = "base_model.model."
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
        **({"use_rslora": True} if shape.rank_stabilized else {}),
    }
    named = {f"{PREFIX}{name}.weight": tensor.detach().cpu().contiguous() for name, tensor in sorted(weights.items())}
    write_text(folder / CONFIG, json.dumps(config, indent=2))
    write_bytes(folder / WEIGHTS, safetensors.torch.save(named, metadata={"format": "pt"}))


def read(folder: Path) -> tuple[Weights, LoraShape]:
    """Return the adapter in `folder`: pairs of finite matrices of the rank that its configuration says.

    Raises IikataError naming the file, and the tensor, where that does not hold.
    """
    config, path = read_config(folder), folder / WEIGHTS
    weights = {_own_name(name): _checked(path, name, tensor, config.r) for name, tensor in _tensors(path).items()}
    modules = {name.rpartition(".")[0] for name in weights}
    if alone := sorted({f"{module}.lora_{side}" for module in modules for side in "AB"} - set(weights)):
        raise IikataError(f"{path}: {alone[0]} is missing; every lora_A belongs to a lora_B. {AGAIN}")
    targets = _targets(folder, config, {module.rpartition(".")[2] for module in modules})
    return weights, LoraShape(config.r, config.lora_alpha, config.lora_dropout, targets, config.use_rslora)


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


def _checked(path: Path, name: str, tensor: Tensor, r: int) -> Tensor:
    """Return a tensor in float32 if it can be one of plain LoRA's with rank `r`."""
    side = _own_name(name).rpartition(".")[2]
    if side not in ("lora_A", "lora_B"):
        raise IikataError(f"{path}: {name} is no tensor of plain LoRA, lora_A.weight or lora_B.weight. {AGAIN}")
    if tensor.dtype not in DTYPES:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise IikataError(f"{path}: {name} holds {kind}; float16, bfloat16, float32 or float64 is allowed. {AGAIN}")
    shape = tuple(tensor.shape)
    if len(shape) != 2 or shape[0 if side == "lora_A" else 1] != r:
        wanted = f"[{r}, in]" if side == "lora_A" else f"[out, {r}]"
        raise IikataError(f'{path}: {name} is {list(shape)}, and "r": {r} in {CONFIG} wants {wanted}. {AGAIN}')
    exact = tensor.to(torch.float32)
    if not bool(exact.isfinite().all()):
        raise IikataError(f"{path}: {name} holds numbers that are not finite. {AGAIN}")
    return exact


def _targets(folder: Path, config: AdapterConfig, found: set[str]) -> tuple[str, ...]:
    if config.target_modules == "all-linear":
        return tuple(sorted(found))
    named = {name.rpartition(".")[2] for name in config.target_modules}
    if odd := sorted(named ^ found):
        where = "the weights hold none of it" if odd[0] in named else "the weights hold it and the list does not"
        raise IikataError(f'{folder / CONFIG}: "target_modules", {odd[0]}: {where}. {AGAIN}')
    return tuple(config.target_modules)


def _own_name(name: str) -> str:
    return name.removeprefix(PREFIX).removesuffix(".weight")
