"""Re-analyse a finished run with statsmodels' mixed model and hold iikata's comparisons against it.

    python bench/reanalysis.py RUN [--metrics nll,contains] [--questions matched,tuned_vs_base]

Reads only the run's files: the scores are averaged and paired here anew, with nothing of iikata's own code. Prints a
Markdown table; exits 1 where a difference, a standard error or an interval does not agree.
"""

import argparse
import json
import math
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

DIFFERENCE = 1e-6
"""Largest allowed distance of the differences, in the metric's unit."""
ERROR, ERROR_AT_BOUNDARY = 0.02, 0.05
"""Largest allowed distance of the ratio of the standard errors from 1.

With both components on the boundary the mixed model pools seeds, clusters and residual into one variance and takes the
experiment for S x C independent numbers, which iikata never does: there the interval may be narrower by this share.
"""
OPTIMISERS = ("bfgs", "nm")
"""Both are tried and the likelier end is taken: each by itself stops short of some boundary."""
AT_0 = 1e-4
"""A variance below this share of the residual's is called 0."""
COLUMNS = (
    "metric",
    "question",
    "treatment - control",
    "S x C",
    "difference",
    "mixed model's",
    "SE",
    "mixed model's",
    "ratio",
    "interval",
    "mixed model's",
    "remark",
)


@dataclass(frozen=True)
class Fit:
    """What the mixed model says about the mean of d[seed, cluster]."""

    difference: float
    error: float
    low: float
    """95% by the normal quantile, as statsmodels gives it."""
    high: float
    boundary: bool
    remark: str


def score_frame(run: Path, metric: str) -> pd.DataFrame:
    """Return the run's score lines of a metric; value NaN where there is no number."""
    lines = (run / "score" / f"{metric}.jsonl").read_text(encoding="utf-8").splitlines()
    frame = pd.DataFrame([json.loads(line) for line in lines])
    return frame.assign(value=frame["value"].astype(float), seed=frame["seed"].fillna(-1).astype(int))


def side(frame: pd.DataFrame, trained_on: str | None, prompted_with: str) -> pd.DataFrame:
    """Return a side's mean over samples as a table of probes by seeds; the base's only column is -1."""
    trained = frame["trained_on"].isna() if trained_on is None else frame["trained_on"] == trained_on
    mine = frame[trained & (frame["prompted_with"] == prompted_with)]
    return mine.pivot_table(index="probe", columns="seed", values="value", aggfunc="mean", dropna=False)


def differences(frame: pd.DataFrame, comparison: dict[str, Any], likelihood: bool) -> pd.DataFrame:
    """Return d[cluster, seed] on the common seeds and the clusters whose probes all have a number."""
    one, two = (
        side(frame, comparison[name]["trained_on"], comparison[name]["prompted_with"])
        for name in ("treatment", "control")
    )
    if list(two.columns) == [-1]:
        two = pd.concat({seed: two[-1] for seed in one.columns}, axis=1)
    d = one - two
    d = d[[seed for seed in one.columns if seed in two.columns]]
    if likelihood:  # a row that any cell could not score is left out for all
        d = d.drop(index=frame.loc[frame["value"].isna(), "probe"].unique(), errors="ignore")
    cluster = frame.drop_duplicates("probe").set_index("probe")["cluster"].reindex(d.index)
    whole = d.notna().all(axis=1).groupby(cluster).transform("all")
    return d[whole].groupby(cluster[whole]).mean()


def fitted(d: pd.DataFrame) -> Fit:
    """Fit d ~ 1 with crossed random effects of seed and cluster by REML.

    statsmodels knows crossed effects as variance components within a single group.
    """
    from statsmodels.regression.mixed_linear_model import MixedLM

    mean, scale = float(d.to_numpy().mean()), float(d.to_numpy().std())
    residual = d.sub(d.mean(axis=1), axis=0).sub(d.mean(axis=0), axis=1) + mean
    if residual.abs().to_numpy().max() <= 1e-12:
        return Fit(mean, math.nan, math.nan, math.nan, False, "no residual to fit: likelihood unbounded")
    long = d.rename_axis("cluster").reset_index().melt("cluster", var_name="seed", value_name="d")
    # The optimiser's tolerances are absolute; scores run from 0.001 to 100.
    long = long.assign(d=long["d"] / scale, all=1)
    crossed = {"seed": "0 + C(seed)", "cluster": "0 + C(cluster)"}
    model = MixedLM.from_formula("d ~ 1", groups="all", re_formula="0", vc_formula=crossed, data=long)
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        tried = [model.fit(reml=True, method=method) for method in OPTIMISERS]
    best = max(tried, key=lambda result: result.llf)
    parts = dict(zip(model.exog_vc.names, best.vcomp, strict=True))
    # On a boundary the Hessian behind statsmodels' own error cannot be inverted; elsewhere this is the same number.
    C, S = d.shape
    error = math.sqrt(parts["seed"] / S + parts["cluster"] / C + best.scale / (S * C)) * scale
    remarks = [] if best.converged else ["not converged"]
    at_0 = [name for name, part in parts.items() if part < AT_0 * best.scale]
    remarks += [f"boundary: variance of {' and '.join(at_0)} is 0"] if at_0 else []
    mean = float(best.fe_params.iloc[0]) * scale
    return Fit(mean, error, mean - 1.959964 * error, mean + 1.959964 * error, bool(at_0), "; ".join(remarks))


