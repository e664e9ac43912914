"""Turn one contrast into an effect with its gates and warnings, and then into a Comparison."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iikata.core.records import Comparison, Gate
from iikata.metrics import Metric
from iikata.metrics.choice import chance_of
from iikata.stats.gates import failed, finish_fault, handed_in, score_gates, shapes
from iikata.stats.interval import MIN_CLUSTERS, MIN_SEEDS, Estimate, estimate, scope_of
from iikata.stats.pairing import Side
from iikata.stats.permutation import sign_flip_p
from iikata.stats.phrases import COUNTED, SHAPES
from iikata.stats.questions import Contrast, noise, noise_interval
from iikata.stats.replicates import named, replicates
from iikata.stats.table import Panel
from iikata.stats.unpaired import estimate_unpaired
from iikata.stats.verdict import needed, verdict


@dataclass
class Draft:
    """A contrast and what was found, before the correction for many comparisons."""

    contrast: Contrast
    info: Metric
    signature: str
    noise_floor: float | None
    found: Estimate | None
    """None where there is nothing to pair."""
    p_permutation: float | None = None
    gates: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)

    @property
    def p(self) -> float | None:
        return None if self.found is None else finite(self.found.p)


def finite(value: Any) -> float | None:
    """Return a float, or None for what json cannot write."""
    return float(value) if np.isfinite(value) else None


def draft(
    contrast: Contrast,
    info: Metric,
    panel: Panel,
    finish: Panel | None,
    gates: Iterable[Gate],
    rows_left_out: float,
    floors: Mapping[str, Contrast],
    alpha: float,
) -> Draft:
    """Estimate a contrast and look at its gates; `rows_left_out` is a share of the metric's rows."""
    pair, sides = contrast.pair, (contrast.treatment, contrast.control)
    found = None
    if all(pair.shape):
        found = (
            estimate(pair.d, alpha, info.span)
            if pair.paired
            else estimate_unpaired(pair.treatment, pair.control, alpha, info.span)
        )
    made = Draft(contrast, info, " ".join(panel.signatures), _noise(floors, contrast), found)
    chance = chance_of(panel.signatures) if info.scope == "choice" else None
    made.gates = handed_in(gates, contrast.question, sides) + score_gates(pair, info, rows_left_out, chance, alpha)
    written = info.category == "content" and not info.needs_model
    if written and finish and (fault := finish_fault(finish, sides, [*pair.seeds, *pair.control_seeds])):
        if contrast.question == "matched":
            made.gates.append(fault)
        else:
            made.warnings.append(fault["detail"])
    if found is not None:
        _cross_check(made, found, alpha)
    return made


def _cross_check(made: Draft, found: Estimate, alpha: float) -> None:
    """Hold the interval against the sign flips and look at the shape of the differences."""
    pair = made.contrast.pair
    sides = [pair.d] if pair.paired else [pair.means[None], pair.treatment, pair.control]
    # Of unpaired sides each seed is looked at among its own; the clusters' differences are common.
    made.shapes = shapes(sides[0])
    made.shapes += ["odd_seed"] if any("odd_seed" in shapes(side) for side in sides[1:]) else []
    if made.info.on_rows and (made.contrast.treatment.elsewhere or made.contrast.control.elsewhere):
        made.shapes.append("unknown_rows")
    things = COUNTED["en"]["rows" if made.info.on_rows else "probes"][1]
    several = named(replicates(made.contrast.treatment, made.contrast.control, pair), "en")
    made.warnings += [SHAPES["en"][shape].format(things=things, **several) for shape in made.shapes]
    if found.identical:
        made.warnings.append("all clusters have the same difference; the interval follows the rule for that case")
    # Fewer clusters are taken as they are: flipping their signs would speak about others.
    if pair.shape[1] < MIN_CLUSTERS:
        return
    made.p_permutation = float(sign_flip_p(pair.means))
    if found.p < alpha <= made.p_permutation:
        made.gates.append(failed("permutation_disagrees", p=found.p, flipped=made.p_permutation))


def _noise(floors: Mapping[str, Contrast], contrast: Contrast) -> float | None:
    """Return how far two seeds of one recipe lie apart: the root mean square over what was trained."""
    trained = [side.trained_on for side in (contrast.treatment, contrast.control) if side.trained_on is not None]
    sizes = [noise(floors[name]) for name in trained]
    return math.sqrt(sum(s**2 for s in sizes if s is not None) / len(sizes)) if None not in sizes else None


def judge(made: Draft, p_adjusted: float | None, exploratory: bool, margin: float | None, alpha: float) -> Comparison:
    """Apply the verdict rules and write the comparison down."""
    contrast, pair, found = made.contrast, made.contrast.pair, made.found
    S, C = pair.shape
    several = replicates(contrast.treatment, contrast.control, pair)
    both_few = S < MIN_SEEDS and C < MIN_CLUSTERS
    interval, interval_90 = (
        (_within(found, half, made.info.span) for half in (found.half, found.half_90)) if found else (None, None)
    )
    word, beyond = verdict(made.gates, interval, interval_90, margin, p_adjusted, made.p_permutation, both_few, alpha)
    return _comparison(
        contrast,
        made.info,
        alpha,
        made.signature,
        difference=None if found is None else float(found.difference),
        interval=interval,
        interval_90=interval_90,
        p=made.p,
        p_holm=p_adjusted,
        verdict=word,
        beyond_margin=beyond,
        mde=None if found is None else finite(found.mde),
        needed=_needed(made, found, margin, alpha) if word == "INCONCLUSIVE" and found else None,
        gates=tuple(made.gates),
        detail={**_detail(made, exploratory), "margin": margin, "both_few": both_few, **contrast.detail}
        | ({} if set(several) == {"seeds"} else {"replicates": several}),
    )


