"""Turn scores into comparisons with intervals and verdicts; needs numpy and scipy, never torch."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from iikata.core.errors import IikataError
from iikata.core.margin import share_of_gain
from iikata.core.records import Comparison, Gate, Score
from iikata.core.registry import did_you_mean
from iikata.metrics import Metric
from iikata.stats.advice import advised
from iikata.stats.estimate import Draft, draft, judge, noise_comparison
from iikata.stats.factors import Design, LevelChoice, choose, design_of, edges, failed_variants, levels_of
from iikata.stats.margins import Gain, gains, unclear
from iikata.stats.overview import assumed_metric, cell_means, left_out, remarks
from iikata.stats.pairing import common_rows
from iikata.stats.plan import Components, Power, answerable, power, tested_clusters, variance_components
from iikata.stats.profile import profiles
from iikata.stats.questions import contrasts, noise_floor
from iikata.stats.reading import read_table
from iikata.stats.sentence import sentences
from iikata.stats.table import Panel, ScoreTable, panels, tabulate
from iikata.stats.verdict import benjamini_hochberg, holm

__all__ = [
    "Components",
    "Power",
    "Result",
    "ScoreTable",
    "answerable",
    "compare",
    "power",
    "read_table",
    "tested_clusters",
    "variance_components",
]


@dataclass(frozen=True)
class Result:
    """All comparisons of an experiment and what follows from them; docs/statistics.md explains every field."""

    comparisons: list[Comparison]
    """Those of the primary metric first."""
    verdict: dict[str, Any]
    """template_matters, lora_needed, sentence_en, sentence_ja, and the metric and templates they are about."""
    left_out: dict[str, Any]
    """What no comparison uses: answers without a number, held-out rows, cells without scores."""
    warnings: list[str]
    cells: list[dict[str, Any]]
    """Mean score of every cell and metric over all seeds and probes that it has."""
    settings: dict[str, Any]
    profiles: list[dict[str, Any]] = field(default_factory=list)
    """The primary metric along each numeric factor (stats/profile.py)."""

    def to_json(self) -> dict[str, Any]:
        """Return what comparisons.json holds."""
        return asdict(self)


def compare(
    scores: ScoreTable | Iterable[Score],
    metrics: Mapping[str, Metric],
    primary: str,
    margins: Mapping[str, float | str] | None = None,
    alpha: float = 0.05,
    gates: Sequence[Gate] = (),
    better: Mapping[str, str] | None = None,
    content: str = "contains",
    factor: str | None = None,
    others: str | None = None,
    choosing_seeds: Sequence[int] = (),
) -> Result:
    """Compare all cells that the scores hold; `primary` is the one metric that the verdict stands on.

    `margins` are the smallest differences that would matter, in each metric's unit, declared beforehand, or a share
    as "10% of gain": of what tuning gains on the choosing third of the clusters, which is then not tested. Without one
    a metric is never EQUIVALENT or SMALL. What a metric that is not in `metrics` is taken for stands in the
    warnings; `better` tells the direction of such ones ("higher" where it does not). `content` is the metric of right
    answers that the advice names beside the primary.

    `factor` is what is compared (without it what varies, the template first); where more varies, `others` says how to
    deal with it: "best" of each level, chosen on `choosing_seeds`, "average", or "each". Raises IikataError for a
    primary metric without scores or direction, a margin or alpha out of range, values outside a metric's bounds, and a
    factor that the scores cannot answer about.
    """
    table = scores if isinstance(scores, ScoreTable) else tabulate(scores)
    declared, found = dict(margins or {}), panels(table)
    infos, assumed = _infos(found, metrics, better or {})
    _check({**metrics, **infos}, primary, declared, alpha)
    if primary not in infos:
        raise IikataError(f'no score of metric "{primary}". There are scores of: {", ".join(infos)}.')
    design, unsound = design_of(table.variants, factor, others), failed_variants(gates, table.variants)
    best, each = design.others == "best", design.others == "each"
    choice = choose(design, found[primary], infos[primary], choosing_seeds, unsound) if best else None
    rows = _Rows.of(found, infos, declared, unsound, alpha)
    drafts, noises = _drafted(rows, infos, design, choice, gates, alpha)
    judged = _judged(drafts, primary, rows.margins, alpha, explore=each)
    comparisons = sorted(judged + noises, key=lambda c: c.metric != primary)
    right, margin = content if content in infos else None, rows.margins.get(primary)
    own = [c for c in comparisons if c.metric == primary]
    verdict = sentences(own, infos[primary], margin, design.factor, not each, rows.gains.get(primary))
    return Result(
        comparisons=comparisons,
        verdict={**verdict, **advised(comparisons, infos, verdict, right)},
        left_out=left_out(found, table, rows.lost),
        warnings=assumed + unclear(rows.gains) + edges(choice) + remarks(found, infos, primary, table),
        cells=[row for panel in found.values() for row in cell_means(panel)],
        settings={
            "primary": primary,
            "content": right,
            "margins": rows.margins,
            "gains": {name: {**asdict(of), "margin": of.margin} for name, of in rows.gains.items()},
            "alpha": alpha,
            "metrics": [info.to_json() for info in infos.values()],
        },
        profiles=profiles(rows.panels[primary], infos[primary], choice, primary in rows.gains, alpha),
    )


@dataclass(frozen=True)
class _Rows:
    """What is compared: each metric's panel of rows that all cells have, and the margins in the metrics' units."""

    panels: dict[str, Panel]
    lost: dict[str, int]
    """Held-out rows that some cell does not have."""
    gains: dict[str, Gain]
    """Of metrics whose margin is a share of what tuning gains; a third of their clusters is not tested."""
    margins: dict[str, float]

    @classmethod
    def of(
        cls, found: Mapping[str, Panel], infos: Mapping[str, Metric], declared: Mapping[str, float | str],
        unsound: Collection[str], alpha: float,
    ) -> "_Rows":  # fmt: skip
        kept, lost = dict(found), dict.fromkeys(found, 0)
        for name, panel in found.items():
            if infos[name].category == "likelihood":
                kept[name], lost[name] = common_rows(panel)
        gained = gains(kept, infos, declared, unsound, alpha)
        sizes = {name: margin for name, margin in declared.items() if not isinstance(margin, str)}
        sizes |= {name: of.margin for name, of in gained.items() if of.margin is not None}
        return cls(kept, lost, gained, sizes)


def _drafted(
    rows: _Rows,
    infos: Mapping[str, Metric],
    design: Design,
    choice: LevelChoice | None,
    gates: Sequence[Gate],
    alpha: float,
) -> tuple[list[Draft], list[Comparison]]:
    """Return every metric's effects, not yet corrected for their number, and its noise floors."""
    drafts: list[Draft] = []
    noises: list[Comparison] = []
    for name, panel in rows.panels.items():
        info, lost, levels = infos[name], rows.lost[name] / panel.mean.shape[1], levels_of(design, panel, choice)
        sides = [side for one in levels for side in one.sides.values()]
        floors = {str(side.trained_on): noise_floor(panel, side, choice.seeds if choice else ()) for side in sides}
        for one in contrasts(panel, info, levels, choice, third_aside=name in rows.gains):
            drafts.append(draft(one, info, panel, rows.panels.get("finish"), gates, lost, floors, alpha))
        noises += [noise_comparison(floor, info, alpha, " ".join(panel.signatures)) for floor in floors.values()]
    return drafts, noises


