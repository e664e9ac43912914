"""Two runs on one page, each with its own verdict and numbers; nothing is pooled, nothing is computed anew."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from iikata.metrics import HELD_OUT
from iikata.report.bilingual import words
from iikata.report.context import context
from iikata.report.data import ReportData
from iikata.report.effects import QUESTIONS, groups
from iikata.report.pages import shelf, styled

DECLARED_ALREADY = ("name", "train", "generate", "declared", "scored")
"""What a signature repeats of the experiment, and what says nothing of how a run was made."""


@dataclass(frozen=True)
class RunSide:
    """One of the two runs."""

    data: ReportData
    label: str
    """What it is called on the page."""
    home: str
    """The address of its own report, from the page's folder."""


def beside(first: RunSide, second: RunSide) -> str:
    """Return the page as HTML."""
    made = shelf()
    sides = [{"label": one.label, **context(replace(one.data, answers=()), words())} for one in (first, second)]
    for side, one in zip(sides, (first, second), strict=True):
        side["home"] = one.home
        side["parts"] = made.get_template("parts.html.jinja").make_module(side)
    settings = [_declared(one.data) for one in (first, second)]
    declared, same_primary = differing(*settings), _same_primary(first.data, second.data)
    return made.get_template("beside.html.jinja").render(
        **styled("language.js"),
        sides=sides,
        same_factor=len({side["m"].comparisons["verdict"]["factor"] for side in sides}) == 1,
        same_primary=same_primary,
        same_rows=_same_rows(first.data, second.data),
        declared=declared,
        equal=len({*settings[0], *settings[1]}) - len(declared),
        made=differing(*(_made(one.data) for one in (first, second))),
        questions=questions(sides, same_primary),
    )


def questions(sides: Sequence[Mapping[str, Any]], common: bool) -> list[tuple[str, list[Any]]]:
    """Return each question that a run asked with its plots of the primary metric, on one axis where it is `common`."""
    drawn = []
    for side, other in (sides, sides[::-1]):
        own, more = ((one["m"].comparisons["comparisons"], one["margins"][one["primary"]]) for one in (side, other))
        found = groups(own[0], side["primary"], own[1], side["v"], more if common else None)
        drawn.append({group.question: group for group in found})
    return [(one, [own.get(one) for own in drawn]) for one in QUESTIONS if any(one in own for own in drawn)]


def differing(first: Mapping[str, str], second: Mapping[str, str]) -> list[tuple[str, tuple[str, str]]]:
    """Return what is not the same in both, by name, in the order of the first."""
    both = {name: (first.get(name, "–"), second.get(name, "–")) for name in (*first, *second)}
    return [(name, values) for name, values in both.items() if values[0] != values[1]]


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested settings as (dotted name, text), without those that are not set.

    A path is its last part, since where a file lies is no setting.
    """
    if value is None or value in ({}, [], ()):
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple) and not any(isinstance(one, Mapping | list | tuple) for one in value):
        yield name, ", ".join(_shown(one) for one in value)
    else:
        yield name, _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return PurePath(value).name if PurePath(value).is_absolute() else value
    return json.dumps(value, ensure_ascii=False)


def _declared(data: ReportData) -> dict[str, str]:
    return dict(flat({key: value for key, value in data.settings.items() if key != "name"}))


def _made(data: ReportData) -> dict[str, str]:
    """Return what a run was made with; all probes are one hash, as all rows are."""
    kept = {key: value for key, value in data.signature.items() if key not in DECLARED_ALREADY}
    if kept.get("probes"):
        kept["probes"] = hashlib.sha256(json.dumps(kept["probes"], sort_keys=True).encode()).hexdigest()[:16]
    return dict(flat(kept))


def _same_primary(first: ReportData, second: ReportData) -> bool:
    """Return whether both decide on one metric, counted alike."""
    names = [one.comparisons["settings"]["primary"] for one in (first, second)]
    return names[0] == names[1] and first.metrics[names[0]].signature == second.metrics[names[1]].signature


def _same_rows(first: ReportData, second: ReportData) -> bool:
    """Return whether the primary metrics were measured on the same held-out rows, or the same probes."""
    if first.comparisons["settings"]["primary"] in HELD_OUT:
        one, two = (data.signature.get("data", {}).get("validation") for data in (first, second))
        return one == two is not None
    return list(first.probes) == list(second.probes)
