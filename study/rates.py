"""PLAN.md's rules of choice: each template's rate, whether the grid must grow, the margin, the planted effects' sizes.

Reads the score lines of choose.yaml's run and pilot.yaml's, and nothing that is tested later.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import declare

STEPS_BEYOND = 2
"""The grid grows by so many rates at either end, and no further."""
MARGIN_SHARE = 0.10
Means = dict[tuple[str, str], float]
"""(template, rate) -> mean of nll over seeds and rows."""


def score_lines(run: Path, metric: str = "nll") -> list[dict[str, Any]]:
    with (run / "score" / f"{metric}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def failed_arms(run: Path) -> set[str]:
    """Return the arms, as `alpaca+lr1e-4.s100`, that a gate found fault with."""
    found = json.loads((run / "check" / "gates.json").read_text(encoding="utf-8"))
    return {gate["subject"].partition("@")[0] for gate in found if not gate["passed"]}


def whole(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the lines of the rows that every cell could score."""
    lost = {line["probe"] for line in lines if line["value"] is None}
    return [line for line in lines if line["probe"] not in lost]


def mean_of(lines: Iterable[Mapping[str, Any]]) -> float:
    values = [line["value"] for line in lines]
    return sum(values) / len(values)


def tuned_means(lines: Sequence[Mapping[str, Any]], failed: set[str]) -> Means:
    """Return the mean of each template and rate under its own template; without a rate of which an arm failed."""
    of: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    bad = set()
    for line in lines:
        if line["trained_on"] and line["prompted_with"] == line["template"]:
            key = line["template"], line["levels"]["train.learning_rate"]
            of[key].append(line)
            if f"{line['trained_on']}.s{line['seed']}" in failed:
                bad.add(key)
    return {key: mean_of(own) for key, own in of.items() if key not in bad}


def best_rates(means: Means) -> dict[str, str]:
    """Return each template's rate with the lowest mean; of equal ones the lower rate."""
    templates = dict.fromkeys(template for template, _ in means)
    return {
        one: min((r for t, r in means if t == one), key=lambda rate: (means[one, rate], float(rate)))
        for one in templates
    }


def next_grid(best: Mapping[str, str], grid: Sequence[float]) -> list[float] | None:
    """Return the grid with one more rate where some template's best lies at its edge; None where it stays."""
    low, high = min(grid), max(grid)
    chosen = {float(rate) for rate in best.values()}
    below = sum(rate < min(declare.GRID) * 0.99 for rate in grid)
    above = sum(rate > max(declare.GRID) * 1.01 for rate in grid)
    if high in chosen and above < STEPS_BEYOND:
        return [*grid, _stepped(high, up=True)]
    if low in chosen and below < STEPS_BEYOND:
        return [_stepped(low, up=False), *grid]
    return None


def _stepped(rate: float, up: bool) -> float:
    """Return the next rate of 1, 3, 10, 30, ..."""
    mantissa, exponent = declare.written(rate).split("e")
    if up:
        return float(f"3e{exponent}") if mantissa == "1" else float(f"1e{int(exponent) + 1}")
    return float(f"1e{exponent}") if mantissa == "3" else float(f"3e{int(exponent) - 1}")


def base_means(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the untuned model's mean under each prompt, over draws where it was shown examples."""
    of: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        if line["trained_on"] is None:
            of[line["prompted_with"]].append(line)
    return {prompt: mean_of(own) for prompt, own in of.items()}


def planted(lines: Sequence[Mapping[str, Any]], control: str) -> dict[str, float]:
    """Return how much worse nll gets by exchanged answers, under the control's template."""
    own = [line for line in lines if line["trained_on"] and line["prompted_with"] == control]
    by = {name: mean_of(line for line in own if line["trained_on"] == name) for name in {o["trained_on"] for o in own}}
    return {name: mean - by["clean"] for name, mean in sorted(by.items()) if name != "clean"}


def chosen(model: str, choose: Path, pilot: Path | None, grid: Sequence[float]) -> dict[str, Any]:
    """Return what chosen.json holds."""
    lines = whole(score_lines(choose))
    means, base = tuned_means(lines, failed_arms(choose)), base_means(lines)
    rates = best_rates(means)
    expected = {declare.name_of(one) for one in declare.STUDIES[model].templates}
    if rates.keys() != expected:
        raise SystemExit(f"{choose}: no sound rate for {', '.join(sorted(expected - rates.keys()))}.")
    tuned = sum(means[template, rate] for template, rate in rates.items()) / len(rates)
    best = min(base, key=base.__getitem__)
    gain = base[best] - tuned
    edge = [t for t, r in rates.items() if float(r) in (min(grid), max(grid))]
    return {
        "model": model,
        "grid": [declare.written(rate) for rate in grid],
        "rates": {name: rates[name] for name in map(declare.name_of, declare.STUDIES[model].templates)},
        "at_the_edge": edge,
        "best_base": best,
        "gain": gain,
        "margin": {"nll": float(f"{MARGIN_SHARE * gain:.3g}") if gain > 0 else None, "choice": declare.CHOICE_MARGIN},
        "foretold": planted(whole(score_lines(pilot)), declare.STUDIES[model].control) if pilot else None,
        "means": {f"{template}+lr{rate}": mean for (template, rate), mean in means.items()},
        "base_means": base,
        "rows": len({line["probe"] for line in lines}),
    }
