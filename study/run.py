"""Run one model of the study: choose, then test; what is finished is not done again.

    python study/run.py smollm2 --stage choose --out OUT
    python study/run.py smollm2 --stage test --out OUT [--seeds 0 1 2]

choose   the rates (extending the grid as PLAN.md says), the pilot of the planted effects; OUT/chosen.json and the
         experiment files with what was chosen
test     test.yaml, planted.yaml, again.yaml, and loss.yaml where there is one; OUT/NAME: each one's scores
The run folders lie in --work. Blocks of seeds of one experiment are runs of their own, published together.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import declare
import rates

HERE = Path(__file__).resolve().parent
LARGEST = 16 << 20


def iikata(*words: str | Path) -> None:
    """Call the tool; ends the program where it fails."""
    source = str(HERE.parent / "src")
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "iikata", *map(str, words)], env=environment)
    print(f"study: iikata {' '.join(map(str, words[:2]))}: {time.monotonic() - begun:.0f} s", flush=True)
    if done.returncode:
        sys.exit(done.returncode)


def settings(given: Sequence[str]) -> list[str]:
    return [word for setting in given for word in ("--set", setting)]


def score(model: str, part: str, run: Path, more: Sequence[str]) -> None:
    iikata("run", HERE / model / f"{part}.yaml", "--to", "score", "--out", run, *settings(more))


def choose(model: str, work: Path, out: Path, more: Sequence[str]) -> None:
    """Choose the rates and write them, the margin and the foretold effects down."""
    grid, run = list(declare.GRID), work / "choose"
    while True:
        levels = ",".join(map(declare.written, grid))
        score(model, "choose", run, [f"vary={{train.learning_rate: [{levels}]}}", *more])
        lines = rates.whole(rates.score_lines(run))
        longer = rates.next_grid(rates.best_rates(rates.tuned_means(lines, rates.failed_arms(run))), grid)
        if longer is None:
            break
        print(f"study: a best rate lies at the edge of {levels}; the grid grows", flush=True)
        grid = longer
    keep(model, rates.chosen(model, run, None, grid), out)
    score(model, "pilot", work / "pilot", more)
    keep(model, rates.chosen(model, run, work / "pilot", grid), out)
    for part in ("choose", "pilot"):
        publish(out / part, [work / part])


def keep(model: str, found: dict[str, object], out: Path) -> None:
    text = json.dumps(found, indent=1) + "\n"
    (HERE / model / "chosen.json").write_text(text, encoding="utf-8")
    declare.write(model)
    out.mkdir(parents=True, exist_ok=True)
    (out / "chosen.json").write_text(text, encoding="utf-8")


def test(model: str, work: Path, out: Path, seeds: Sequence[int], parts: Sequence[str], more: Sequence[str]) -> None:
    """Run what is tested and publish its scores."""
    found = declare.chosen_of(model)
    if found is None or found["foretold"] is None:
        sys.exit(
            f"{HERE / model}/chosen.json: not there, or without the pilot. First: study/run.py {model} --stage choose"
        )
    if any(
        (HERE / model / f"{name}.yaml").read_text(encoding="utf-8") != text
        for name, text in declare.files(model).items()
    ):
        sys.exit(f"{HERE / model}: an experiment file is not what chosen.json leads to. python study/declare.py")
    for part in parts or [name for name in declare.files(model) if name not in ("choose", "pilot")]:
        own = [f"train.seeds={list(seeds)}"] if seeds and part != "again" else []
        block = "-".join(map(str, seeds)) if own else "all"
        score(model, part, work / part / block, [*own, *more])
        publish(out / part, sorted((work / part).iterdir()))


def publish(folder: Path, runs: Sequence[Path]) -> None:
    """Condense finished runs to a few small files."""
    iikata("study", folder, "--of", *runs)
    for path in folder.iterdir():
        if path.stat().st_size > LARGEST:
            print(f"study: {path} has {path.stat().st_size:,} bytes, more than {LARGEST:,}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", choices=list(declare.STUDIES))
    parser.add_argument("--stage", choices=["choose", "test"], required=True)
    parser.add_argument("--out", type=Path, required=True, help="where the small files go")
    parser.add_argument("--work", type=Path, help="where the run folders lie (default: runs/study/MODEL)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[], help="test: these seeds alone, a block of them")
    parser.add_argument("--part", action="append", default=[], help="test: this experiment file alone")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C", help="for trying the way, never results")
    given = parser.parse_args()
    work = given.work or Path("runs") / "study" / given.model
    if given.stage == "choose":
        choose(given.model, work, given.out, given.set)
    else:
        test(given.model, work, given.out, given.seeds, given.part, given.set)


if __name__ == "__main__":
    main()
