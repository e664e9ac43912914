"""Arrange a run's records for the pages: what the templates name is made here and nowhere else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from iikata.core.records import Score
from iikata.report.behaviour import answer_groups, behaviour
from iikata.report.curves import panels
from iikata.report.data import ReportData
from iikata.report.effects import between, cell, groups, linked, target
from iikata.report.glossary import glossary
from iikata.report.held_out import held_out_panels
from iikata.report.matrix import Key, matrix
from iikata.report.pack import PackedAnswers, compressed, pack
from iikata.report.profile import choosing, profile
from iikata.report.variants import Variants
from iikata.stats.short import questions

FALLBACK = 6
"""Probes that are shown as plain text, in the Markdown and for readers without JavaScript."""
SIDES = ("treatment", "control")
SCRIPT_WORDS = (
    "all", "answered", "apart", "back", "cluster", "control", "distinct", "empty", "end", "found", "leaked",
    "looking", "more", "none", "reference", "role.assistant", "role.system", "role.user", "unfinished",
)  # fmt: skip


def context(data: ReportData, words: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the variables of all templates."""
    settings, verdict = data.comparisons["settings"], data.comparisons["verdict"]
    compared, primary = data.comparisons["comparisons"], settings["primary"]
    margins = {name: settings["margins"].get(name) for name in data.metrics}
    # False sorts before True: the primary metric first, the others as they come.
    names = sorted(data.metrics, key=lambda name: name != primary)
    variants = Variants(data.variants, verdict["factor"], list(data.templates))
    forests = {name: found for name in names if (found := groups(compared, name, margins[name], variants))}
    about_template = between(compared, primary, "matched", verdict["template_pair"])
    about_lora = between(compared, primary, "tuned_vs_best_base", [verdict["lora_template"], None])
    profiles = [profile(one, variants) for one in data.comparisons.get("profiles", ())]
    packed = pack(data.answers, [probe.id for probe in data.probes], _of_answers(data))
    first = variants.first(packed.cells, [cell(c[side]) for c in (about_template, about_lora) if c for side in SIDES])
    absent = {"ratings": data.ratings, "loss": data.steps, "settings": profiles}
    given = {
        "m": replace(data, scores={}, answers=()),  # millions that no template names, and Jinja's contexts are cycles
        "primary": primary,
        "margins": margins,
        "about_template": about_template,
        "about_lora": about_lora,
        "v": variants,
        "first_answers": list(zip(questions(verdict, "en"), questions(verdict, "ja"), strict=True)),
        "behaviour": behaviour(data.comparisons, data.probes, data.answers, variants),
        "glossary": glossary(),
        "profiles": profiles,
        "choosing": choosing(compared, primary, variants),
        "warnings": data.comparisons["warnings"],
        "matrices": [
            matrix(name, data.scores[name], data.metrics[name], margins[name])
            for name in names
            if data.scores.get(name)
        ],
        "forests": forests,
        "noise_floors": [c for c in compared if c["question"] == "noise_floor"],
        "linked": partial(linked, variants),
        "packed": packed,
        "index": compressed(_index(data, packed, variants, first, words)),
        "answer_groups": answer_groups(data.probes[:FALLBACK], data.answers),
        "losses": panels(data.steps),
        "held_out_panels": held_out_panels(data.evaluations),
        "absent": [name for name, there in absent.items() if not there],
        "first_cells": first,
        "counts": {**data.counts, "data": _counted(data.counts.get("data", {}), words)},
        "environment": _flat(data.signature),
    }
    return {**given, "targets": list(dict.fromkeys(_targets(given)))}


def _index(
    data: ReportData,
    packed: PackedAnswers,
    variants: Variants,
    first: Sequence[Key],
    words: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Return what the page's script knows beside the packed answers."""
    # The longest first: one may hold another.
    markers = {literal for card in data.templates.values() for literal in card.template_literals}
    return {
        "probes": [
            [p.id, p.cluster or p.id, p.before.said, p.instruction, p.input, *p.references] for p in data.probes
        ],
        "cells": packed.cells,
        "names": [variants.side(one) for one in packed.cells],
        "hues": [variants.colour(one) for one in packed.cells],
        "own": [i for i, one in enumerate(packed.cells) if one[0] is None or variants.own(one)],
        "first": [packed.cells.index(one) for one in first],
        "seeds": packed.seeds,
        "metrics": packed.metrics,
        "signatures": {name: metric.signature for name, metric in data.metrics.items()},
        "markers": sorted(markers, key=lambda text: (-len(text), text)),
        "words": {key: words[key] for key in SCRIPT_WORDS},
    }


def _targets(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield every fragment that leads to answers."""
    yield from (target(m.metric, [key]) for m in given["matrices"] for key in m.entries)
    for one in (given["m"].ratings or {}).get("win_rates", ()):
        yield target("rated", [one["first"], one["second"]])
    yield from (effect.target for found in given["forests"].values() for group in found for effect in group.effects)
    yield from (given["linked"](c["metric"], [cell(c["treatment"])]) for c in given["noise_floors"])
    yield from (point.target for one in given["profiles"] for curve in one.curves for point in curve.points)


def _of_answers(data: ReportData) -> dict[str, Sequence[Score]]:
    """Return the scores that belong to one answer each, and not to a held-out text or to all answers of a cell."""
    metrics = data.metrics
    return {name: found for name, found in data.scores.items() if found and metrics[name].scope in ("answer", "pair")}


def _counted(counts: Mapping[str, Any], words: Mapping[str, Any]) -> dict[str, str]:
    """Return the counts of the data as text, in the words' order; rows left out with where the first of them are."""
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
