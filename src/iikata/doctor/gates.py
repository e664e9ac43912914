"""Gates: an adapter is believed only once it is proved live, and a cell only if prompted as it was trained."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from iikata.core.bilingual import Both
from iikata.core.errors import IikataError
from iikata.core.japanese import japanese
from iikata.core.records import Gate, TrainStep
from iikata.templates import Template, read_saved

if TYPE_CHECKING:
    import torch

    from iikata.model.adapters.liveness import Liveness
    from iikata.model.base import Base

FEW_STEPS = 8
GROWN = 1.25
"""Over the loss at the start: a training that diverges goes far beyond, one that finds little to learn stays below."""
LIVE_KL = 1e-6
"""Nats: an adapter whose answers differ from the base's by less than this did not train."""


def live_adapter(base: "Base", arm: str, folder: Path, prompts: Sequence[Sequence[int]]) -> Gate:
    """The adapter on disk is complete, each part of it is live, and it changes the model's next-token distribution.

    `prompts` are token ids; the evidence is the mean KL divergence base -> arm in nats, after each of them. Modules
    that the base never calls, as layers that share others' keys have them, need not be live.
    """
    from iikata.model.adapters import adapter_file
    from iikata.model.adapters.liveness import effects, faults, liveness, still

    try:
        stored = adapter_file.read_stored(folder)
        weights, shape = stored.same_shape()
        assert base.adapters is not None
        wanted = base.adapters.shape_of(arm)
        if shape.target_modules and set(shape.target_modules) != set(wanted.target_modules):
            raise IikataError(f"{folder}: adapts {shape.target_modules}, not {wanted.target_modules}.")
        if (shape.alpha, shape.use_rslora) != (wanted.alpha, wanted.use_rslora):
            raise IikataError(f"{folder}: has alpha {shape.alpha:g}, not {wanted.alpha:g}, or another scaling.")
        base.adapters.load(arm, weights)
    except IikataError as error:
        return Gate.of("live_adapter", arm, False, _unread(error))
    found, (moved, last) = liveness(stored), effects(base, arm, prompts)
    dead = faults(found, {one.module for one in found} - moved.keys()) or still(
        {name: share for name, share in moved.items() if f"{name}.lora_A" in weights}
    )
    return _live(arm, found, dead, _mean_kl(base, base, last, prompts))


def live_copy(base: "Base", copy: "Base", arm: str, folder: Path, prompts: Sequence[Sequence[int]]) -> Gate:
    """The same of an adapter that was merged into a copy of the base: its pairs are live, and it answers otherwise."""
    import torch

    from iikata.model.adapters import adapter_file
    from iikata.model.adapters.liveness import faults, liveness

    found = liveness(adapter_file.read_stored(folder, whole=True))
    with torch.inference_mode():
        last = copy.last_hidden(prompts)
    return _live(arm, found, faults(found), _mean_kl(base, copy, last, prompts))


def _live(arm: str, found: Sequence["Liveness"], dead: Sequence[Both], kl: float) -> Gate:
    norm = math.sqrt(sum(one.norm_b**2 for one in found))
    passed = not dead and math.isfinite(norm) and kl > LIVE_KL
    told = Both(
        f"||B|| = {norm:.4g}, mean KL to the base = {kl:.4g} nats",
        f"||B|| = {norm:.4g}、ベースモデルとの平均 KL = {kl:.4g} nats",
    )
    for fault in dead:
        told += Both(f"; {fault.en}", f"。{fault.ja}")
    return Gate.of("live_adapter", arm, passed, told)


def _unread(error: IikataError) -> Both:
    return Both(str(error), f"読み込めません: {japanese(str(error))}")


def _mean_kl(base: "Base", speaker: "Base", last: "torch.Tensor", prompts: Sequence[Sequence[int]]) -> float:
    """Return the mean divergence from the base of the speaker whose last hidden states [n, D] these are."""
    import torch

    with torch.inference_mode():
        tuned, untuned = speaker.logits(last), base.untuned_next(prompts)
        both = min(tuned.shape[1], untuned.shape[1])  # tokens that were added have no probability without the adapter
        tuned, untuned = (one[:, :both].log_softmax(-1) for one in (tuned, untuned))
        return float((untuned.exp() * (untuned - tuned)).sum(-1).mean())


def sound_training(arm: str, steps: Sequence[TrainStep], stopped: str = "") -> Gate:
    """Every loss is finite, and the mean of the last quarter has not grown much over that of the first.

    Of a few steps nothing is told: their batches differ more than training does, the last may hold a single row.
    """
    if stopped or not steps:
        why = Both(stopped, f"学習を打ち切りました（{stopped}）")
        none = Both("no step was made", "一度も学習していません")
        return Gate.of("sound_training", arm, False, why if stopped else none)
    losses = [step.loss for step in steps]
    if not all(map(math.isfinite, losses)):
        return Gate.of("sound_training", arm, False, Both("a loss is not finite", "有限でない損失があります"))
    quarter = max(1, len(losses) // 4)
    first, last = sum(losses[:quarter]) / quarter, sum(losses[-quarter:]) / quarter
    passed = len(losses) < FEW_STEPS or last <= GROWN * first
    detail = Both(
        f"loss {first:.4g} at the start, {last:.4g} at the end", f"損失は最初 {first:.4g}、最後 {last:.4g} です"
    )
    return Gate.of("sound_training", arm, passed, detail)


def template_kept(arm: str, folder: Path, template: Template) -> Gate:
    """The template stored beside the adapter is the one a matched cell is prompted with."""
    try:
        stored = read_saved(folder / "template.json")
    except IikataError as error:
        return Gate.of("template_kept", arm, False, _unread(error))
    same = stored.hash == template.hash
    trained, prompted = stored.hash[:12], template.hash[:12]
    detail = Both(f"trained with {trained}, prompted with {prompted}", f"学習は {trained}、質問は {prompted} です")
    return Gate.of("template_kept", arm, same, detail)


def distinct_templates(tokens: Mapping[str, Sequence[Sequence[int]]]) -> Iterator[Gate]:
    """Two templates that give the same tokens for every prompt and answer are one template under two names."""
    for first, second in combinations(tokens, 2):
        same = list(map(list, tokens[first])) == list(map(list, tokens[second]))
        detail = Both("same tokens", "同じトークン列です") if same else Both("tokens differ", "トークン列が違います")
        yield Gate.of("distinct_templates", f"{first}|{second}", not same, detail)
