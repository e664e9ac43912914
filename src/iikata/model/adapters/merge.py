"""Merge an adapter into its base's own files, and prove that the logits stayed."""

import json
import re
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from iikata.core.errors import IikataError
from iikata.core.io import read_json, write_text
from iikata.model.adapters.merged import merge_in
from iikata.model.files.locate import INDEX

NEOX = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
"""What GPT-NeoX calls them in transformers 4."""
LONGROPE = ("short_factor", "long_factor")
KINDS = {"default", "linear", "dynamic", "yarn", "longrope", "llama3"}
"""Of rotary embedding in transformers 4."""
AGAIN = "Copy the model again."
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""||merged - adapter|| / ||adapter|| over the next-token logits; half formats round each merged weight once."""


def merge(
    base: Path, adapter: Path, dest: Path, prompts: Sequence[Sequence[int]], trusted: bool = False, whole: bool = False
) -> float:
    """Write the base in `base` with the PEFT adapter in `adapter` merged in, in the base's own files and formats.

    Of an adapter that is more than plain LoRA, transformers writes the `whole` model, in its format. Code that comes
    with the base runs only where it is `trusted`. Returns how far the logits after `prompts` (token ids) moved, both
    computed in float32. Raises IikataError beyond TOLERANCE.
    """
    model = _open(base, trusted)
    kind = model.dtype
    tuned = merge_in(_in_float32(model), adapter) if whole else _with_adapter(_in_float32(model), adapter)
    before = _logits(tuned, prompts)
    if whole:
        for parameter in tuned.parameters():
            parameter.data = parameter.data.to(kind)
        tuned.save_pretrained(dest)
    else:
        _write(base, dest, tuned)
    config = named_for_both(read_json((dest if whole else base) / "config.json", dict[str, Any], AGAIN))
    write_text(dest / "config.json", json.dumps(config, indent=2, ensure_ascii=False))
    del model, tuned
    moved = float((_logits(_in_float32(_open(dest, trusted)), prompts) - before).norm() / before.norm())
    if not moved <= TOLERANCE[kind]:
        raise IikataError(
            f"{adapter}: merged in {kind}, its logits move by {moved:.2g} of their size, more than {TOLERANCE[kind]}. "
            "Export the adapter itself, without --merge."
        )
    return moved


def _open(folder: Path, trusted: bool) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", use_safetensors=True, local_files_only=True, trust_remote_code=trusted
    ).eval()


def _in_float32(model: Any) -> Any:
    # Parameters only: rotary frequencies are buffers in float32, and rounding them would move every position.
    for parameter in model.parameters():
        parameter.data = parameter.data.float()
    return model


def _logits(model: Any, prompts: Sequence[Sequence[int]]) -> Tensor:
    with torch.inference_mode():
        return torch.stack([model(input_ids=torch.tensor([list(ids)])).logits[0, -1].float() for ids in prompts])


def _with_adapter(model: Any, adapter: Path) -> Any:
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks the model by a name that transformers renamed
        return PeftModel.from_pretrained(model, str(adapter)).eval()


def _write(base: Path, dest: Path, tuned: Any) -> None:
    """Copy the base's files with its weights changed: names and configuration stay what every reader knows."""
    dest.mkdir(parents=True, exist_ok=True)
    adapted = tuned.base_model.model.named_modules()
    left = {f"{name}.weight": layer for name, layer in adapted if hasattr(layer, "get_delta_weight")}
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
        for name, tensor in tensors.items():
            if at := next((m for m in left if _is(m, name) and _same(left[m].base_layer.weight, tensor)), None):
                delta = left.pop(at).get_delta_weight("default").detach()
                tensors[name] = (tensor.float() + delta).to(tensor.dtype)
        save_file(tensors, dest / path.name, metadata)
    if left:
        raise IikataError(
            f"{base}: {len(left)} of the adapter's weights are not in its files as transformers loads them, the first "
            f"is {min(left)}. Export the adapter itself, without --merge."
        )
    for name in (INDEX, "generation_config.json"):
        if (base / name).is_file():
            shutil.copyfile(base / name, dest / name)


def _is(module: str, name: str) -> bool:
    """Return whether a tensor may be this module's: composite models' files have other names in front."""
    ends = [(re.findall(r"\d+", text), text.split(".")[-2:]) for text in (module, name)]
    return ends[0] == ends[1]


def _same(weight: Tensor, tensor: Tensor) -> bool:
    return weight.shape == tensor.shape and torch.equal(weight, tensor.to(weight.dtype))


def named_for_both(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the names that transformers 4 reads added to those of 5.

    Without them 4 takes its defaults in silence: other frequencies, other logits.
    """
    from transformers import CONFIG_MAPPING

    found, kind = dict(config), str(config.get("model_type"))
    for old, new in CONFIG_MAPPING[kind].attribute_map.items() if kind in CONFIG_MAPPING else ():
        if new in found:
            found.setdefault(old, found[new])
    if "dtype" in found:
        found.setdefault("torch_dtype", found["dtype"])
    if isinstance(rope := found.get("rope_parameters"), dict):
        for name, value in _old_names(rope).items():
            found.setdefault(NEOX.get(name, name) if kind == "gpt_neox" else name, value)
    for name, part in config.items():
        if name.endswith("_config") and isinstance(part, dict):
            found[name] = named_for_both(part)
    return found


def _old_names(rope: dict[str, Any]) -> dict[str, Any]:
    """Return what transformers 4 calls `rope_parameters`, which differ by kind of layer in Gemma 3."""
    parts = [part for part in rope.values() if isinstance(part, dict)] or [rope]
    if any(part.get("rope_type", "default") not in KINDS for part in parts):
        return {}
    named: dict[str, Any] = {}
    if isinstance(sliding := rope.get("sliding_attention"), dict):
        rope = rope.get("full_attention", {})
        named["rope_local_base_freq"] = sliding.get("rope_theta")
    named |= {name: rope[name] for name in ("rope_theta", "partial_rotary_factor") if name in rope}
    kind = rope.get("rope_type", "default")
    if kind == "longrope":
        named["rope_scaling"] = {"type": kind, **{name: rope[name] for name in LONGROPE}}
    elif kind != "default":
        named["rope_scaling"] = {name: value for name, value in rope.items() if name not in named}
    return named