def noise_comparison(floor: Contrast, info: Metric, alpha: float, signature: str) -> Comparison:
    """Write a noise floor down; p and verdict are None, for it decides nothing."""
    return _comparison(
        floor,
        info,
        alpha,
        signature,
        difference=noise(floor),
        interval=noise_interval(floor, alpha),
        interval_90=noise_interval(floor, 2 * alpha),
        **dict.fromkeys(("p", "p_holm", "verdict", "beyond_margin", "mde", "needed")),
        detail={"better": info.better, "unit": info.unit, "left_out": floor.pair.left_out},
    )


def _comparison(contrast: Contrast, info: Metric, alpha: float, signature: str, **found: Any) -> Comparison:
    """Return what was found beside what follows from the pair."""
    pair = contrast.pair
    S, C = pair.shape
    return Comparison(
        question=contrast.question,
        treatment=_side(contrast.treatment, pair.treatment, pair.seeds),
        control=_side(contrast.control, pair.control, pair.control_seeds),
        metric=info.name,
        level=1 - alpha,
        scope=scope_of(S, C),
        n_seeds=S,
        n_probes=pair.n_probes,
        n_clusters=C,
        n_samples=pair.n_samples,
        signature=signature,
        **found,
    )


def _within(found: Estimate, half: np.ndarray, span: float | None) -> tuple[float, float] | None:
    """Return difference -+ half, cut at the largest difference that a bounded metric can show."""
    most = np.inf if span is None else span
    low, high = max(-most, float(found.difference - half)), min(most, float(found.difference + half))
    return (low, high) if np.isfinite(half) else None


def _side(side: Side, values: np.ndarray, seeds: list[int | None]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "trained_on": side.trained_on,
        "prompted_with": side.prompted_with,
        "seeds": seeds if side.trained_on is not None else [],
        "mean": float(values.mean()) if values.size else None,
    }
    if side.levels:
        told |= {"variant": side.trained_on if len(side.cells) == 1 else None, "levels": dict(side.levels)}
    return told


def _detail(made: Draft, exploratory: bool) -> dict[str, Any]:
    pair = made.contrast.pair
    variances: tuple[Any, ...] = made.found.squares.components if made.found and min(pair.shape) > 1 else (np.nan,) * 3
    return {
        "better": made.info.better,
        "unit": made.info.unit,
        "exploratory": exploratory,
        "adjustment": "benjamini_hochberg" if exploratory else "holm",
        "p_permutation": made.p_permutation,
        "noise_floor": made.noise_floor,
        "sd": {n: finite(np.sqrt(v)) for n, v in zip(("seed", "cluster", "residual"), variances, strict=True)},
        "missing": dict(zip(("treatment", "control"), pair.missing, strict=True)),
        "left_out": pair.left_out,
        "warnings": made.warnings,
        "shapes": made.shapes,
        **({} if pair.paired else {"paired": False}),
    }


def _needed(made: Draft, found: Estimate, margin: float | None, alpha: float) -> dict[str, Any]:
    """Return the seeds and probes that would settle it; None for each where no reasonable number would.

    The goal is the margin, and without one the difference that was seen. With a single seed the spread over seeds
    is unknown and `lower_bound` is true.
    """
    pair = made.contrast.pair
    S, C = pair.shape
    size, span = abs(float(found.difference)), made.info.span
    goal = size if margin is None else margin
    if found.identical and span:
        enough = _needed_identical(size, span, margin, alpha)
        settled = {"seeds": max(S, MIN_SEEDS), "clusters": max(C, enough)} if enough else None
    else:
        settled = needed(found.squares, goal, alpha, equivalence=margin is not None) if goal > 0 else None
    if settled is None:
        return {**dict.fromkeys(("seeds", "probes", "clusters", "tested")), "lower_bound": False}
    # The clusters that choose a template or set the margin must be there, too.
    clusters = math.ceil(settled["clusters"] * (C + made.contrast.detail["clusters_aside"]) / C)
    probes = math.ceil(clusters * pair.n_probes / C)
    counts = {"probes": probes, "clusters": clusters, "tested": settled["clusters"]}
    return {"seeds": settled["seeds"], **counts, "lower_bound": S < 2}


def _needed_identical(size: float, span: float, margin: float | None, alpha: float) -> int | None:
    """Solve (1 - level^(1/C)) x span = room for C: the rule for identical clusters turned round."""
    room, level = (margin - size, 2 * alpha) if margin is not None and size < margin else (size, alpha)
    if room <= 0:
        return None
    enough = 0 if room >= span else math.ceil(math.log(level) / math.log1p(-room / span)) + 1
    return max(MIN_CLUSTERS, enough)