def _infos(
    found: Mapping[str, Panel], metrics: Mapping[str, Metric], better: Mapping[str, str]
) -> tuple[dict[str, Metric], list[str]]:
    """Return what is known of each metric that has scores, and what had to be assumed."""
    assumed = {
        name: assumed_metric(name, panel.mean, better.get(name)) for name, panel in found.items() if name not in metrics
    }
    infos = {name: metrics[name] if name in metrics else assumed[name][0] for name in found}
    return infos, [note for _, note in assumed.values()]


def _check(known: Mapping[str, Metric], primary: str, margins: Mapping[str, float | str], alpha: float) -> None:
    """Raise IikataError for a question that has no answer; `known`: the metrics declared or scored."""
    for name in (primary, *margins):
        if name not in known:
            raise IikataError(f'metric "{name}" is unknown{did_you_mean(name, known)}. Known: {", ".join(known)}.')
    if known[primary].better == "none":
        raise IikataError(f'metric "{primary}" knows no better or worse and cannot be the primary one; name another.')
    for name, margin in margins.items():
        _check_margin(name, margin, known[name])
    if not 0 < alpha < 0.5:
        raise IikataError(f"alpha must lie between 0 and 0.5, saw {alpha}.")


def _check_margin(name: str, margin: float | str, info: Metric) -> None:
    if isinstance(margin, str):
        try:
            share_of_gain(margin)
        except ValueError as error:
            raise IikataError(f"the margin of {name}: {error}.") from None
        if info.better == "none":
            raise IikataError(f'metric "{name}" knows no better or worse, so tuning gains nothing; give a number.')
    elif not (np.isfinite(margin) and margin > 0):
        raise IikataError(f"the margin of {name} must be above 0, saw {margin}.")
    elif info.bounds and margin >= (info.span or 0.0):
        points = " Percentage points are hundredths: 10 are 0.10." if info.is_share else ""
        raise IikataError(f"the margin of {name}, {margin:g}, covers all of its range {info.bounds}.{points}")


def _judged(
    drafts: Sequence[Draft], primary: str, margins: Mapping[str, float], alpha: float, explore: bool
) -> list[Comparison]:
    """Adjust p within each family: a question on the primary metric by Holm, on all the others together by BH.

    `explore`: the primary's too, where each of the other settings has comparisons of its own.
    """
    families: dict[tuple[str, bool], list[int]] = {}
    for i, d in enumerate(drafts):
        if d.p is not None:
            families.setdefault((d.contrast.question, d.info.name == primary and not explore), []).append(i)
    adjusted: dict[int, float] = {}
    for (_, is_primary), family in families.items():
        values = (holm if is_primary else benjamini_hochberg)([drafts[i].p or 0.0 for i in family])
        adjusted |= dict(zip(family, values.tolist(), strict=True))
    return [
        judge(d, adjusted.get(i), d.info.name != primary or explore, margins.get(d.info.name), alpha)
        for i, d in enumerate(drafts)
    ]
