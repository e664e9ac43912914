"""What the tuned model does that the untuned one does not: shares of answers, and one probe's answers from both."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iikata.core.records import Answer, Probe
from iikata.report.effects import between, cell
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
    about = between(comparisons["comparisons"], settings["primary"], "tuned_vs_best_base", [name, None])
    if about is None:
        return None
    sides = [cell(about[side]) for side in ("control", "treatment")]
    # Not the means of each metric's own comparison: its best untuned template may be another, on fewer probes.
    metrics = dict.fromkeys(("finish", settings.get("content") or "contains", "leakage"))
    shares = []
    for metric in metrics:
        before, after = (_mean(comparisons["cells"], metric, variants.cells(side)) for side in sides)
        if before is not None and after is not None:
            shares.append((metric, before, after))
    return Behaviour(sides[0], sides[1], shares, *_first_probe(probes, answers, sides, variants))


def _mean(cells: Sequence[Mapping[str, Any]], metric: str, among: Sequence[Key]) -> float | None:
    """Return the mean score of a metric over some cells, as the matrix shows it; None where none was scored."""
    own = [c for c in cells if c["metric"] == metric and (c["trained_on"], c["prompted_with"]) in among and c["scored"]]
    scored = sum(c["scored"] for c in own)
    return math.fsum(c["mean"] * c["scored"] for c in own) / scored if scored else None


def _first_probe(
    probes: Sequence[Probe], answers: Sequence[Answer], sides: Sequence[Key], variants: Variants
) -> tuple[Probe | None, Sequence[tuple[Key, Said]]]:
    """Return the first probe that both sides answered, chosen by its place alone, and their answers."""
    groups = answer_groups(probes, answers, {one: side for side in sides for one in variants.cells(side)})
    found = ((probe, [(side, said[side]) for side in sides]) for probe, said in groups if said.keys() == {*sides})
    return next(found, (None, []))


def answer_groups(
    probes: Sequence[Probe], answers: Sequence[Answer], groups: Mapping[Key, Key] | None = None
) -> list[tuple[Probe, dict[Key, Said]]]:
    """Return each probe with its cells' distinct answers; `groups` puts cells together, and leaves others out."""
    counts: dict[str, dict[Key, Counter[tuple[str, bool]]]] = {probe.id: {} for probe in probes}
    for answer in answers:
        own = (answer.trained_on, answer.prompted_with)
        key = own if groups is None else groups.get(own)
        if key is not None and answer.probe in counts:
            counts[answer.probe].setdefault(key, Counter())[answer.text, answer.finish != "stop"] += 1
    return [(probe, {key: found.most_common() for key, found in counts[probe.id].items()}) for probe in probes]
