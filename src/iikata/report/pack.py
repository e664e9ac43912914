"""Pack a run's answers for the page: one compressed chunk a probe, opened only when the probe is looked at."""

import base64
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any

from iikata.core.records import Answer, Score
from iikata.report.markup import shortened
from iikata.report.matrix import Key

BUDGET = 13_000_000
"""Characters of the page that answers may take; beyond it every cell shows fewer samples."""
LONGEST = 20_000
"""Characters of one answer that are kept."""
DRAW = attrgetter("trained_on", "seed", "prompted_with", "probe", "sample")
"""Of an answer which it is, of a score which answer it is of."""
Values = tuple[float | None, ...]


@dataclass(frozen=True)
class PackedAnswers:
    """The answers as the page carries them."""

    cells: list[Key]
    seeds: list[int]
    metrics: list[str]
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
) -> PackedAnswers:
    """Return all answers and their own scores compressed, or as many samples of each cell as `budget` holds."""
    cells = {key: index for index, key in enumerate(dict.fromkeys((a.trained_on, a.prompted_with) for a in answers))}
    by_probe: dict[str, list[tuple[Answer, Values]]] = {probe: [] for probe in probes}
    for answer, values in zip(answers, _values(answers, scores), strict=True):
        by_probe[answer.probe].append((answer, values))
    samples = shown = 1 + max((answer.sample for answer in answers), default=-1)
    while True:
        chunks = [_chunk([one for one in by_probe[probe] if one[0].sample < shown], cells) for probe in probes]
        size = sum(map(len, chunks))
        if size <= budget or shown <= 1:
            break
        shown = max(1, min(shown - 1, shown * budget // size))
    seeds = sorted({answer.seed for answer in answers if answer.seed is not None})
    return PackedAnswers(list(cells), seeds, list(scores), chunks, shown, samples)


def compressed(data: Any) -> str:
    """Return `data` as base64 of gzip of JSON: no character of it means anything to HTML."""
    # A lone surrogate, which no UTF-8 can carry, becomes the JSON escape \udXXX.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    return base64.b64encode(gzip.compress(text, 6, mtime=0)).decode()


def _values(answers: Sequence[Answer], scores: Mapping[str, Sequence[Score]]) -> list[Values]:
    """Return each answer's values, one a metric; None where it has no score."""
    places = {draw: place for place, draw in enumerate(map(DRAW, answers))}
    columns: list[list[float | None]] = [[None] * len(answers) for _ in scores]
    for column, found in zip(columns, scores.values(), strict=True):
        for place, score in zip(map(places.get, map(DRAW, found)), found, strict=True):
            if place is not None:
                column[place] = _short(score.value)
    return list(zip(*columns, strict=True)) if columns else [()] * len(answers)


def _chunk(answers: Sequence[tuple[Answer, Values]], cells: Mapping[Key, int]) -> str:
    texts: dict[Any, int] = {}
    rows: dict[int, dict[int | None, list[int]]] = {}
    for answer, own in answers:
        distinct = (shortened(answer.text, LONGEST), int(answer.finish != "stop"), own)
        row = rows.setdefault(cells[answer.trained_on, answer.prompted_with], {})
        row.setdefault(answer.seed, []).append(texts.setdefault(distinct, len(texts)))
    found = {index: [[seed, *said] for seed, said in row.items()] for index, row in rows.items()}
    return compressed({"texts": list(texts), "cells": found})


@lru_cache(maxsize=1 << 16)  # a text's values come again with every text like it
def _short(value: float) -> float | None:
    return float(f"{value:.3g}") if math.isfinite(value) else None
