"""What the tuned model does that the untuned one does not: shares of answers, and one probe's answers from both."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iikata.core.records import Answer, Probe
from iikata.report.effects import cell
from iikata.report.matrix import Key
from iikata.report.variants import Variants

Said = list[tuple[tuple[str, bool], int]]
"""Distinct answers: ((text, whether it was cut off), count), commonest first."""


@dataclass(frozen=True)
class Behaviour:
    """The untuned model at its best beside the variant that is recommended, or that the verdict on LoRA is about."""

    untuned: Key
    tuned: Key
    shares: Sequence[tuple[str, float, float]]
    """(metric, untuned, tuned)."""
    probe: Probe | None
    """The first that both answered; None where there is none."""
    answers: Sequence[tuple[Key, Said]] = ()


def behaviour(
    comparisons: Mapping[str, Any], probes: Sequence[Probe], answers: Sequence[Answer], variants: Variants
) -> Behaviour | None:
    """Return what is shown beside the advice; None where tuned and untuned were not compared."""
    settings, verdict = comparisons["settings"], comparisons["verdict"]
    name = (verdict.get("recommended") or {}).get("trained_on") or verdict["lora_template"]
    about = {
        c["metric"]: c
        for c in comparisons["comparisons"]
        if c["question"] == "tuned_vs_best_base" and c["treatment"]["trained_on"] == name
    }
    if settings["primary"] not in about:
        return None
    metrics = dict.fromkeys(("finish", settings.get("content") or "contains", "leakage"))
    means = {m: (about[m]["control"]["mean"], about[m]["treatment"]["mean"]) for m in metrics if m in about}
    shares = [(metric, *pair) for metric, pair in means.items() if None not in pair]
    sides = [cell(about[settings["primary"]][side]) for side in ("control", "treatment")]
    return Behaviour(sides[0], sides[1], shares, *_first_probe(probes, answers, sides, variants))


def _first_probe(
    probes: Sequence[Probe], answers: Sequence[Answer], sides: Sequence[Key], variants: Variants
) -> tuple[Probe | None, Sequence[tuple[Key, Said]]]:
    """Return the first probe that both sides answered, chosen by its place alone, and their answers."""
    side_of = {one: side for side in sides for one in variants.cells(side)}
    said: dict[str, dict[Key, Counter[tuple[str, bool]]]] = {}
    for answer in answers:
        side = side_of.get((answer.trained_on, answer.prompted_with))
        if side is not None:
            found = said.setdefault(answer.probe, {}).setdefault(side, Counter())
            found[answer.text, answer.finish != "stop"] += 1
    probe = next((one for one in probes if said.get(one.id, {}).keys() == {*sides}), None)
    return probe, [(side, said[probe.id][side].most_common()) for side in sides] if probe else []
