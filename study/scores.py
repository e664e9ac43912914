"""A model's published scores as arrays: metric -> cell -> one mean a probe."""

import json
import re
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from iikata.core.records import Gate, Score
from iikata.metrics import METRICS, Metric
from iikata.stats.published import read_columns

Cell = tuple[str | None, int | None, str]
"""(trained_on, seed, prompted_with)."""


@dataclass
class Probes:
    """One metric's probes, and each cell's numbers in their order; NaN where there is none."""

    metric: str
    names: list[str] = field(default_factory=list)
    clusters: list[str] = field(default_factory=list)
    signature: str = ""
    mean: dict[Cell, np.ndarray] = field(default_factory=dict)
    count: dict[Cell, np.ndarray] = field(default_factory=dict)
    variance: dict[Cell, np.ndarray] = field(default_factory=dict)

    @property
    def info(self) -> Metric:
        return METRICS[self.metric]

    def whole(self, cells: Iterable[Cell]) -> np.ndarray:
        """Return which probes all of these cells have a number for."""
        return np.isfinite(np.stack([self.mean[cell] for cell in cells])).all(axis=0)

    def among(self, kept: Container[str]) -> "Probes":
        """Return the same with no number for the probes that are not kept."""
        lost = np.array([name not in kept for name in self.names])
        return replace(self, mean={cell: np.where(lost, np.nan, own) for cell, own in self.mean.items()})

    def rows(self, trained_on: str | None, prompted_with: str) -> dict[int | None, np.ndarray]:
        """Return {seed: means} of a side, seeds in order."""
        found = {seed: own for (t, seed, p), own in self.mean.items() if (t, p) == (trained_on, prompted_with)}
        return dict(sorted(found.items(), key=lambda item: -1 if item[0] is None else item[0]))

    def level(self, trained_on: str | None, prompted_with: str) -> float | None:
        """Return a side's mean over all that it has."""
        rows = list(self.rows(trained_on, prompted_with).values())
        values = np.concatenate(rows) if rows else np.array([])
        good = values[np.isfinite(values)]
        return float(good.mean()) if good.size else None

    def by_cluster(self, values: np.ndarray, keep: np.ndarray) -> np.ndarray:
        """Return values[..., probe] averaged within the clusters of the probes that are kept."""
        names = np.array(self.clusters)[keep]
        _, group = np.unique(names, return_inverse=True)
        sums = np.zeros((*values.shape[:-1], group.max() + 1))
        np.add.at(sums, (..., group), values[..., keep])
        return sums / np.bincount(group)


@dataclass
class Published:
    """What a folder of published scores holds."""

    metrics: dict[str, Probes]
    about: dict[str, Any]
    gates: list[Gate]

    def __contains__(self, metric: str) -> bool:
        return metric in self.metrics

    def __getitem__(self, metric: str) -> Probes:
        return self.metrics[metric]

    def records(
        self, metric: str, wanted: Callable[[Cell], bool], rename: Mapping[str, str] | None = None
    ) -> list[Score]:
        """Return the scores of the wanted cells, a mean each, of variants that are called and told as templates are.

        A probe of which no cell has a number is none of the metric's, as a question without choices is none of
        `choice`; of a likelihood it is a row that could not be scored, and counts as left out.
        """
        probes, made = self.metrics[metric], []
        known = np.isfinite(np.stack(list(probes.mean.values()))).any(axis=0)
        known |= probes.info.category == "likelihood"
        for (trained_on, seed, prompt), means in probes.mean.items():
            if wanted((trained_on, seed, prompt)):
                name = (rename or {}).get(str(trained_on), trained_on)
                made += [
                    Score(name, seed, prompt, probe, cluster, 0, metric, value, probes.signature)
                    for probe, cluster, value, one in zip(
                        probes.names, probes.clusters, means.tolist(), known.tolist(), strict=True
                    )
                    if one
                ]
        return made


def read(*folders: Path) -> Published:
    """Return several folders' scores as one; a cell that several have is the first's."""
    metrics: dict[str, Probes] = {}
    about: dict[str, Any] = {}
    gates: list[Gate] = []
    for folder in folders:
        _add(metrics, read_columns(folder / "scores.parquet"))
        told = json.loads((folder / "published.json").read_text(encoding="utf-8"))
        about[folder.name] = told
        gates += [Gate(**gate) for run in told["runs"] for gate in run["gates"]]
    return Published(metrics, about, list(dict.fromkeys(gates)))


def _add(metrics: dict[str, Probes], columns: Mapping[str, Any]) -> None:
    codes = {name: columns[name][0] for name in ("metric", "trained_on", "prompted_with", "probe", "cluster")}
    seed = np.where(np.isnan(columns["seed"]), -1, columns["seed"]).astype(int)
    for code, metric in enumerate(columns["metric"][1][:-1]):
        mine = np.flatnonzero(codes["metric"] == code)
        probes = metrics.setdefault(metric, Probes(metric))
        probes.signature = probes.signature or columns["signature"][1][columns["signature"][0][mine[0]]]
        place = _places(probes, columns, mine)
        key = np.stack([codes["trained_on"][mine], seed[mine], codes["prompted_with"][mine]], axis=1)
        unique, group = np.unique(key, axis=0, return_inverse=True)
        for number, (t, s, p) in enumerate(unique.tolist()):
            cell = columns["trained_on"][1][t], None if s < 0 else s, columns["prompted_with"][1][p]
            own = np.flatnonzero(group.reshape(-1) == number)
            if cell not in probes.mean:
                for name, into in (("mean", probes.mean), ("count", probes.count), ("variance", probes.variance)):
                    into[cell] = np.full(len(probes.names), np.nan)
                    into[cell][place[own]] = columns[name][mine[own]]


def _places(probes: Probes, columns: Mapping[str, Any], mine: np.ndarray) -> np.ndarray:
    """Return where each row's probe stands; new ones are added, of which earlier cells have nothing."""
    known = {name: number for number, name in enumerate(probes.names)}
    names, clusters = columns["probe"][1], columns["cluster"][1]
    for p, c in dict.fromkeys(
        zip(columns["probe"][0][mine].tolist(), columns["cluster"][0][mine].tolist(), strict=True)
    ):
        if names[p] not in known:
            known[names[p]] = len(probes.names)
            probes.names.append(names[p])
            probes.clusters.append(clusters[c])
    for into in (probes.mean, probes.count, probes.variance):
        for cell, own in into.items():
            into[cell] = np.pad(own, (0, len(probes.names) - len(own)), constant_values=np.nan)
    return np.array([known[names[p]] for p in columns["probe"][0][mine].tolist()])


def shots_of(prompt: str) -> bool:
    """Return whether a prompt shows examples."""
    return re.search(r"\+\d+shots$", prompt) is not None
