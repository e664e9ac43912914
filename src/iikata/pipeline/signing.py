"""Sign a run folder: with what it is made of, so that edits are noticed, and with what was declared before scores."""

from collections.abc import Mapping
from typing import Any

from iikata.config import dump
from iikata.core.io import write_text
from iikata.pipeline import declaring, signature
from iikata.pipeline.context import RunContext
from iikata.pipeline.elsewhere import arms_from_elsewhere, content_of
from iikata.pipeline.events import Warned
from iikata.run_folder import write_json


def sign(ctx: RunContext) -> None:
    """Store the frozen experiment and its signature; refuse a run folder made from something else."""
    now = signature_now(ctx)
    stored = signature.read_signature(ctx.store.signature)
    there = [one.variant for name, one in ctx.experiment.recipes.items() if ctx.store.arms_of(name)]
    untrained = [name for name in ctx.templates if not any(name in variant.templates for variant in there)]
    merged, warnings, changed = signature.extend(stored, now, str(ctx.store.path), untrained)
    for warning in warnings:
        ctx.emit(Warned(warning))
    merged = _declared(ctx, merged, stored or {})
    changed += [
        f"{setting['setting']} {setting['first']} -> {setting['now']}"
        for setting in (declaring.changes(stored["declared"][-1], merged["declared"][-1]) if stored else ())
        if setting["setting"] in declaring.LISTS
    ]
    if changed:
        ctx.put_aside(signature.listed(changed))
    write_text(ctx.store.experiment, dump(ctx.experiment))
    write_json(ctx.store.signature, merged)


def _declared(ctx: RunContext, signed: dict[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the signature with what is declared now added to its history."""
    # A score file that was deleted was there all the same.
    scored = bool(stored.get("scored")) or any(ctx.store.path.glob("score/*.jsonl"))
    now = declaring.declaration(ctx.experiment, signed)
    seen = {"looks": stored["looks"]} if "looks" in stored else {}
    return {**signed, **seen, "scored": scored, "declared": declaring.declared(stored.get("declared", []), now, scored)}


def declare(ctx: RunContext, scored: bool = False) -> list[dict[str, Any]]:
    """Sign what is declared now, where no stage does that before; return the history. `scored`: from now on."""
    stored = ctx.signature
    signed = _declared(ctx, stored, stored)
    signed["scored"] |= scored
    if signed != stored:
        write_json(ctx.store.signature, signed)
        vars(ctx).pop("signature")
    return list(signed["declared"])


def signature_now(ctx: RunContext) -> dict[str, Any]:
    import torch

    settings = ctx.experiment.resolved()
    return {
        "name": ctx.experiment.name,
        "model": {
            "base": ctx.experiment.model.base,
            "revision": ctx.experiment.model.revision,
            "weights": ctx.weights,
            "tokenizer": ctx.tokenizer.hash[:16],
            "dtype": ctx.machine.dtype,
            "quantize": ctx.experiment.model.quantize,
            **({"compute": "fp8"} if ctx.experiment.model.compute == "fp8" else {}),
            **({"trust_remote_code": ctx.experiment.model.base} if ctx.trusted else {}),
        },
        "data": {
            "train": signature.rows_hash(ctx.data.train),
            "validation": signature.rows_hash(ctx.data.validation, ctx.data.clusters),
        },
        "train": signature.settled("train", settings["train"]),
        "variants": _variants(ctx),
        "generate": signature.settled("generate", settings["generate"]),
        "templates": {name: template.hash[:16] for name, template in ctx.templates.items()},
        "probes": signature.probe_hashes(ctx.probes),
        "software": signature.software(ctx.machine.name, torch.get_num_threads()),
    }


def _variants(ctx: RunContext) -> dict[str, str]:
    """Return a hash of every variant that is more than a template under the experiment's own settings."""
    plain, told = (ctx.experiment.train, ctx.experiment.data.train), {}
    for name, one in ctx.experiment.recipes.items():
        if one.adapters:
            told[name] = signature.digest([one.variant.templates, "adapters"])
        elif (one.train, one.data) != plain or one.variant.templates != (name,):
            trained_by = signature.settled("train", one.train.model_dump(mode="json"))
            rows = signature.rows_hash(ctx.data.of(one.data))
            told[name] = signature.digest([one.variant.templates, trained_by, rows])
    for arm in arms_from_elsewhere(ctx.experiment):
        told[arm.name] = content_of(ctx.experiment, ctx.store, arm)
    return told
