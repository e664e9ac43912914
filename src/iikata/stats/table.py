"""Hold score lines as columns, and average an answer's samples into one number a cell and probe."""

import re
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iikata.core.errors import IikataError
from iikata.core.records import Score, Variant

Levels = tuple[tuple[str, Any], ...]
SHOTS = re.compile(r"\+\d+shots$")
"""What the untuned model is prompted with where it is shown examples."""
NAMED = ("cell", "probe", "cluster", "metric", "signature")
SCORED = ("trained_on", "seed", "prompted_with", "metric", "signature", "template", "levels")
ASKED = ("probe", "cluster")


@dataclass(frozen=True)
class ScoreTable:
    """Score lines as columns: 44 bytes a line where a record takes ten times that."""

    names: dict[str, list[Any]]
    """For each of NAMED, what its codes stand for; a cell is (trained_on, seed, prompted_with)."""
    codes: dict[str, np.ndarray]
    """For each of NAMED, int32[n]."""
    sample: np.ndarray
    value: np.ndarray
    """float64[n]; NaN where the answer could not be scored."""
    line: np.ndarray
    source: str = "scores"
    variants: Mapping[str, Variant] = field(default_factory=dict)
    """What each name in `trained_on` stands for."""

    def __len__(self) -> int:
        return len(self.value)

    @property
    def metrics(self) -> list[str]:
        return self.names["metric"]


class TableWriter:
    """Collects score lines into a table; names get their codes in order of appearance."""

    def __init__(self) -> None:
        self.scored: dict[tuple[Any, ...], int] = {}
        self.asked: dict[tuple[Any, ...], int] = {}
        self.recipes: dict[str | None, tuple[str | None, Levels]] = {}
        """trained_on -> the template that it was trained on, and its levels."""
        self.codes = array("i"), array("i")
        self.sample, self.value, self.line = array("q"), array("d"), array("q")

    def add(self, scored: tuple[Any, ...], asked: tuple[Any, ...], sample: int, value: float, line: int) -> None:
        """Append one line, its names in the order of SCORED and ASKED; IikataError where they contradict others."""
        code = self.scored.get(scored)
        if code is None:
            self._check_recipe(scored)
            code = self.scored[scored] = len(self.scored)
        self.codes[0].append(code)
        self.codes[1].append(self.asked.setdefault(asked, len(self.asked)))
        self.sample.append(sample)
        self.value.append(value)
        self.line.append(line)

    def _check_recipe(self, scored: tuple[Any, ...]) -> None:
        trained_on, seed, prompt, *_, template, levels = scored
        if trained_on is None and seed is not None and not SHOTS.search(prompt):
            raise IikataError(
                f"the untuned base (trained_on null) has no training seed, saw seed {seed}; write null. (With "
                'examples, prompted_with "native+4shots", it is the number of their draw.)'
            )
        recipe = (template or trained_on, levels or ())
        if (first := self.recipes.setdefault(trained_on, recipe)) != recipe:
            raise IikataError(
                f'"{trained_on or "base"}" has {_recipe(*recipe)}, on an earlier line {_recipe(*first)}. '
                "What is trained in another way needs another name in trained_on."
            )

    def table(self, source: str = "scores") -> ScoreTable:
        """Return what was collected; raises IikataError as `checked` does."""
        named = {
            "cell": [one[:3] for one in self.scored],
            "metric": [one[3] for one in self.scored],
            "signature": [one[4] or "" for one in self.scored],
            "probe": [str(probe) for probe, _ in self.asked],
            "cluster": [str(probe if cluster in (None, "") else cluster) for probe, cluster in self.asked],
        }
        names = {column: list(dict.fromkeys(words)) for column, words in named.items()}
        codes = {}
        for column, words in named.items():
            place = {word: i for i, word in enumerate(names[column])}
            of_part = np.array([place[word] for word in words], dtype=np.int32)
            codes[column] = of_part[np.array(self.codes[column in ("probe", "cluster")])]
        sample, value, line = (np.array(column) for column in (self.sample, self.value, self.line))
        variants = {}
        for name, (template, levels) in self.recipes.items():
            if name is not None:
                own = tuple((key, str(level)) for key, level in levels if key != "template")
                variants[name] = Variant(name, tuple((template or name).split("|")), own)  # of a mixture a|b
        return checked(ScoreTable(names, codes, sample, value, line, source, variants))


def _recipe(template: str | None, levels: Levels) -> str:
    return f"template {template} and levels {dict(levels)}"


def tabulate(scores: Iterable[Score]) -> ScoreTable:
    """Turn score records into columns; raises IikataError for a fault in one, and as `checked` does."""
    writer = TableWriter()
    for line, s in enumerate(scores, start=1):
        levels = tuple(sorted(s.levels.items())) if s.levels else ()
        scored = (s.trained_on, s.seed, s.prompted_with, s.metric, s.signature, s.template, levels)
        writer.add(scored, (s.probe, s.cluster), s.sample, s.value, line)
    return writer.table()


