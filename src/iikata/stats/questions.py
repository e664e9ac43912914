"""The questions: which cells answer each of them, and the noise floor."""

from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import chdtri

from iikata.metrics import Metric
from iikata.stats.factors import LevelChoice, Levels
from iikata.stats.pairing import Pair, Side, best_of, choosing_third, on_common_clusters, pair
from iikata.stats.table import Panel


@dataclass(frozen=True)
class Contrast:
    """Two sides of one question, paired."""

    question: str
    treatment: Side
    control: Side
    pair: Pair
    detail: dict[str, Any] = field(default_factory=dict)


def contrasts(
    panel: Panel, info: Metric, levels: Sequence[Levels], choice: LevelChoice | None = None, third_aside: bool = False
) -> Iterator[Contrast]:
    """Yield every contrast that the panel's cells and the metric allow; the noise floor is apart.

    `third_aside`: the choosing third has set the metric's margin and is not tested.
    """
    # Whatever the other settings are, each variant is held against the base and against its other prompts once.
    every = {str(side.trained_on): side for one in levels for side in one.sides.values()}
    about = levels[0].about if len(levels) == 1 else {}
    found = _contrasts(panel, info, levels, Levels(every, about), choice, third_aside)
    yield from (c for c in found if not info.within_template or c.question == "tuned_vs_base")


def _contrasts(
    panel: Panel, info: Metric, groups: Sequence[Levels], levels: Levels, choice: LevelChoice | None, third_aside: bool
) -> Iterator[Contrast]:
    without = choice.seeds if choice else frozenset()
    aside = choice.clusters if choice else frozenset()
    if third_aside:
        aside |= set(np.array(panel.clusters)[choosing_third(panel.clusters)])
    tested = np.array([name not in aside for name in panel.clusters])
    cells = {(t, p) for t, _, p in panel.cells}

    def held(question: str, treatment: Side, control: Side, about: Mapping[str, Any] = levels.about) -> Contrast:
        detail = {**about, "clusters_aside": int((~tested).sum())}
        return Contrast(question, treatment, control, pair(panel, treatment, control, tested, without), detail)

    for group in groups:
        for one, two in combinations(group.sides.values(), 2):
            yield held("matched", one, two, group.about)
    for side in levels.sides.values():
        base = Side(None, side.prompted_with, tuple((None, p) for _, p in side.cells))
        if cells.issuperset(base.cells):
            yield held("tuned_vs_base", side, base)
    if info.better != "none":
        yield from _against_best_base(panel, info, levels, without)
    for side in levels.sides.values():
        for foreign, own in _foreign(panel, side, cells):
            yield held("mismatch", foreign, own)
    yield from _mixtures(panel, levels, held, cells)


def _foreign(panel: Panel, side: Side, cells: set[tuple[str | None, str]]) -> Iterator[tuple[Side, Side]]:
    """Yield a side under each template that its variants were not trained on, with what it is held against."""
    for prompt in dict.fromkeys(p for t, _, p in panel.cells if t is not None):
        strange = [(t, p) for t, p in side.cells if prompt not in panel.own(str(t)) and (t, prompt) in cells]
        if strange:
            own = Side(side.trained_on, side.prompted_with, tuple(strange), side.levels)
            yield Side(side.trained_on, prompt, tuple((t, prompt) for t, _ in strange), side.levels), own


def _mixtures(panel: Panel, levels: Levels, held: Callable[..., Contrast], cells: set[Any]) -> Iterator[Contrast]:
    """Hold what was trained on several templates against what was trained on one, under that one."""
    single = {side.cells[0]: side for side in levels.sides.values() if len(side.cells) == 1}
    for side in levels.sides.values():
        own = panel.own(str(side.trained_on))
        for template in own if len(own) > 1 else ():
            other = next((s for (t, p), s in single.items() if panel.own(str(t)) == (template,) == (p,)), None)
            if other is not None and (side.trained_on, template) in cells:
                mixed = Side.of(side.trained_on, template, side.levels)
                yield held("mixture", mixed, other)


def _against_best_base(panel: Panel, info: Metric, levels: Levels, without: Container[Any]) -> Iterator[Contrast]:
    """Choose the base's best template on one third of the clusters; test on the other two, never the reverse.

    Choosing and testing on the same clusters would favour the base, whose best is the luckiest of several.
    """
    base = {p: panel.rows(None, p) for t, _, p in panel.cells if t is None}
    choosing = choosing_third(panel.clusters)
    best, of_base = _best(panel, info, {p: choosing_draws(rows).values() for p, rows in base.items()}, choosing)
    tuned = {
        name: [row for cell in side.cells for row in panel.rows(*cell).values()] for name, side in levels.sides.items()
    }
    best_tuned, of_tuned = _best(panel, info, tuned, choosing)
    for name, side in levels.sides.items() if base else ():
        prompt = best or next(iter(base))
        drawn = frozenset(base[prompt]) - choosing_draws(base[prompt]).keys()
        control = Side.of(None, prompt, draws=drawn or None)
        detail = {
            "choosing_clusters": int(choosing.sum()),
            "clusters_aside": int(choosing.sum()),
            "base_on_choosing": of_base,
            "tuned_on_choosing": of_tuned,
            "best_on_choosing": name == (best_tuned or next(iter(levels.sides))),
            **levels.about,
        }
        yield Contrast("tuned_vs_best_base", side, control, pair(panel, side, control, ~choosing, without), detail)


def choosing_draws(rows: dict[int | None, int]) -> dict[int | None, int]:
    """Return the rows that choose: of draws of examples the first half, which is never tested, else the only one."""
    order = sorted(rows, key=lambda draw: (draw is not None, draw))
    return {draw: rows[draw] for draw in (order if order == [None] else order[: len(order) // 2])}


def _best(
    panel: Panel, info: Metric, rows: Mapping[str, Collection[int]], choosing: np.ndarray
) -> tuple[str | None, dict[str, float]]:
    """Return the template with the best mean on the clusters that all of them answer, and all means."""
    scored = {t: [r for r in group if np.isfinite(panel.mean[r]).any()] for t, group in rows.items()}
    scored = {t: group for t, group in scored.items() if group}
    means = {t: float(values.mean()) for t, values in on_common_clusters(panel, scored, choosing).items()}
    return best_of(means, info) if means else None, means


def noise_floor(panel: Panel, side: Side, without: Container[Any] = ()) -> Contrast:
    """Hold a level against itself over its seeds, on the clusters that all of them answer."""
    return Contrast("noise_floor", side, side, pair(panel, side, side, None, without))


def noise(floor: Contrast) -> float | None:
    """Return how far two seeds typically lie apart: sqrt(2) x SD of the seed means; None with a single seed."""
    S, C = floor.pair.shape
    return float(np.sqrt(2) * floor.pair.treatment.mean(axis=1).std(ddof=1)) if S > 1 and C else None


def noise_interval(floor: Contrast, alpha: float) -> tuple[float, ...] | None:
    """Return the chi-square interval of a standard deviation."""
    size, df = noise(floor), len(floor.pair.seeds) - 1
    tails = alpha / 2, 1 - alpha / 2
    return None if size is None else tuple(float(size * np.sqrt(df / chdtri(df, tail))) for tail in tails)
