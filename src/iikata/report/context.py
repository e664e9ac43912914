"""Arrange a run's records for the pages: what the templates name is made here and nowhere else."""

from collections.abc import Mapping, Sequence
from typing import Any

from iikata.core.records import Score
from iikata.report.collapse import answer_groups
from iikata.report.curves import panels
from iikata.report.data import ReportData
from iikata.report.effects import groups, target
from iikata.report.matrix import matrix
from iikata.report.pack import compressed, pack

FALLBACK = 6
"""Probes that are shown as plain text, in the Markdown and for readers without JavaScript."""
SCRIPT_WORDS = (
    "all", "answered", "apart", "back", "cluster", "control", "distinct", "empty", "end", "found", "leaked",
    "looking", "more", "none", "reference", "unfinished",
)  # fmt: skip


def context(material: ReportData, words: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the variables of all templates."""
    primary = material.comparisons["settings"]["primary"]
    declared = material.comparisons["settings"]["margins"]
    margins = {name: declared.get(name) for name in material.metrics}
    # False sorts before True: the primary metric first, the others as they come.
    names = sorted(material.metrics, key=lambda name: name != primary)
    matrices = [
        matrix(name, material.scores[name], material.metrics[name], margins[name])
        for name in names
        if material.scores.get(name)
    ]
    forests = {name: groups(material.comparisons, name, margins[name]) for name in names}
    colours = {name: place for place, name in enumerate(material.templates)}
    packed = pack(material.answers, [probe.id for probe in material.probes], _of_answers(material))
    targets = [target(m.metric, [key]) for m in matrices for key in m.entries]
    rated = material.ratings["win_rates"] if material.ratings else ()
    targets += [target("rated", [one["first"], one["second"]]) for one in rated]
    targets += [e.target for found in forests.values() for group in found for e in group.effects]
    verdict = material.comparisons["verdict"]
    return {
        "m": material,
        "primary": primary,
        "margins": margins,
        "about_template": _about(material, primary, "matched", verdict["template_pair"]),
        "about_lora": _about(material, primary, "tuned_vs_best_base", [verdict["lora_template"], None]),
        "warnings": material.comparisons["warnings"],
        "matrices": matrices,
        "forests": {name: found for name, found in forests.items() if found},
        "floors": [c for c in material.comparisons["comparisons"] if c["question"] == "noise_floor"],
        "packed": packed,
        "index": compressed({
            "probes": [[p.id, p.cluster or p.id, p.instruction, p.input, *p.references] for p in material.probes],
            "cells": packed.cells,
            "seeds": packed.seeds,
            "metrics": packed.metrics,
            "signatures": {name: metric.signature for name, metric in material.metrics.items()},
            "markers": sorted({m for c in material.templates.values() for m in c.template_literals}, key=len)[::-1],
            "colours": colours,
            "words": {key: words[key] for key in SCRIPT_WORDS},
        }),
        "targets": list(dict.fromkeys(targets)),
        "heaps": answer_groups(material.probes[:FALLBACK], material.answers),
        "losses": panels(material.steps),
        "absent": [name for name, there in (("ratings", material.ratings), ("loss", material.steps)) if not there],
        "colours": colours,
        "counts": {**material.counts, "data": _counted(material.counts.get("data", {}), words)},
        "environment": _flat(material.signature),
    }  # fmt: skip


def _of_answers(material: ReportData) -> dict[str, Sequence[Score]]:
    """Return the scores that belong to one answer each, and not to a held-out text or to all answers of a cell."""
    metrics = material.metrics
    return {
        name: found
        for name, found in material.scores.items()
        if metrics[name].kind != "likelihood" and not hasattr(metrics[name], "over")
    }


def _about(
    material: ReportData, metric: str, question: str, trained_on: Sequence[str | None] | None
) -> Mapping[str, Any] | None:
    """Return the comparison that a verdict rests on: between arms of these two templates."""
    for c in material.comparisons["comparisons"]:
        sides = [c["treatment"]["trained_on"], c["control"]["trained_on"]]
        if c["question"] == question and c["metric"] == metric and sides == list(trained_on or ()):
            return c
    return None


def _counted(counts: Mapping[str, Any], words: Mapping[str, Any]) -> dict[str, str]:
    """Return the counts of the data as text, in the words' order; rows left out with where the first of them stand."""
    found, order = {}, [*words, *(f"count.{name}" for name in counts)]
    for name, number in sorted(counts.items(), key=lambda item: order.index(f"count.{item[0]}")):
        rows, examples = (number["rows"], number["examples"]) if isinstance(number, Mapping) else (number, ())
        found[name] = f"{rows:,}" + (f" ({', '.join(examples)})" if examples else "")
    return found


def _flat(nested: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return a nested mapping as (dotted name, text)."""
    rows: list[tuple[str, str]] = []
    for name, value in nested.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(f"{prefix}{name}", str(value))]
    return rows
