"""Adapters on disk in PEFT's format, as plain `peft` and vLLM read it."""

import json
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from iikata.disk import parse_json, write_bytes, write_text
from iikata.errors import IikataError
from iikata.model.stack import LoraShape, Weights

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
PREFIX = "base_model.model."
OTHER_KINDS = (
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "lora_bias",
    "alora_invocation_tokens",
)
"""Settings of PEFT that change what the tensors mean."""


def save(folder: Path, weights: Weights, shape: LoraShape, base: str, revision: str | None = None) -> None:
    """Write adapter_config.json and adapter_model.safetensors; `base` is the hub id, never a path of this machine."""
    from peft import LoraConfig

    config = LoraConfig(
        r=shape.r,
        lora_alpha=shape.alpha,  # type: ignore[arg-type]
        lora_dropout=shape.dropout,
        target_modules=sorted(shape.target_modules),
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        revision=revision,
        inference_mode=True,
    ).to_dict()
    config["target_modules"] = sorted(shape.target_modules)  # PEFT keeps a set, whose order changes by process
    text = json.dumps(config, indent=2, sort_keys=True, default=str)
    named = {_peft_name(name): tensor.detach().cpu().contiguous() for name, tensor in sorted(weights.items())}
    write_text(folder / CONFIG, text)
    write_bytes(folder / WEIGHTS, safetensors.torch.save(named, metadata={"format": "pt"}))


def read(folder: Path) -> tuple[Weights, LoraShape]:
    """Return the adapter in `folder`. Raises IikataError naming the file where it is missing, torn or empty."""
    shape = _read_config(folder / CONFIG)
    path = folder / WEIGHTS
    if not path.is_file():
        pickled = (
            " (adapter_model.bin is a pickle and is not loaded)" if (folder / "adapter_model.bin").is_file() else ""
        )
        raise IikataError(f"{path}: no such file{pickled}.")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise IikataError(f"{path}: truncated or not a safetensors file ({error}). Train this arm again.") from None
    if not tensors:
        raise IikataError(f"{path}: the adapter is empty; it would answer exactly as the untuned base does.")
    weights = {_own_name(name): tensor.to(torch.float32) for name, tensor in tensors.items()}
    return weights, shape


def _read_config(path: Path) -> LoraShape:
    try:
        config = parse_json(path.read_bytes())
        modules = config["target_modules"]
        shape = LoraShape(
            r=int(config["r"]),
            alpha=float(config["lora_alpha"]),
            dropout=float(config.get("lora_dropout") or 0.0),
            target_modules=(modules,) if isinstance(modules, str) else tuple(modules),
        )
    except FileNotFoundError:
        raise IikataError(f"{path}: no such file, so {path.parent} holds no adapter.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IikataError(f"{path}: not an adapter configuration ({type(error).__name__}: {error}).") from None
    if foreign := [key for key in OTHER_KINDS if config.get(key)]:
        raise IikataError(f"{path}: {foreign[0]} is set; iikata reads plain LoRA only.")
    return shape


def _peft_name(name: str) -> str:
    return f"{PREFIX}{name}.weight"


def _own_name(name: str) -> str:
    return name.removeprefix(PREFIX).removesuffix(".weight")