def checked(table: ScoreTable) -> ScoreTable:
    """Return the table; IikataError where it is empty, has a score twice or a probe in two clusters."""
    if not len(table):
        raise IikataError(f"{table.source}: no score lines. Expected one JSON object a line.")
    codes, names = table.codes, table.names
    shape = tuple(len(names[column]) for column in ("metric", "cell", "probe"))
    key = np.ravel_multi_index((codes["metric"], codes["cell"], codes["probe"]), shape)
    order = np.lexsort((table.sample, key))
    twice = np.flatnonzero((np.diff(key[order]) == 0) & (np.diff(table.sample[order]) == 0))
    if len(twice):
        raise IikataError(_duplicates(table, order, twice))
    pair = codes["metric"].astype(np.int64) * len(names["probe"]) + codes["probe"]
    first = np.full(len(names["metric"]) * len(names["probe"]), -1)
    first[pair[::-1]] = codes["cluster"][::-1]
    wrong = np.flatnonzero(first[pair] != codes["cluster"])
    if len(wrong):
        row = wrong[0]
        probe, now = names["probe"][codes["probe"][row]], names["cluster"][codes["cluster"][row]]
        raise IikataError(
            f'{table.source}:{table.line[row]}: probe "{probe:.80}" is in cluster "{now:.80}", and on an earlier line '
            f'in "{names["cluster"][first[pair[row]]]:.80}" ({len(wrong)} such lines). A probe belongs to one cluster; '
            "write the same on each of its lines."
        )
    return table


def _duplicates(table: ScoreTable, order: np.ndarray, twice: np.ndarray) -> str:
    told = []
    for i in twice[:5]:
        one, two = sorted((order[i], order[i + 1]))
        cell, probe, _, metric, _ = (table.names[n][table.codes[n][two]] for n in NAMED)
        told.append(
            f"{table.source}:{table.line[two]}: the same score as on line {table.line[one]} "
            f"(trained_on {cell[0] or 'null':.80}, "
            f"seed {cell[1]}, prompted_with {cell[2]:.80}, probe {probe:.80}, sample {table.sample[two]}, "
            f"metric {metric:.80})."
        )
    told.append(f"{len(twice)} duplicates. A score is there once; repeated answers each have their own `sample`.")
    return "\n".join(told)


@dataclass(frozen=True)
class Panel:
    """One metric's scores with samples averaged: arrays of [cell, probe]."""

    metric: str
    cells: list[tuple[str | None, int | None, str]]
    """trained_on, seed, prompted_with."""
    clusters: list[str]
    cluster_of: np.ndarray
    """int[probe]: the probe's cluster."""
    mean: np.ndarray
    """Mean of the scored samples; NaN where there is none."""
    scored: np.ndarray
    """Number of samples with a number."""
    unscored: np.ndarray
    """Number of samples without."""
    signatures: tuple[str, ...]
    variants: Mapping[str, Variant] = field(default_factory=dict)

    def own(self, trained_on: str) -> tuple[str, ...]:
        """Return the templates that a variant was trained on; a name that nothing is said of is a template's."""
        return self.variants[trained_on].templates if trained_on in self.variants else (trained_on,)

    def sides(self) -> list[tuple[str | None, str]]:
        """Return what was trained and prompted with what, in order of appearance."""
        return list(dict.fromkeys((t, p) for t, _, p in self.cells))

    def rows(self, trained_on: str | None, prompted_with: str) -> dict[int | None, int]:
        """Return {seed: row} of the cells trained on one template and prompted with another."""
        return {s: i for i, (t, s, p) in enumerate(self.cells) if (t, p) == (trained_on, prompted_with)}


def panels(table: ScoreTable) -> dict[str, Panel]:
    """Average the samples of each cell and probe, metric by metric."""
    columns = [table.codes[n] for n in ("metric", "cell", "probe")]
    shape = tuple(len(table.names[n]) for n in ("metric", "cell", "probe"))
    key, size, good = np.ravel_multi_index(columns, shape), int(np.prod(shape)), np.isfinite(table.value)
    total = np.bincount(key[good], table.value[good], size).reshape(shape)
    scored, unscored = (np.bincount(key[k], minlength=size).reshape(shape) for k in (good, ~good))
    mean = np.divide(total, scored, out=np.full(shape, np.nan), where=scored > 0)
    return {name: _panel(table, m, mean[m], scored[m], unscored[m]) for m, name in enumerate(table.names["metric"])}


def _panel(table: ScoreTable, m: int, mean: np.ndarray, scored: np.ndarray, unscored: np.ndarray) -> Panel:
    lines = scored + unscored
    cells, probes = np.flatnonzero(lines.any(axis=1)), np.flatnonzero(lines.any(axis=0))
    codes = {name: column[table.codes["metric"] == m] for name, column in table.codes.items()}
    cluster_of = np.zeros(lines.shape[1], dtype=int)
    cluster_of[codes["probe"]] = codes["cluster"]
    used, cluster_of = np.unique(cluster_of[probes], return_inverse=True)
    keep = np.ix_(cells, probes)
    return Panel(
        metric=table.names["metric"][m],
        cells=[table.names["cell"][i] for i in cells],
        clusters=[table.names["cluster"][i] for i in used],
        cluster_of=cluster_of,
        mean=mean[keep],
        scored=scored[keep],
        unscored=unscored[keep],
        signatures=tuple(table.names["signature"][i] for i in np.unique(codes["signature"])),
        variants=table.variants,
    )
