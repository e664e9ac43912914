"""Re-analyse the primary contrasts with statsmodels' mixed model, from the published scores and PLAN.md alone.

    python study/reanalysis.py [MODEL ...] [--folder DIR] [--write]

Nothing of iikata is imported: scores are read by pandas, paired, averaged, corrected and judged anew, then held against
results.json. Prints a Markdown table; exits 1 where a difference or a standard error does not agree as PLAN.md says,
or where MODEL/reanalysis.json, which the study's pages quote and --write writes, is not what comes out.
Needs the dev extra (pandas, statsmodels). A verdict that differs is listed with what it comes from, and is no failure.
"""

import argparse
import hashlib
import json
import math
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

HERE = Path(__file__).resolve().parent
TEMPLATES = {
    "smollm2": ("alpaca", "dolly_en_rinna", "native", "plain"),
    "gemma": ("dolly_ja", "dolly_ja_rinna", "gemma_chat", "plain"),
    "qwen": ("alpaca", "dolly_en_rinna", "native", "plain"),
}
BETTER = {"nll": -1, "choice": 1}
ALPHA, NORMAL = 0.05, 1.959964
"""And the normal quantile, as statsmodels gives its intervals."""
DIFFERENCE, ERROR, ERROR_AT_BOUNDARY = 1e-6, 0.02, 0.05
CROSSED = 250
"""Clusters up to which seeds and clusters are fitted as crossed random effects."""


def mixed_model() -> Any:
    """Return bench/reanalysis.py, whose `fitted` fits d ~ 1 with crossed seeds and clusters by REML."""
    path = HERE.parent / "bench" / "reanalysis.py"
    spec = spec_from_file_location("bench_reanalysis", path)
    module = module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules["bench_reanalysis"] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


@dataclass
class Contrast:
    """One contrast, analysed anew."""

    metric: str
    treatment: str
    control: str
    difference: float
    error: float
    boundary: bool
    paired: bool
    verdict: str = ""
    p: float = math.nan

    @property
    def half(self) -> float:
        return NORMAL * self.error


