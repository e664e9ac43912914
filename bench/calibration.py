"""Simulate experiments whose truth is known and count how often iikata, and its peers, are wrong.

    python bench/calibration.py [--sims N] [--quick]

Prints the Markdown tables of docs/statistics.md. An experiment is S seeds x C probe clusters x up to 4 templates,
20 samples an answer; iikata's own code judges all of them (compare.interval, .permutation, .verdict; a test holds
that the whole `compare` says the same). Every cell of the table has its own named seed.
"""

import argparse
import importlib.util
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

import numpy as np
from scipy.special import ndtr, stdtr

from iikata.stats.gates import shapes
from iikata.stats.interval import MIN_CLUSTERS, estimate
from iikata.stats.permutation import sign_flip_p
from iikata.stats.verdict import holm, verdict

ALPHA, MARGIN, SAMPLES = 0.05, 0.10, 20
SEEDS, PROBES, SEED_SD = (3, 5, 8), (12, 40, 100), (0.0, 0.02, 0.05, 0.10)
BOUNDED = ("bounded", "clusters", "missing", "base")
PROMISED = (*BOUNDED, "heavy")
SKEWED = ("one template fails on 3% of the probes", "10% of one template's seeds collapse", "lognormal differences")


@dataclass(frozen=True)
class Design:
    """One cell of the table: how large the experiment is and how its scores come about."""

    kind: str
    S: int
    C: int
    seed_sd: float
    """SD over seeds of one template's mean score."""
    templates: int = 4

    def rng(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{purpose} {self}".encode()))


def effects(design: Design, rng: np.random.Generator, sims: int) -> np.ndarray:
    """Return seed and probe effects [sim, template, S, C], symmetric about 0 unless the kind is a skewed one."""
    T, S, C = design.templates, design.S, design.C
    draw = rng.standard_normal
    if design.kind == "heavy":  # t with 3 degrees of freedom, scaled to an SD of 1
        draw = lambda size: rng.standard_t(3, size) / np.sqrt(3)  # noqa: E731
    probe = 0.07 * draw((sims, T, 1, C))
    seed = design.seed_sd * draw((sims, T, S, 1))
    if design.kind == "one template fails on 3% of the probes":
        probe[:, 0] += 0.6 * 0.03 - 0.6 * (rng.random((sims, 1, C)) < 0.03)
    if design.kind == "10% of one template's seeds collapse":
        seed[:, 0] += 0.4 * 0.1 - 0.4 * (rng.random((sims, S, 1)) < 0.1)
    if design.kind == "lognormal differences":
        probe[:, 0] = 0.07 * (rng.lognormal(0, 1, (sims, 1, C)) - np.exp(0.5))
    if design.kind == "base":
        seed[:, 1] = 0
    return probe + seed


def scores(design: Design, rng: np.random.Generator, sims: int, shift: float = 0.0) -> np.ndarray:
    """Return mean scores [sim, template, S, C] with `shift` added to the first template's true mean.

    Bounded kinds: the share of an answer's samples that are right, whose probability is around 0.4..0.6 by probe.
    missing: a tenth of the samples and 1% of the answers have no score. base: the second template is the untuned
    model, one row for all seeds. The other kinds are unbounded numbers.
    """
    y = effects(design, rng, sims)
    y[:, 0] += shift
    if span_of(design.kind):
        size = rng.integers(1, 5, design.C) if design.kind == "clusters" else np.ones(design.C, dtype=int)
        means = np.zeros_like(y)
        for member in range(size.max()):
            probe = rng.uniform(-0.1, 0.1, (sims, 1, 1, design.C))
            right = np.clip(0.5 + probe + y, 0, 1)
            scored = rng.binomial(SAMPLES, 0.9, y.shape) if design.kind == "missing" else SAMPLES
            means += np.where(member < size, rng.binomial(scored, right) / np.maximum(scored, 1), 0)
        if design.kind == "missing":
            means[rng.random(y.shape) < 0.01] = np.nan
        if design.kind == "base":
            means[:, 1] = means[:, 1, :1]
        return means / size
    noise = rng.standard_t(3, y.shape) / np.sqrt(3) if design.kind == "heavy" else rng.standard_normal(y.shape)
    return y + 0.5 / np.sqrt(SAMPLES) * noise


@dataclass
class Judged:
    """What iikata says of the same pair of templates in all simulated experiments; arrays of [sim]."""

    difference: np.ndarray
    half: np.ndarray
    half_90: np.ndarray
    p: np.ndarray
    p_permutation: np.ndarray
    recipe: np.ndarray
    """bool: False where too few complete clusters are left to speak about other probes; p is 1 there."""


def judge(d: np.ndarray, span: float | None) -> Judged:
    """Estimate d[sim, S, C] on its complete clusters; the permutation only where the interval excludes 0."""
    n = len(d)
    told = Judged(*(np.full(n, value) for value in (0.0, np.inf, np.inf, 1.0, 1.0)), recipe=np.zeros(n, dtype=bool))
    complete = np.isfinite(d).all(axis=1)
    count = complete.sum(axis=1)
    for C in np.unique(count[count >= MIN_CLUSTERS]):
        sims = np.flatnonzero(count == C)
        order = np.argsort(~complete[sims], axis=1, kind="stable")[:, :C]
        whole = np.take_along_axis(d[sims], order[:, None, :], axis=2)
        found = estimate(whole, ALPHA, span)
        told.recipe[sims] = True
        for name in ("difference", "half", "half_90", "p"):
            getattr(told, name)[sims] = getattr(found, name)
        low = found.p < ALPHA
        told.p_permutation[sims[low]] = sign_flip_p(whole[low].mean(axis=1))
    return told


def verdicts(pairs: Sequence[Judged], sim: int, margin: float | None) -> list[str]:
    """Return the verdicts of one experiment's pairs, with Holm over them and the permutation's gate."""
    adjusted = holm([float(j.p[sim]) for j in pairs])
    told = []
    for j, p in zip(pairs, adjusted, strict=True):
        disagree = ["permutation"] if j.p[sim] < ALPHA <= j.p_permutation[sim] else []
        half, half_90, flips = (float(x[sim]) for x in (j.half, j.half_90, j.p_permutation))
        told.append(word(float(j.difference[sim]), half, half_90, float(p), flips, margin, disagree))
    return told


def word(
    middle: float, half: float, half_90: float, p: float, flips: float, margin: float | None, gates: Sequence[str] = ()
) -> str:
    """Return the verdict on a difference with the half widths of its intervals."""
    interval, interval_90 = (middle - half, middle + half), (middle - half_90, middle + half_90)
    return verdict(list(gates), interval, interval_90, margin, p, flips, False, ALPHA)[0]


def span_of(kind: str) -> float | None:
    return 1.0 if kind in BOUNDED else None


def row(design: Design, sims: int) -> dict[str, float]:
    """Return iikata's error rates and power in one cell of the table."""
    y = scores(design, design.rng("null"), sims)
    span = span_of(design.kind)
    pairs = {(a, b): judge(y[:, a] - y[:, b], span) for a, b in combinations(range(design.templates), 2)}
    rates = {"false positive": np.mean([np.mean(j.p < ALPHA, where=j.recipe) for j in pairs.values()])}
    for T in range(2, design.templates + 1):
        family = [pairs[pair] for pair in combinations(range(T), 2)]
        candidates = np.flatnonzero(np.min([j.p for j in family], axis=0) < ALPHA)
        rates[f"family of {T}"] = sum("MATTERS" in verdicts(family, sim, None) for sim in candidates) / sims
    covered = [np.mean(np.abs(j.difference) <= j.half, where=j.recipe) for j in pairs.values()]
    rates["coverage"] = np.mean(covered)
    two = replace(design, templates=2)
    moved = scores(two, two.rng("shift"), sims, MARGIN)
    shifted = judge(moved[:, 0] - moved[:, 1], span)
    told = np.array([verdicts([shifted], sim, MARGIN)[0] for sim in range(sims)])
    rates["false equivalent"] = np.mean(np.isin(told, ["EQUIVALENT", "SMALL"]), where=shifted.recipe)
    rates["coverage at margin"] = np.mean(np.abs(shifted.difference - MARGIN) <= shifted.half, where=shifted.recipe)
    rates["power"] = np.mean((shifted.p < ALPHA) & (shifted.p_permutation < ALPHA), where=shifted.recipe)
    rates["bound"] = textbook_power(shifted.difference[shifted.recipe].std(ddof=1))
    if design.kind in SKEWED:
        rates["warned"] = np.mean([bool(shapes(d)) for d in y[:, 0] - y[:, 1]])
    return {name: float(rate) for name, rate in rates.items()}


def textbook_power(true_se: float) -> float:
    """Return the power of a z test that knows the true standard error of the difference: no valid test has more."""
    z = MARGIN / true_se
    return float(ndtr(z - 1.959964) + ndtr(-z - 1.959964))


def peers(design: Design, sims: int) -> dict[str, float]:
    """Return how often other methods call a difference that is not there, on the experiments of `row`."""
    y = scores(design, design.rng("null"), sims)
    one, two = y[:, 0], y[:, 1]
    d = one - two
    told = {
        "pooled z": np.mean(pooled_z(one, two) < ALPHA),
        "paired t over probes": np.mean(paired_t(d) < ALPHA),
        "crossed bootstrap": np.mean(crossed_bootstrap(d, design.rng("bootstrap")) < ALPHA),
    }
    return {name: float(rate) for name, rate in told.items()}


def pooled_z(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Two-proportion z test on all samples of all seeds and probes, as if they were independent."""
    n = one[0].size * SAMPLES
    a, b = one.mean(axis=(1, 2)), two.mean(axis=(1, 2))
    pooled = (a + b) / 2
    return 2 * ndtr(-np.abs(a - b) / np.sqrt(2 * pooled * (1 - pooled) / n))


def paired_t(d: np.ndarray) -> np.ndarray:
    """Paired t test over probes; an answer's seeds and samples are averaged first."""
    means = d.mean(axis=1)
    C = means.shape[1]
    return 2 * stdtr(C - 1, -np.abs(means.mean(axis=1)) / (means.std(axis=1, ddof=1) / np.sqrt(C)))


def crossed_bootstrap(d: np.ndarray, rng: np.random.Generator, resamples: int = 1000) -> np.ndarray:
    """Percentile bootstrap that draws seeds and probes anew; returns twice the smaller tail."""
    sims, S, C = d.shape
    seeds = rng.multinomial(S, np.full(S, 1 / S), resamples) / S
    probes = rng.multinomial(C, np.full(C, 1 / C), resamples) / C
    tails = np.empty(sims)
    for sim in range(sims):
        means = ((seeds @ d[sim]) * probes).sum(axis=1)
        tails[sim] = 2 * min((means <= 0).mean(), (means >= 0).mean())
    return tails


def evalstats_rate(design: Design, sims: int) -> float | None:
    """Return evalstats' rate with the training seed given as its `run`; None where it is not installed."""
    if importlib.util.find_spec("evalstats") is None:
        return None
    from evalstats import pairwise_differences

    y = scores(design, design.rng("null"), sims)
    wrong = 0
    for sim in range(sims):
        table = np.swapaxes(y[sim, :2], 1, 2)  # evalstats wants [template, probe, run]
        told = pairwise_differences(table, 0, 1, n_bootstrap=2000, rng=np.random.default_rng(sim))
        wrong += told.ci_low > 0 or told.ci_high < 0
    return wrong / sims


def grid(kind: str) -> list[Design]:
    templates = 2 if kind == "base" else 4
    return [Design(kind, S, C, sd, templates) for S, C, sd in product(SEEDS, PROBES, SEED_SD)]


def percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def tabulate(
    about: str, head: Sequence[str], designs: Iterable[Any], row: Callable[[Any, int], Sequence[object]], said: str,
    usual: int = 4000,
) -> None:  # fmt: skip
    """Read --sims from the command line and print a row of the table for each design."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--sims", type=int, default=usual, help=f"simulated experiments a row (default {usual})")
    sims = parser.parse_args().sims
    print(f"{sims} experiments a row; {said}in percent.\n")
    print(table(head, [row(design, sims) for design in designs]))


OURS = ("false positive", "family of 2", "family of 3", "family of 4", "coverage", "coverage at margin")
OURS = (*OURS, "false equivalent", "power", "bound")
WORST = {name: min if name.startswith("coverage") else max for name in OURS[:7]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sims", type=int, default=5000, help="simulated experiments a cell (default 5000)")
    parser.add_argument("--quick", action="store_true", help="300 experiments a cell: for a look, not for a verdict")
    args = parser.parse_args()
    sims = 300 if args.quick else args.sims
    start = time.process_time()
    error = 100 * np.sqrt(0.05 * 0.95 / sims)
    print(f"{sims} experiments a cell; Monte-Carlo standard error of a rate of 5%: {error:.2f} points.\n")
    worst = []
    for kind in PROMISED:
        rows = {design: row(design, sims) for design in grid(kind)}
        if kind == "bounded":
            print("### iikata, bounded scores (%)\n")
            print(table(("S x C", "seed SD", *OURS), [cell(d, [r[n] for n in OURS]) for d, r in rows.items()]))
        told = {name: [r[name] for r in rows.values() if name in r] for name in WORST}
        worst.append([kind, *(percent(pick(told[name], default=None)) for name, pick in WORST.items())])
    print("### The worst of 36 cells for each kind of scores (%)\n")
    print(table(("scores", *WORST), worst))
    print("### Shapes that no promise covers, two templates (%)\n")
    names = ("false positive", "coverage", "coverage at margin", "false equivalent", "warned")
    odd = [Design(kind, S, C, 0.02, 2) for kind in SKEWED for S, C in ((3, 12), (3, 40), (5, 40), (8, 100))]
    rates = {design: row(design, sims) for design in odd}
    print(
        table(
            ("shape", "S x C", "seed SD", *names), [[d.kind, *cell(d, [r[n] for n in names])] for d, r in rates.items()]
        )
    )
    print_peers(min(sims, 2000), min(sims, 200))
    print(f"CPU time {time.process_time() - start:.0f} s.", file=sys.stderr)


def cell(design: Design, rates: Sequence[float | None]) -> list[str]:
    return [f"{design.S} x {design.C}", f"{design.seed_sd:.2f}", *map(percent, rates)]


def print_peers(sims: int, slow_sims: int) -> None:
    """Print false positives of iikata and of other methods on the same bounded experiments."""
    rows = []
    for S, C, sd in product((3, 5, 8), (40, 100), (0.0, 0.05)):
        design = Design("bounded", S, C, sd)
        ours = row(design, sims)["false positive"]
        rows.append(cell(design, [ours, *peers(design, sims).values(), evalstats_rate(design, slow_sims)]))
    print(
        f"### Differences called where there is none, bounded scores (%; {sims} experiments, evalstats {slow_sims})\n"
    )
    methods = ("iikata", "pooled z", "paired t over probes", "crossed bootstrap", "evalstats, seed as run")
    print(table(("S x C", "seed SD", *methods), rows))


if __name__ == "__main__":
    main()
