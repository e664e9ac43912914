"""What PLAN.md asks to be said in the sentence that gives an answer: a failed control, a seed on which it hangs, rows
with long and short answers that differ, a rate at the edge of the grid, an arm that failed a gate."""

from collections.abc import Mapping
from typing import Any

QUESTIONS = ("template", "lora")


def doubts(found: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return question -> metric -> kind -> what must be said with the answer, empty where nothing."""
    return {
        question: {metric: _said(found, question, metric) for metric in found["answers"][question]}
        for question in QUESTIONS
    }


def _said(found: Mapping[str, Any], question: str, metric: str) -> dict[str, Any]:
    answer, rows = found["answers"][question][metric], deciding(found, question, metric)
    without = {seed: one[question][metric] for seed, one in found["without_a_seed"].items()}
    strata = {name: one[question] for name, one in found["strata"].items()} if metric == "nll" else {}
    sides = {one[side].partition("@")[0] for one in rows for side in ("treatment", "control")}
    return {
        "control": failed_controls(found, metric),
        "seed": {seed: other for seed, other in without.items() if other != answer},
        "strata": strata if len({*strata.values(), answer}) > 1 else {},
        "edge": [name for name in found["rates"]["at_the_edge"] if name in sides],
        "gate": sorted({gate for one in rows for gate in one["gates"]}),
    }


def deciding(found: Mapping[str, Any], question: str, metric: str) -> list[Mapping[str, Any]]:
    """Return the comparisons on which an answer rests: of pairs those that matter, or all where none does."""
    if question == "lora":
        return [one for one in found["lora"] if one["metric"] == metric and one["best_on_choosing"]]
    pairs = [one for one in found["pairs"] if one["metric"] == metric]
    return [one for one in pairs if one["verdict"] == "MATTERS"] or pairs


def failed_controls(found: Mapping[str, Any], metric: str) -> list[str]:
    """Return the controls of a metric that did not come out as planned; the planted effects are all of nll's."""
    planted = [name for name, one in found["planted"].items() if not one["holds"] and metric == "nll"]
    return planted + ["splits" for one in found["negative"] if one["metric"] == metric and not one["holds"]]
