"""The primary analysis of PLAN.md: the six pairs and whether LoRA was needed, Holm over both metrics of a model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from scores import Cell, Published

from iikata.core.records import Comparison
from iikata.stats import compare
from iikata.stats.verdict import holm, verdict

METRICS = ("nll", "choice")
ALPHA = 0.05
NO = ("EQUIVALENT", "SMALL")


@dataclass(frozen=True)
class Primary:
    """What PLAN.md's two questions come to for one model."""

    pairs: Sequence[Comparison]
    lora: Sequence[Comparison]
    template: Mapping[str, str]
    """metric -> yes, no or open."""
    needed: Mapping[str, str]
    """metric -> yes, no, harm or open."""
    bare: Sequence[Comparison] = ()
    """Against the untuned model under the same template and without examples: exploratory."""

    @property
    def answers(self) -> dict[str, dict[str, str]]:
        return {"template": dict(self.template), "lora": dict(self.needed)}


def primary_cells(templates: Sequence[str], without_seed: int | None = None) -> Callable[[Cell], bool]:
    """Return what tells the cells of the primary analysis: the templates under their own, and the untuned model."""

    def wanted(cell: Cell) -> bool:
        trained_on, seed, prompt = cell
        if trained_on is None:
            return True
        return trained_on in templates and prompt == trained_on and seed != without_seed

    return wanted


def primary(
    scores: Published,
    templates: Sequence[str],
    margins: Mapping[str, float | None],
    without_seed: int | None = None,
    only: Callable[[str], bool] | None = None,
) -> Primary:
    """Return the primary analysis; `without_seed` leaves a training seed out, `only` says which rows of nll count."""
    pairs: list[Comparison] = []
    lora: list[Comparison] = []
    bare: list[Comparison] = []
    for metric in METRICS:
        records = scores.records(metric, primary_cells(templates, without_seed))
        if only and metric == "nll":
            records = [one for one in records if only(one.probe)]
        margin = {metric: margins[metric]} if margins.get(metric) else {}
        info = {metric: scores[metric].info}
        found = compare(records, info, metric, margin, ALPHA, scores.gates, factor="template").comparisons
        pairs += [one for one in found if one.question == "matched"]
        lora += [one for one in found if one.question == "tuned_vs_best_base"]
        bare += [one for one in found if one.question == "tuned_vs_base"]
    pairs, lora = together(pairs), together(lora)
    template, needed = ({m: of(rows, m) for m in METRICS} for of, rows in ((of_pairs, pairs), (of_lora, lora)))
    return Primary(pairs, lora, template, needed, bare)


def together(found: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons with p adjusted over all of them, and the verdict that follows."""
    with_p = [place for place, one in enumerate(found) if one.p is not None]
    adjusted = dict(zip(with_p, holm([found[place].p or 0.0 for place in with_p]).tolist(), strict=True))
    return [_judged(one, adjusted.get(place)) for place, one in enumerate(found)]


def _judged(one: Comparison, p: float | None) -> Comparison:
    margin, detail = one.detail["margin"], one.detail
    word, beyond = verdict(
        one.gates, one.interval, one.interval_90, margin, p, detail["p_permutation"], detail["both_few"], ALPHA
    )
    return replace(one, p_holm=p, verdict=word, beyond_margin=beyond)


def of_pairs(found: Sequence[Comparison], metric: str) -> str:
    words = [one.verdict for one in found if one.metric == metric]
    return "yes" if "MATTERS" in words else "no" if words and all(word in NO for word in words) else "open"


def of_lora(found: Sequence[Comparison], metric: str) -> str:
    best = next((one for one in found if one.metric == metric and one.detail["best_on_choosing"]), None)
    if best is None or best.difference is None:
        return "open"
    if best.verdict == "MATTERS":
        return "yes" if (best.difference > 0) == (best.detail["better"] == "higher") else "harm"
    return "no" if best.verdict in NO else "open"


def told(one: Comparison) -> dict[str, Any]:
    """Return what results.json keeps of a comparison that is given no verdict."""
    sides = [f"{side['trained_on'] or 'base'}@{side['prompted_with']}" for side in (one.treatment, one.control)]
    return {
        "metric": one.metric,
        "treatment": sides[0],
        "control": sides[1],
        "means": [one.treatment["mean"], one.control["mean"]],
        "difference": one.difference,
        "interval": one.interval,
    }


def row(one: Comparison) -> dict[str, Any]:
    """Return what results.json keeps of a primary comparison."""
    return {
        **told(one),
        "interval_90": one.interval_90,
        "p": one.p,
        "p_holm": one.p_holm,
        "verdict": one.verdict,
        "beyond_margin": one.beyond_margin,
        "margin": one.detail["margin"],
        "noise_floor": one.detail["noise_floor"],
        "sd": one.detail["sd"],
        "mde": one.mde,
        "needed": one.needed,
        "seeds": one.n_seeds,
        "clusters": one.n_clusters,
        "gates": [gate["name"] for gate in one.gates],
        "shapes": one.detail["shapes"],
        **({"best_on_choosing": one.detail["best_on_choosing"]} if "best_on_choosing" in one.detail else {}),
    }
