"""`iikata compare --scores` and `iikata study`: statistics on scores alone; torch is never imported."""

import argparse
from pathlib import Path

from iikata.cli.terminal import dumped, language
from iikata.core.errors import IikataError
from iikata.metrics import METRICS
from iikata.stats import Result, read_table
from iikata.stats import compare as compared
from iikata.stats.short import first_lines

SHOWN = 20


def compare_files(given: argparse.Namespace) -> None:
    """Compare each file by itself; with several, the JSON is a list of one object a file, in order."""
    if not given.metric:
        raise IikataError("compare --scores needs --metric NAME: the one metric that decides, named beforehand.")
    if given.experiment:
        raise IikataError(f"compare takes an experiment ({given.experiment}) or --scores FILE, not both.")
    if isinstance(given.margin, float) and not 0 < given.margin < float("inf"):
        raise IikataError(
            f"--margin {given.margin}: a number above 0 is allowed, in the unit of {given.metric}. "
            "Percentage points are hundredths: 10 are 0.10."
        )
    if not 0 < given.alpha < 0.5:
        raise IikataError(f"--alpha {given.alpha}: a number between 0 and 0.5 is allowed; 0.05 is usual.")
    results = [_named(Path(path), given) for path in given.scores]
    if given.json:
        made = [result.to_json() for result in results]
        print(dumped(made[0] if len(made) == 1 else made, indent=1))
        return
    for path, result in zip(given.scores, results, strict=True):
        # What was assumed or left out goes first: the sentence can only be read in its light.
        for warning in result.warnings:
            print(f"{path}: {warning}")
        if unscored := result.left_out["scores_without_number"].get(given.metric):
            print(f"{path}: {unscored} scores of {given.metric} are no number; what cannot be paired is left out")
        told = language(given.lang)
        print(*first_lines(result.verdict, told), sep="\n")
        print(f"{path}: {result.verdict[f'sentence_{told}']}")


def _named(path: Path, given: argparse.Namespace) -> Result:
    try:
        return _result(path, given)
    except IikataError as error:
        raise IikataError(str(error) if str(path) in str(error) else f"{path}: {error}") from None


def _result(path: Path, given: argparse.Namespace) -> Result:
    table = read_table(path)
    metrics = {name: metric for name, metric in METRICS.items() if name in table.metrics}
    known = metrics.get(given.metric)
    if known and given.better not in (None, known.better):
        raise IikataError(
            f'--better {given.better}: of metric "{known.name}" iikata knows that better is {known.better}. '
            "Leave the flag out, or give scores of another kind another name."
        )
    better = {given.metric: given.better} if given.better else {}
    margins = {} if given.margin is None else {given.metric: given.margin}
    factors = {"factor": given.factor, "others": given.others, "choosing_seeds": given.choosing_seeds or ()}
    return compared(table, metrics, given.metric, margins, given.alpha, better=better, **factors)


def study(given: argparse.Namespace) -> None:
    """Publish runs into a folder, or hold what it holds against its scores; IikataError where they disagree."""
    from iikata.pipeline.publishing import RESULT, differences, publish, redone
    from iikata.run_folder import read_json, write_json

    folder = Path(given.folder)
    if given.of:
        publish(folder, [Path(run) for run in given.of])
    now = redone(folder)
    if given.write:
        write_json(folder / RESULT, now)
    then = read_json(folder / RESULT)
    if found := list(differences(now, then)):
        told = "\n".join(found[:SHOWN])
        raise IikataError(
            f"{folder / RESULT}: {len(found)} values are not what the scores give now (place: now, there):\n{told}"
        )
    told_in = language(given.lang)
    print(*first_lines(now["verdict"], told_in), sep="\n")
    print(f"{folder}: {len(now['comparisons']):,} comparisons, each as it was published")