def own_error(comparison: dict[str, Any]) -> float:
    """Return the standard error that iikata's variance components make: the two-way form's."""
    sd, S, C = comparison["detail"]["sd"], comparison["n_seeds"], comparison["n_clusters"]
    return math.sqrt(sd["seed"] ** 2 / S + sd["cluster"] ** 2 / C + sd["residual"] ** 2 / (S * C))


def faults(comparison: dict[str, Any], d: pd.DataFrame, fit: Fit) -> list[str]:
    """Return where the two analyses disagree beyond the tolerances."""
    found = []
    if (comparison["n_seeds"], comparison["n_clusters"]) != d.shape[::-1]:
        found.append(f"DISAGREES: the mixed model has {d.shape[1]} x {d.shape[0]}")
    if abs(comparison["difference"] - fit.difference) > DIFFERENCE:
        found.append("DISAGREES: difference")
    if math.isnan(fit.low):
        return found
    allowed = ERROR_AT_BOUNDARY if fit.boundary else ERROR
    if not abs(own_error(comparison) / fit.error - 1) <= allowed:
        found.append("DISAGREES: SE")
    low, high = comparison["interval"]
    # Ours allows for the few seeds, so it must be the wider.
    if high - low < (fit.high - fit.low) * (1 - (allowed if fit.boundary else 0)):
        found.append("DISAGREES: interval narrower than the mixed model's")
    return found


def rows(run: Path, metrics: list[str], questions: list[str]) -> Iterator[tuple[list[str], bool]]:
    """Yield the table's cells of each comparison, and whether the two agree."""
    made = json.loads((run / "compare" / "comparisons.json").read_text(encoding="utf-8"))
    kinds = {info["name"]: info["kind"] for info in made["settings"]["metrics"]}
    unknown = [name for name in metrics if name not in kinds]
    if unknown:
        sys.exit(f"{run}: no comparisons of {', '.join(unknown)}; there are: {', '.join(kinds)}.")
    for metric in metrics or list(kinds):
        frame = score_frame(run, metric)
        for comparison in made["comparisons"]:
            wanted = comparison["metric"] == metric and comparison["question"] in questions
            if wanted and comparison["scope"] == "recipe" and comparison["interval"]:
                d = differences(frame, comparison, kinds[metric] == "likelihood")
                fit = fitted(d)
                wrong = faults(comparison, d, fit)
                yield cells(comparison, fit, wrong), not wrong


def cells(comparison: dict[str, Any], fit: Fit, wrong: list[str]) -> list[str]:
    """Return one line of the table."""
    sides = (comparison["treatment"], comparison["control"])
    names = [f"{one['trained_on'] or 'base'}@{one['prompted_with']}" for one in sides]
    error = own_error(comparison)
    return [
        comparison["metric"],
        comparison["question"],
        " - ".join(names),
        f"{comparison['n_seeds']} x {comparison['n_clusters']}",
        f"{comparison['difference']:.7f}",
        f"{fit.difference:.7f}",
        f"{error:.5f}",
        _or_dash("{:.5f}", fit.error),
        _or_dash("{:.4f}", error / fit.error),
        "{:.4f} to {:.4f}".format(*comparison["interval"]),
        _or_dash("{:.4f} to {:.4f}", fit.low, fit.high),
        "; ".join(filter(None, [fit.remark, *wrong])) or "-",
    ]


def _or_dash(form: str, *numbers: float) -> str:
    return "-" if math.isnan(sum(numbers)) else form.format(*numbers)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--metrics", default="", help="names with commas between them; all that were compared")
    parser.add_argument("--questions", default="matched,tuned_vs_base")
    given = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS))
    agreed = []
    for line, agrees in rows(given.run, list(filter(None, given.metrics.split(","))), given.questions.split(",")):
        print("| " + " | ".join(line) + " |", flush=True)
        agreed.append(agrees)
    print(
        f"\n{sum(agreed)} of {len(agreed)} comparisons agree: differences within {DIFFERENCE:g}; where there is a fit, "
        f"standard errors within {ERROR:.0%} and iikata's interval the wider (with a variance on its boundary, both "
        f"within {ERROR_AT_BOUNDARY:.0%})."
    )
    sys.exit(0 if agreed and all(agreed) else 1)


if __name__ == "__main__":
    main()
