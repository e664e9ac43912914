"""Pack a run's answers for the page: one compressed chunk a probe, opened only when the probe is looked at."""

import base64
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from iikata.core.records import Answer, Score
from iikata.report.markup import shortened
from iikata.report.matrix import Key

BUDGET = 13_000_000
"""Characters of the page that answers may take; beyond it every cell shows fewer samples."""
LONGEST = 20_000
"""Characters of one answer that are kept."""
Draw = tuple[str | None, int | None, str, str, int]
Values = dict[Draw, list[float | None]]


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
    by_probe: dict[str, list[Answer]] = {probe: [] for probe in probes}
    for answer in answers:
        by_probe[answer.probe].append(answer)
    values: Values = {}
    for index, found in enumerate(scores.values()):
        for score in found:
            values.setdefault(_draw(score), [None] * len(scores))[index] = _short(score.value)
    unscored = [None] * len(scores)
    samples = shown = 1 + max((answer.sample for answer in answers), default=-1)
    while True:
        drawn = [[one for one in by_probe[probe] if one.sample < shown] for probe in probes]
        chunks = [_chunk(own, cells, [tuple(values.get(_draw(one), unscored)) for one in own]) for own in drawn]
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


def _chunk(answers: Sequence[Answer], cells: Mapping[Key, int], values: Sequence[tuple[float | None, ...]]) -> str:
    texts: dict[Any, int] = {}
    rows: dict[int, dict[int | None, list[int]]] = {}
    for answer, own in zip(answers, values, strict=True):
        distinct = (shortened(answer.text, LONGEST), int(answer.finish != "stop"), own)
        row = rows.setdefault(cells[answer.trained_on, answer.prompted_with], {})
        row.setdefault(answer.seed, []).append(texts.setdefault(distinct, len(texts)))
    found = {index: [[seed, *said] for seed, said in row.items()] for index, row in rows.items()}
    return compressed({"texts": list(texts), "cells": found})


def _draw(record: Answer | Score) -> Draw:
    """Return which answer this is, or which one it scores."""
    return record.trained_on, record.seed, record.prompted_with, record.probe, record.sample


@lru_cache(maxsize=1 << 16)  # a text's values come again with every text like it
def _short(value: float) -> float | None:
    return float(f"{value:.3g}") if math.isfinite(value) else None