def third(clusters: pd.Index) -> set[str]:
    """Return the third of the clusters whose names' SHA-256 is lowest: they choose and are not tested."""
    order = sorted(clusters, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return set(order[: max(1, round(len(order) / 3))])


class Scores:
    """The test's scores of one metric as tables of clusters by seeds (or draws)."""

    def __init__(self, frame: pd.DataFrame, metric: str, templates: tuple[str, ...]) -> None:
        mine = frame[frame["metric"] == metric]
        base = mine["trained_on"].isna()
        mine = mine[base | (mine["trained_on"].isin(templates) & (mine["trained_on"] == mine["prompted_with"]))]
        if metric == "nll":  # a row that one cell could not score is left out for all
            mine = mine[~mine["probe"].isin(mine.loc[mine["count"] == 0, "probe"])]
        mine = mine[~mine["probe"].isin(self._never(mine))]
        self.sides: dict[str, pd.DataFrame] = {}
        for (trained, prompt), own in mine.groupby([mine["trained_on"].fillna("base"), "prompted_with"]):
            table = own.pivot_table(index=["cluster", "probe"], columns=own["seed"].fillna(-1), values="mean")
            self.sides[f"{trained}@{prompt}"] = table.groupby("cluster").mean()
        self.clusters = pd.Index(mine["cluster"].unique())

    @staticmethod
    def _never(mine: pd.DataFrame) -> pd.Index:
        """Return the probes that no cell has a number for, as a question without choices."""
        most = mine.groupby("probe")["count"].max()
        return most[most == 0].index

    def best_base(self, metric: str, choosing: set[str]) -> tuple[str, pd.DataFrame]:
        """Return the untuned model's best prompt on the choosing third, and what of it is tested."""
        means, tested = {}, {}
        for name, table in self.sides.items():
            if name.startswith("base@"):
                draws = [column for column in table.columns if column >= 0]
                half = draws[: len(draws) // 2] if draws else list(table.columns)
                means[name] = BETTER[metric] * table.loc[table.index.isin(choosing), half].mean().mean()
                tested[name] = table[[draw for draw in table.columns if draw not in half] if draws else half]
        best = max(means, key=means.__getitem__)
        return best, tested[best]


def contrasts(frame: pd.DataFrame, model: str) -> Iterator[Contrast]:
    """Yield the six pairs and the four comparisons with the untuned model, by both metrics."""
    bench = mixed_model()
    for metric in BETTER:
        scores = Scores(frame, metric, TEMPLATES[model])
        for one, two in combinations(TEMPLATES[model], 2):
            treatment, control = f"{one}@{one}", f"{two}@{two}"
            common = (scores.sides[treatment] - scores.sides[control]).dropna(axis=1, how="all")  # an arm was given up
            yield _paired(bench, metric, treatment, control, common.dropna())  # what one side could not score
        choosing = third(scores.clusters)
        best, base = scores.best_base(metric, choosing)
        for one in TEMPLATES[model]:
            tuned, untuned = scores.sides[f"{one}@{one}"].align(base[~base.index.isin(choosing)], join="inner", axis=0)
            if list(base.columns) == [-1]:
                yield _paired(bench, metric, f"{one}@{one}", best, tuned.sub(untuned[-1], axis=0))
            else:
                yield _unpaired(bench, metric, f"{one}@{one}", best, tuned, untuned)


def fitted(bench: Any, d: pd.DataFrame) -> Any:
    """Fit the mean of d[cluster, seed] by REML; of many clusters with the seeds fixed.

    Crossed effects take statsmodels the cube of the clusters. With the seeds fixed each cluster is a group of its own;
    the seeds' variance is then that of their estimated means, less what the residual makes of it. On complete tables
    both give the same components as long as none is estimated at 0. By Powell: the optimisers that follow a gradient
    stop early where clusters hardly vary.
    """
    clusters, seeds = d.shape  # not C: the formula below would call it
    if clusters <= CROSSED:
        return bench.fitted(d)
    from statsmodels.regression.mixed_linear_model import MixedLM

    mean, scale = float(d.to_numpy().mean()), float(d.to_numpy().std())
    long = d.rename_axis("cluster").reset_index().melt("cluster", var_name="seed", value_name="d")
    long = long.assign(d=long["d"] / scale)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a cluster variance at 0, which is told as a boundary
        fit = MixedLM.from_formula("d ~ 0 + C(seed)", groups="cluster", data=long).fit(reml=True, method="powell")
    cluster, rest = float(fit.cov_re.iloc[0, 0]), float(fit.scale)
    seed = max(0.0, float(fit.fe_params.var(ddof=1)) - rest / clusters)
    error = math.sqrt(seed / seeds + cluster / clusters + rest / (seeds * clusters)) * scale
    boundary = seed == 0 or cluster < bench.AT_0 * rest
    return bench.Fit(mean, error, mean - NORMAL * error, mean + NORMAL * error, boundary, "")


def _paired(bench: Any, metric: str, treatment: str, control: str, d: pd.DataFrame) -> Contrast:
    fit = fitted(bench, d)
    return Contrast(metric, treatment, control, fit.difference, fit.error, fit.boundary, True)


def _unpaired(bench: Any, metric: str, treatment: str, control: str, one: pd.DataFrame, two: pd.DataFrame) -> Contrast:
    """Return a contrast with draws of examples: each side's replicates have a variance of their own."""
    means = one.mean(axis=1) - two.mean(axis=1)
    fits = [fitted(bench, side) for side in (one, two)]
    of_seeds = 0.0
    for side, fit in zip((one, two), fits, strict=True):
        clusters = side.mean(axis=1).var(ddof=1) / len(side)
        # What the replicates add to a side's variance over clusters; NaN stays NaN in this order.
        of_seeds += max(fit.error**2 - clusters, 0.0)
    error = math.sqrt(of_seeds + means.var(ddof=1) / len(means))
    return Contrast(metric, treatment, control, float(means.mean()), error, any(f.boundary for f in fits), False)


def judged(found: list[Contrast], margins: Mapping[str, float | None]) -> None:
    """Write p (normal) and the verdict, Holm over both metrics of a question, gates apart."""
    from scipy.stats import norm

    raw = [2 * norm.sf(abs(one.difference) / one.error) for one in found]
    order = sorted(range(len(found)), key=raw.__getitem__)
    at = 0.0
    for step, place in enumerate(order):
        at = max(at, min(1.0, (len(found) - step) * raw[place]))
        found[place].p = at
    for one in found:
        margin, half_90 = margins[one.metric], norm.isf(ALPHA) * one.error
        if margin and abs(one.difference) + half_90 < margin:
            one.verdict = "EQUIVALENT" if abs(one.difference) <= one.half else "SMALL"
        else:
            one.verdict = "MATTERS" if one.p < ALPHA else "INCONCLUSIVE"


def faults(one: Contrast, told: Mapping[str, Any]) -> list[str]:
    """Return where the two analyses disagree beyond PLAN.md's tolerances."""
    found = []  # "not at most": NaN agrees with nothing
    if not abs(one.difference - told["difference"]) <= DIFFERENCE:
        found.append("DISAGREES: difference")
    allowed = ERROR_AT_BOUNDARY if one.boundary else ERROR
    # An unpaired contrast's error is only asked to be a number.
    if not abs((of_components(told) if one.paired else one.error) / one.error - 1) <= allowed:
        found.append("DISAGREES: standard error")
    if narrower(one, told) and not one.boundary:
        found.append("DISAGREES: interval narrower than the mixed model's")
    return found


def of_components(told: Mapping[str, Any]) -> float:
    """Return the standard error that results.json's components make."""
    sd, seeds, clusters = told["sd"], told["seeds"], told["clusters"]
    return math.sqrt(sd["seed"] ** 2 / seeds + sd["cluster"] ** 2 / clusters + sd["residual"] ** 2 / (seeds * clusters))


def narrower(one: Contrast, told: Mapping[str, Any]) -> bool:
    low, high = told["interval"]
    return not high - low >= 2 * one.half * (1 - ERROR)


def why(one: Contrast, told: Mapping[str, Any]) -> str:
    """Return what a differing verdict comes from."""
    if told["gates"]:
        return f"a gate: {', '.join(told['gates'])}"
    low, high = told["interval"]
    wider = (high - low) / (2 * one.half)
    return f"few seeds or draws: t and the widest form make the interval {wider:.1f} times as wide as the normal one"


def analysed(model: str, folder: Path) -> tuple[list[tuple[str, ...]], int]:
    """Return the table's lines and how many contrasts disagree."""
    frame = pd.read_parquet(folder / "test" / "scores.parquet")
    told = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    known = {(one["metric"], one["treatment"], one["control"]): one for one in (*told["pairs"], *told["lora"])}
    found = list(contrasts(frame, model))
    for is_base in (False, True):
        judged([one for one in found if one.control.startswith("base@") == is_base], told["margins"])
    lines, wrong = [], 0
    for one in found:
        own = known.get((one.metric, one.treatment, one.control))
        said = ["DISAGREES: results.json has no such contrast"] if own is None else faults(one, own)
        wrong += bool(said)
        theirs = own["verdict"] if own else "-"
        remark = [] if own is None or theirs == one.verdict else [f"verdict: {why(one, own)}"]
        if own and one.boundary and narrower(one, own):
            remark.append(
                "a variance is estimated at 0, and the mixed model pools it with the rest: its interval is wider"
            )
        ours = "-" if own is None else f"{own['difference']:.6f} [{own['interval'][0]:.5f}, {own['interval'][1]:.5f}]"
        lines.append(
            (one.metric, f"{one.treatment} - {one.control}", ours, f"{one.difference:.6f} ± {one.half:.5f}", theirs,
             one.verdict, "; ".join([*said, *remark]) or "-")
        )  # fmt: skip
    return lines, wrong


def summary(lines: list[tuple[str, ...]], wrong: int) -> dict[str, Any]:
    """Return what the study's pages quote: how many contrasts agree, and each verdict that differs."""
    names = ("metric", "contrast", "verdict", "mixed_model", "why")
    picked = [(*line[:2], *line[4:6], line[6].replace("verdict: ", "")) for line in lines if line[4] != line[5]]
    return {
        "contrasts": len(lines),
        "agree": len(lines) - wrong,
        "differing": [dict(zip(names, one, strict=True)) for one in picked],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", default=list(TEMPLATES))
    parser.add_argument("--folder", type=Path, default=HERE, help="where the models' folders lie")
    parser.add_argument("--write", action="store_true")
    given, wrong = parser.parse_args(), 0
    for model in given.models:
        if not (given.folder / model / "results.json").is_file():
            print(f"{model}: not run yet")
            continue
        lines, own = analysed(model, given.folder / model)
        head = ("metric", "contrast", "iikata", "mixed model", "verdict", "mixed model's", "remark")
        for line in (head, ["---"] * len(head), *lines):
            print(f"| {' | '.join(line)} |")
        print(f"\n{model}: {len(lines) - own} of {len(lines)} contrasts agree as PLAN.md asks.\n", flush=True)
        path, text = given.folder / model / "reanalysis.json", json.dumps(summary(lines, own), indent=1) + "\n"
        if given.write:
            path.write_text(text, encoding="utf-8")
        elif path.is_file() and path.read_text(encoding="utf-8") != text:
            print(f"{path}: not what comes out now (--write)")
            own += 1
        wrong += own
    sys.exit(1 if wrong and not given.write else 0)  # the pages say so, and are written afterwards


if __name__ == "__main__":
    main()
