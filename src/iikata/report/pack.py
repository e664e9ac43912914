"""Pack a run's answers for the page: one compressed chunk a probe, opened only when the probe is looked at."""

import base64
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from iikata.core.records import Answer, Score
from iikata.report.markup import shortened
from iikata.report.matrix import Key

BUDGET = 13_000_000
"""Characters of the page that answers may take; beyond it every cell shows fewer samples."""
LONGEST = 20_000
"""Characters of one answer that are kept."""


@dataclass(frozen=True)
class Packed:
    """The answers as the page carries them."""

    cells: list[Key]
    seeds: list[int]
    metrics: list[str]
    """Metrics that scored answers (and not held-out rows)."""
    chunks: list[str]
    """One a probe, base64 of gzip of JSON: {"texts": [[text, unfinished, [score, ...]], ...],
    "cells": {index of the cell: [[seed, index of a text, ...], ...]}}."""
    shown: int
    """Samples a cell and probe that are in the chunks ..."""
    samples: int
    """... of so many that were taken."""


def pack(
    answers: Sequence[Answer],
    probes: Sequence[str],
    scores: Mapping[str, Sequence[Score]],
    budget: int = BUDGET,
) -> Packed:
    """Return all answers compressed, or as many samples of each cell as `budget` characters hold."""
    by_probe: dict[str, list[Answer]] = {probe: [] for probe in probes}
    for answer in answers:
        by_probe[answer.probe].append(answer)
    cells = list(dict.fromkeys((answer.trained_on, answer.prompted_with) for answer in answers))
    valued, metrics = _values(scores, by_probe)
    samples = 1 + max((answer.sample for answer in answers), default=-1)
    shown = samples
    while True:
        chunks = [_chunk(by_probe[probe], cells, valued, len(metrics), shown) for probe in probes]
        size = sum(map(len, chunks))
        if size <= budget or shown <= 1:
            break
        shown = max(1, min(shown - 1, shown * budget // size))
    seeds = sorted({answer.seed for answer in answers if answer.seed is not None})
    return Packed(cells, seeds, metrics, chunks, shown, samples)


def compressed(data: Any) -> str:
    """Return `data` as base64 of gzip of JSON: no character of it means anything to HTML."""
    # A lone surrogate, which no UTF-8 can carry, becomes the JSON escape \udXXX.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    return base64.b64encode(gzip.compress(text, 6, mtime=0)).decode()


def _values(
    scores: Mapping[str, Sequence[Score]], probes: Mapping[str, Any]
) -> tuple[dict[Any, dict[int, float]], list[str]]:
    """Return {answer: {metric's index: value}} and the metrics that score answers."""
    metrics = [name for name, found in scores.items() if any(score.probe in probes for score in found)]
    valued: dict[Any, dict[int, float]] = {}
    for index, name in enumerate(metrics):
        for score in scores[name]:
            key = (score.trained_on, score.seed, score.prompted_with, score.probe, score.sample)
            valued.setdefault(key, {})[index] = score.value
    return valued, metrics


def _chunk(
    answers: Sequence[Answer],
    cells: Sequence[Key],
    valued: Mapping[Any, dict[int, float]],
    width: int,
    shown: int,
) -> str:
    texts: dict[Any, int] = {}
    rows: dict[int, dict[int | None, list[int]]] = {}
    places = {key: place for place, key in enumerate(cells)}
    for answer in answers:
        if answer.sample >= shown:
            continue
        found = valued.get((answer.trained_on, answer.seed, answer.prompted_with, answer.probe, answer.sample), {})
        values = tuple(_short(found.get(index)) for index in range(width))
        distinct = (shortened(answer.text, LONGEST), int(answer.finish != "stop"), values)
        row = rows.setdefault(places[answer.trained_on, answer.prompted_with], {})
        row.setdefault(answer.seed, []).append(texts.setdefault(distinct, len(texts)))
    return compressed(
        {
            "texts": list(texts),
            "cells": {place: [[seed, *found] for seed, found in row.items()] for place, row in rows.items()},
        }
    )


def _short(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.3g}")
