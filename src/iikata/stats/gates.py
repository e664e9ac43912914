"""The checks that must hold before a comparison may be believed, and the shapes to warn of."""

import re
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np

from iikata.core.bilingual import NOT_SAID, Both
from iikata.core.records import Gate
from iikata.metrics import Metric
from iikata.stats.interval import estimate
from iikata.stats.pairing import Pair, Side
from iikata.stats.table import Panel

FLOOR = 0.05
MOST_MISSING_APART = 0.05
MOST_ROWS_LEFT_OUT = 0.2
LEAST_FINISH = 0.5


def failed(name: str, detail: Both, subject: str = "") -> dict[str, Any]:
    """Return a failed gate as it stands in comparisons.json."""
    return {"name": name, "subject": subject, "passed": False, "detail": detail.en, "detail_ja": detail.ja}


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
    return [failed(gate.name, Both(gate.detail, gate.detail_ja or gate.detail), gate.subject) for gate in mine]


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
        detail = Both(
            f"{rows_left_out:.0%} of the rows are not scored in every cell",
            f"行の {rows_left_out:.0%} は、採点できないセルがあります",
        )
        gates.append(failed("rows_left_out", detail))
    if info.category != "likelihood" and abs(one - two) > MOST_MISSING_APART:
        detail = Both(
            f"without a score are {one:.1%} of the treatment, {two:.1%} of the control",
            f"採点できなかった割合は、処置側が {one:.1%}、対照側が {two:.1%} です",
        )
        gates.append(failed("missing_scores", detail))
    if not all(pair.shape):
        detail = Both(
            "the cells share no seed or no complete cluster", "共通のシード、または両セルとも揃ったクラスタがありません"
        )
        gates.append(failed("nothing_to_pair", detail))
    elif info.is_rate:
        low, high = sorted((pair.treatment.mean(), pair.control.mean()))
        if high <= FLOOR or low >= 1 - FLOOR:
            name = "floor" if high <= FLOOR else "ceiling"
            detail = Both(
                f"rates of {low:.1%} and {high:.1%} leave no room for a difference",
                f"率が {low:.1%} と {high:.1%} で、差が現れる余地がありません",
            )
            gates.append(failed(name, detail))
        if chance is not None and all(_may_guess(side, chance, alpha) for side in (pair.treatment, pair.control)):
            detail = Both(
                f"{low:.1%} and {high:.1%} may both be guessing, which comes to {chance:.1%}",
                f"{low:.1%} と {high:.1%} は、どちらも当てずっぽう（{chance:.1%}）と区別できません",
            )
            gates.append(failed("chance", detail))
    return gates


def _may_guess(side: np.ndarray, chance: float, alpha: float) -> bool:
    """Return whether the interval of a cell's share [S, C] includes chance."""
    found = estimate(side - chance, alpha, 1.0)
    return not abs(found.difference) > found.half


def finish_fault(finish: Panel | None, sides: Sequence[Side], seeds: Sequence[Any]) -> Both:
    """Return which cell ends fewer than half of its answers, or nothing."""
    for cell in (cell for side in sides for cell in side.cells):
        rows = finish.rows(*cell) if finish else {}
        # No seed stands for all of them: scores that were averaged over seeds.
        of_these = [row for seed, row in rows.items() if seed is None or None in seeds or seed in seeds]
        means = finish.mean[of_these] if finish else np.zeros(0)
        rate = means[np.isfinite(means)].mean() if np.isfinite(means).any() else 1.0
        if rate < LEAST_FINISH:
            name = f"{cell[0] or 'base'}@{cell[1]}"
            return Both(
                f"only {rate:.1%} of the answers of {name} end by themselves: content scores are truncated",
                f"{name} の回答のうち自分で終わるのは {rate:.1%} だけで、内容は途中までの回答で採点しています",
            )
    return NOT_SAID


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
