"""The checks that must hold before a comparison may be believed, and the shapes to warn of."""

import re
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np

from iikata.core.records import Gate
from iikata.metrics import Metric
from iikata.stats.interval import estimate
from iikata.stats.pairing import Pair, Side
from iikata.stats.phrases import REASONS
from iikata.stats.table import Panel

FLOOR = 0.05
MOST_MISSING_APART = 0.05
MOST_ROWS_LEFT_OUT = 0.2
LEAST_FINISH = 0.5


def failed(name: str, **about: Any) -> dict[str, Any]:
    """Return a failed gate as it stands in comparisons.json; `about` is what its reason names."""
    return _told(name, "", *(REASONS[language][name].format(**about) for language in REASONS))


def _told(name: str, subject: str, detail: str, detail_ja: str) -> dict[str, Any]:
    return {"name": name, "subject": subject, "passed": False, "detail": detail, "detail_ja": detail_ja}


def handed_in(gates: Iterable[Gate], question: str, sides: Sequence[Side]) -> list[dict[str, Any]]:
    """Return the failed gates whose subject has part in the comparison.

    An arm counts under every seed, scored or not: to leave out the seeds that went wrong and to go on with the
    rest would be to choose the sample by its outcome. A pair `a|b` of templates concerns the questions in which
    one template is held against the other.
    """
    subjects: set[str | None] = set()
    for trained_on, prompt in (cell for side in sides for cell in side.cells):
        arm = "base" if trained_on is None else f"{trained_on}.s"
        subjects |= {trained_on, prompt, arm, f"{arm}@{prompt}"}
    if question in ("matched", "mismatch"):
        for one, two in product(*({prompt for _, prompt in side.cells} for side in sides)):
            subjects |= {f"{one}|{two}", f"{two}|{one}"}
    mine = (gate for gate in gates if not gate.passed and _any_seed(gate.subject) in subjects)
    return [_told(gate.name, gate.subject, gate.detail, gate.detail_ja or gate.detail) for gate in mine]


def _any_seed(subject: str) -> str:
    """Return the subject with an arm's seed left out: `alpaca.s2@rinna` is `alpaca.s@rinna`."""
    return re.sub(r"\.s-?\d+(?=@|$)", ".s", subject)


def score_gates(
    pair: Pair, info: Metric, rows_left_out: float, chance: float | None = None, alpha: float = 0.05
) -> list[dict[str, Any]]:
    """Return the failed gates that the compared scores themselves show; `rows_left_out` is a share.

    `chance` is what guessing comes to: two cells that may both be guessing are no equal answers.
    """
    gates = []
    one, two = pair.missing
    if info.category == "likelihood" and rows_left_out > MOST_ROWS_LEFT_OUT:
        gates.append(failed("rows_left_out", left_out=rows_left_out))
    if info.category != "likelihood" and abs(one - two) > MOST_MISSING_APART:
        gates.append(failed("missing_scores", one=one, two=two))
    if not all(pair.shape):
        gates.append(failed("nothing_to_pair"))
    elif info.is_rate:
        low, high = sorted((pair.treatment.mean(), pair.control.mean()))
        if high <= FLOOR or low >= 1 - FLOOR:
            gates.append(failed("floor" if high <= FLOOR else "ceiling", low=low, high=high))
        if chance is not None and all(_may_guess(side, chance, alpha) for side in (pair.treatment, pair.control)):
            gates.append(failed("chance", low=low, high=high, chance=chance))
    return gates


def _may_guess(side: np.ndarray, chance: float, alpha: float) -> bool:
    """Return whether the interval of a cell's share [S, C] includes chance."""
    found = estimate(side - chance, alpha, 1.0)
    return not abs(found.difference) > found.half


def finish_fault(finish: Panel, sides: Sequence[Side], seeds: Sequence[Any]) -> dict[str, Any] | None:
    """Return the failed gate of a cell that ends fewer than half of its answers; None where all end more."""
    for trained_on, prompt in (cell for side in sides for cell in side.cells):
        rows = finish.rows(trained_on, prompt)
        # No seed stands for all of them: scores that were averaged over seeds.
        means = finish.mean[[row for seed, row in rows.items() if seed is None or None in seeds or seed in seeds]]
        rate = means[np.isfinite(means)].mean() if np.isfinite(means).any() else 1.0
        if rate < LEAST_FINISH:
            return failed("finish_rate", rate=rate, cell=f"{trained_on or 'base'}@{prompt}")
    return None


def shapes(d: np.ndarray) -> list[str]:
    """Return what in d[S, C] the interval does not promise to cover: rare failures, skew, a seed far off."""
    S, C = d.shape
    told = []
    means, seeds = d.mean(axis=0), d.mean(axis=1)
    off = np.sort(np.abs(means - np.median(means)))[::-1]
    if C >= 10 and off[0] > 0:
        spread = means - means.mean()
        skewness = abs((spread**3).mean()) / (spread**2).mean() ** 1.5
        if off[: max(1, C // 10)].sum() > 0.6 * off.sum():
            told.append("rare_large")
        elif skewness > max(0.7, 2.6 * np.sqrt(6 / C)):  # a normal sample goes beyond once in a hundred times
            told.append("skewed")
    if S >= 3:
        apart = np.sort(np.abs(seeds - np.median(seeds)))
        noise = (d - means).std() / np.sqrt(C)
        if apart[-1] > (8 if S < 5 else 5) * apart[S // 2] + 4 * noise:
            told.append("odd_seed")
    return told
