"""Look at any adapter without an experiment: what it is, whether each part of it is live, what it was trained on."""

import hashlib
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata import doctor, tokenize
from iikata.core.errors import IikataError
from iikata.pipeline.elsewhere import more_tokens, named_base, same_base, same_template
from iikata.pipeline.opening import few_that_hold
from iikata.templates import read_saved

if TYPE_CHECKING:
    from iikata.model.adapters.adapter_file import Stored

TEXTS = ("The capital of Japan is", "三原色は", "1, 2, 3, 4,")
"""What the base and the adapter go on from, where they are held against each other."""


def inspect(folder: Path, base: str | None = None) -> dict[str, Any]:
    """Return what the adapter in `folder` is, ready for JSON; `faults` are what of it is dead.

    With `base`, a folder, a hub id or "smollm2", the model is loaded and asked with and without the adapter. Raises
    IikataError where the folder holds no adapter that could be read.
    """
    from iikata.model.adapters import adapter_file
    from iikata.model.adapters.liveness import faults, liveness

    stored = adapter_file.read_stored(folder, whole=True)
    found = liveness(stored)
    told = {
        "folder": str(folder),
        **_kind(stored),
        "modules": [asdict(one) | {"dead": one.dead, "torn": one.torn} for one in found],
        "base": named_base(stored),
        "template": _template(folder),
        "faults": [fault.en for fault in faults(found)],
        "asked": None,
    }
    if base is not None:
        told |= _ask(stored, base)
    return told | {"live": not told["faults"]}


def _kind(stored: "Stored") -> dict[str, Any]:
    config, more = stored.config, [one.said for one in stored.beyond]
    ranks = Counter(config.rank_of(module) for module in stored.modules)
    return {
        "kind": "DoRA" if any("use_dora" in one for one in more) else "rsLoRA" if config.use_rslora else "LoRA",
        "beyond_plain_lora": more,
        "held": "refused" if not all(one.exact for one in stored.beyond) else "merged" if more else "engine",
        "r": config.r,
        "ranks": {str(rank): count for rank, count in sorted(ranks.items())},
        "alpha": config.lora_alpha,
        "scales": sorted({config.scale_of(module) for module in stored.modules}),
        "targets": config.target_modules,
        "parameters": sum(tensor.numel() for tensor in stored.weights.values()),
    }


def _template(folder: Path) -> dict[str, Any] | None:
    """Return the template that lies beside the adapter: iikata's own record, else its tokenizer's chat template."""
    own = read_saved(folder / "template.json") if (folder / "template.json").is_file() else None
    text = tokenize.chat_template_in(folder)
    if own is None and text is None:
        return None
    return {
        "name": own.name if own else None,
        "hash": own.hash[:16] if own else None,
        "chat_template": hashlib.sha256(text.encode()).hexdigest()[:16] if text is not None else None,
        "begins": (text or "")[:80],
    }


def _ask(stored: "Stored", base: str) -> dict[str, Any]:
    """Hold the base with the adapter against the base without; what cannot be held exactly is not asked."""
    from iikata.model.adapters.liveness import effects, faults, liveness
    from iikata.model.adapters.lora import linears_of
    from iikata.model.adapters.merged import merged_base
    from iikata.model.files.locate import locate
    from iikata.model.load import choose_device, choose_dtype, load

    if odd := [one.said for one in stored.beyond if not one.exact]:
        return {"asked": {"base": base, "why_not": f"{odd[0]}, which cannot be held exactly"}}
    name = stored.folder.absolute().name
    place = locate(base, stored.config.revision)
    devices = few_that_hold(place, choose_dtype("auto", choose_device()))
    if stored.beyond and len(devices) > 1:
        why = "it is merged into a copy of the base on one device, and the base fits no GPU here"
        return {"asked": {"base": base, "why_not": f"{stored.beyond[0].said}: {why}"}}
    loaded, tokenizer = load(place, devices=devices if len(devices) > 1 else ()), tokenize.load_tokenizer(place)
    alike, more = same_template(stored.folder, tokenizer.chat_template), more_tokens(stored.folder, tokenizer)
    about = {"base": base, "same_base": same_base(stored, base, place), "same_template": alike, "more_tokens": more}
    prompts = [tokenizer.ids(text) for text in TEXTS]
    try:
        if stored.beyond:
            copy = merged_base(place, stored.folder, loaded.device)
            gate = doctor.live_copy(loaded, copy, name, stored.folder, prompts)
            told = {**about, "fits": True, "detail": f"merged by peft in float32, {gate.detail}"}
            dead = [fault.en for fault in faults(liveness(stored))]
            return {"asked": told, "faults": dead or ([] if gate.passed else [gate.detail])}
        stored.refuse_misfit(name for name, _ in linears_of(loaded.model))
        weights, shape = stored.same_shape()
        adapters = loaded.adapt(shape.r, shape.alpha, 0.0, shape.target_modules)
        adapters.shapes[name] = shape
        adapters.load(name, weights)
    except IikataError as error:
        return {"asked": {**about, "fits": False}, "faults": [str(error)]}
    gate = doctor.live_adapter(loaded, name, stored.folder, prompts)
    (moved, _), found = effects(loaded, name, prompts), liveness(stored)
    idle = sorted({one.module for one in found} - moved.keys())
    dead = [fault.en for fault in faults(found, idle)] or ([] if gate.passed else [gate.detail])
    moves = {one.module: moved[one.module] for one in found if one.module in moved}
    return {"asked": {**about, "fits": True, "detail": gate.detail, "moves": moves, "idle": idle}, "faults": dead}


def unreadable(folder: Path, error: IikataError) -> dict[str, Any]:
    """Return what can be said of a folder whose adapter cannot be read."""
    return {"folder": str(folder), "faults": str(error).splitlines(), "live": False}
