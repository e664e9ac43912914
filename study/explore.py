"""What the study shows beside its two questions; all of it exploratory and without a verdict."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from controls import contrast
from scores import Probes, Published, shots_of

from iikata.stats import power, variance_components

SHOWN = ("nll", "choice", "contains", "finish", "leakage", "length", "repetition")
DRAWS, QUESTIONS, SAMPLES = 10_000, 2, 5
"""As the post: two questions, five answers each, one training seed."""
SEEN = 0.10
"""A difference of right answers that a reader would notice."""


def matrix(scores: Published, trained: Sequence[str], prompts: Sequence[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Return metric -> trained on -> prompted with -> mean over seeds, probes and samples; the untuned model first."""
    made: dict[str, dict[str, dict[str, float]]] = {}
    for metric in (name for name in SHOWN if name in scores):
        for name in (None, *trained):
            row = {prompt: scores[metric].level(name, prompt) for prompt in prompts}
            known = {prompt: value for prompt, value in row.items() if value is not None}
            made.setdefault(metric, {})[name or "base"] = known
    return made


def untuned(scores: Published) -> dict[str, dict[str, float]]:
    """Return metric -> prompt, with examples or without -> the untuned model's mean."""
    prompts = sorted({p for t, _, p in scores["nll"].mean if t is None}, key=lambda p: (shots_of(p), p))
    made = {}
    for metric in ("nll", "choice", "contains", "finish"):
        if metric in scores:
            levels = {prompt: scores[metric].level(None, prompt) for prompt in prompts}
            made[metric] = {prompt: value for prompt, value in levels.items() if value is not None}
    return made


def price(
    scores: Published | Mapping[str, Probes], templates: Sequence[str], prompts: Sequence[str]
) -> list[dict[str, Any]]:
    """Return what it costs each template's adapters to be prompted with another."""
    made = []
    for metric in (name for name in ("nll", "choice", "contains", "finish", "leakage") if name in scores):
        for trained in templates:
            for prompt in (one for one in prompts if one != trained):
                found = contrast(scores[metric], (trained, prompt), (trained, trained))
                made.append({"metric": metric, "trained_on": trained, "prompted_with": prompt, **found})
    return made


def mixture(scores: Published, templates: Sequence[str], asked: str) -> list[dict[str, Any]]:
    """Return the mixture less each template's own adapters: under that template, and under one that neither saw."""
    made = []
    for metric in (name for name in ("nll", "choice", "contains", "finish") if name in scores):
        for template in templates:
            for prompt in (template, asked):
                found = contrast(scores[metric], ("mixed", prompt), (template, prompt))
                made.append({"metric": metric, "template": template, "prompted_with": prompt, **found})
    return made


def shares(scores: Published, templates: Sequence[str], samples: int) -> dict[str, dict[str, float]]:
    """Return, for a score of one answer of one adapter, the share of its variance that each source makes."""
    made = {}
    for metric in (name for name in SHOWN if name in scores):
        records = scores.records(metric, lambda cell: cell[0] in templates and cell[2] == cell[0])
        parts = variance_components(records, metric)
        of = [
            scores[metric].variance[cell]
            for cell in scores[metric].variance
            if cell[0] in templates and cell[0] == cell[2]
        ]
        within = float(np.nanmean(np.concatenate(of))) if np.isfinite(np.concatenate(of)).any() else 0.0
        found = {
            "seed": parts.seed**2 + parts.seed_template**2,
            "probe": parts.probe**2 + parts.probe_template**2,
            "sample": within,
            "rest": max(0.0, parts.residual**2 - within / samples),
        }
        total = sum(found.values())
        made[metric] = {
            **{name: value / total if total else 0.0 for name, value in found.items()},
            "sd_seed_template": parts.seed_template,
            "sd_probe_template": parts.probe_template,
            "variance": total,
        }
    return made


def powers(scores: Published, templates: Sequence[str], alpha: float) -> dict[str, dict[str, Any]]:
    """Return what these seeds and probes can find and show, and what one more seed's price would buy."""
    made = {}
    for metric in ("nll", "choice"):
        records = scores.records(metric, lambda cell: cell[0] in templates and cell[2] == cell[0])
        parts = variance_components(records, metric)
        seeds = len({one.seed for one in records})
        clusters = len({one.cluster for one in records if np.isfinite(one.value)})
        found = power(parts, seeds, clusters, 1, len(templates), alpha / 2)  # Holm's first step is over both metrics
        made[metric] = {
            "seeds": seeds,
            "clusters": clusters,
            "detectable": found.detectable,
            "equivalent_margin": found.equivalent_margin,
            "buys_most": found.buys_most,
        }
    return made


def five_samples(probes: Probes, templates: Sequence[str]) -> list[dict[str, Any]]:
    """Return how often two questions and five answers each, of one seed, show what all scores show.

    Drawn from the real answers without replacement: a cell's right ones among its samples to a probe.
    """
    rng = np.random.default_rng([2023, len(probes.names)])
    made = []
    for one, two in combinations(templates, 2):
        sides = [probes.rows(name, name) for name in (one, two)]
        seeds = [seed for seed in sides[0] if seed in sides[1]]
        cells = [[(name, seed, name) for seed in seeds] for name in (one, two)]
        keep = np.flatnonzero(probes.whole([cell for own in cells for cell in own]))
        right, wrong = (np.stack([[_counts(probes, cell, keep)[k] for cell in own] for own in cells]) for k in (0, 1))
        seed = rng.integers(len(seeds), size=DRAWS)
        asked = np.argsort(rng.random((DRAWS, len(keep))), axis=1)[:, :QUESTIONS]
        drawn = rng.hypergeometric(right[:, seed[:, None], asked], wrong[:, seed[:, None], asked], SAMPLES)
        seen = (drawn[0] - drawn[1]).sum(axis=1) / (QUESTIONS * SAMPLES)
        total = right + wrong
        true = float((right[0] / total[0] - right[1] / total[1]).mean())
        made.append({
            "treatment": one,
            "control": two,
            "difference": true,
            "no_difference_seen": float(np.mean(seen == 0)),
            "wrong_direction": float(np.mean(seen * true < 0)),
            "large_difference_seen": float(np.mean(np.abs(seen) >= SEEN - 1e-9)),
            "spread": float(seen.std()),
        })  # fmt: skip
    return made


def _counts(probes: Probes, cell: Any, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many of a cell's answers to each probe are right, and how many are not."""
    count = probes.count[cell][keep].astype(int)
    right = np.rint(probes.mean[cell][keep] * count).astype(int)
    return right, count - right


def curves(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return each template's mean along the rates, and the templates' ranking at each rate and at each one's best."""
    means: dict[str, dict[str, float]] = {}
    for key, value in chosen["means"].items():
        template, _, rate = key.rpartition("+lr")
        means.setdefault(template, {})[rate] = value
    grid = sorted({rate for own in means.values() for rate in own}, key=float)
    ranking = {
        rate: sorted((one for one in means if rate in means[one]), key=lambda one: means[one][rate]) for rate in grid
    }
    best, rates = sorted(means, key=lambda one: means[one][chosen["rates"][one]]), dict(chosen["rates"])
    return {
        "grid": grid,
        "means": means,
        "ranking": ranking,
        "ranking_at_best": best,
        "rates": rates,
        "at_the_edge": chosen["at_the_edge"],  # of all rates tried, those of which an arm failed among them
    }
