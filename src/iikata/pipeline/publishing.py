"""Publish a run's scores without its run folder, and redo the statistics from what was published; opens no model."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.io import sha256_of
from iikata.core.records import Gate, plain
from iikata.metrics import HELD_OUT, METRICS, RATED
from iikata.pipeline.declaring import compared
from iikata.pipeline.signature import digest, read_signature
from iikata.run_folder import RunFolder, read_json, write_json
from iikata.stats import read_table
from iikata.stats.published import condensed, read_published, write_published

SCORES, ABOUT, RESULT = "scores.parquet", "published.json", "comparisons.json"
ALIKE = ("model", "data", "train", "generate", "templates", "probes")
"""What runs that are published together must have in common: then they are blocks of one experiment."""
DECIDES = ("primary", "margins", "alpha", "looks", "factor", "others", "choosing_seeds")
SAME = 1e-9
"""Numbers of two machines' comparisons may differ by this share: sums are added up in other orders."""


def publish(folder: Path, runs: Sequence[Path]) -> None:
    """Write the scores of finished runs, what they were made of, and their comparisons into `folder`.

    Several runs are blocks of one experiment, as other seeds; a cell that several have is taken from the first. Raises
    IikataError where a run has no scores or was made from something else than the first.
    """
    signed = [_signed(run) for run in runs]
    for run, one in zip(runs[1:], signed[1:], strict=True):
        for part in ALIKE:
            if one[part] != signed[0][part]:
                raise IikataError(f"{run}: it differs from {runs[0]} in its {part}. Publish them apart.")
        if {k: one["declared"][-1][k] for k in DECIDES} != {k: signed[0]["declared"][-1][k] for k in DECIDES}:
            raise IikataError(
                f"{run}: its primary metric, margins or factor are not those of {runs[0]}. Publish them apart."
            )
    folder.mkdir(parents=True, exist_ok=True)
    columns: dict[str, list[Any]] = {}
    seen: set[tuple[Any, ...]] = set()
    for run, one in zip(runs, signed, strict=True):
        _add(columns, run, _metrics(one["declared"][-1]), seen)
    write_published(folder / SCORES, columns)
    about = {"scores": sha256_of(folder / SCORES), "runs": [_about(*one) for one in zip(runs, signed, strict=True)]}
    write_json(folder / ABOUT, about)
    write_json(folder / RESULT, redone(folder))


def redone(folder: Path) -> dict[str, Any]:
    """Return the comparisons of published scores, as comparisons.json holds them.

    Raises IikataError where a file is missing or is not the one that was published.
    """
    about = read_json(folder / ABOUT)
    if not isinstance(about, dict):
        raise IikataError(
            f"{folder / ABOUT}: no such file, so nothing is published here. First: iikata study {folder} --of RUN"
        )
    if (folder / SCORES).is_file() and (found := sha256_of(folder / SCORES)) != about["scores"]:
        seen = f"sha256 {found}, and {ABOUT} was written for {about['scores']}"
        raise IikataError(f"{folder / SCORES}: {seen}. Publish it again: iikata study {folder} --of RUN")
    table = read_published(folder / SCORES)
    declared = about["runs"][0]["declared"][-1]
    gates = [Gate(**gate) for run in about["runs"] for gate in run["gates"]]
    known = {name: METRICS.find(name) for name in table.metrics if name in METRICS.names()}
    result = compared(declared, table, table.metrics, known, gates, about["runs"][0]["content"])
    return dict(json.loads(json.dumps(result.to_json())))


def differences(now: Any, then: Any, at: str = "") -> Iterator[str]:
    """Yield where two JSON values differ: `place: now, then`; numbers by more than rounding."""
    if isinstance(now, dict) and isinstance(then, dict):
        for key in dict.fromkeys((*now, *then)):
            yield from differences(now.get(key), then.get(key), f"{at}.{key}" if at else str(key))
    elif isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        for place, pair in enumerate(zip(now, then, strict=True)):
            yield from differences(*pair, f"{at}[{place}]")
    elif isinstance(now, float) and type(then) in (int, float):
        if abs(now - then) > SAME * max(1.0, abs(then)):
            yield f"{at}: {now}, {then}"
    elif now != then:
        yield f"{at}: {now}, {then}"


def _signed(run: Path) -> dict[str, Any]:
    found = read_signature(RunFolder(run).signature)
    if found is None:
        raise IikataError(f"{run}: no finished run (no signature.json that says what was declared).")
    return found


def _metrics(declared: Mapping[str, Any]) -> list[str]:
    """Return what a run may have scores of, the primary first; ratings have no place in it, for they are averaged."""
    asked = (declared["primary"], *declared["metrics"])
    every = [one for name in asked for one in ((name, *HELD_OUT) if name in HELD_OUT else (name,))]
    return [name for name in dict.fromkeys(every) if name not in RATED]


def _add(columns: dict[str, list[Any]], run: Path, metrics: Sequence[str], seen: set[tuple[Any, ...]]) -> None:
    """Append a run's scores, without cells that an earlier run had."""
    files = [RunFolder(run).scores(name) for name in metrics]
    tables = [condensed(read_table(path)) for path in files if path.is_file()]
    if not tables:
        raise IikataError(f"{run}: no scores yet. First: iikata run EXP --to score --out {run}")
    had = frozenset(seen)
    for made in tables:
        cells = list(zip(made["metric"], made["trained_on"], made["seed"], made["prompted_with"], strict=True))
        keep = [place for place, cell in enumerate(cells) if cell not in had]
        seen.update(cells)
        for name, column in made.items():
            columns.setdefault(name, []).extend(column[place] for place in keep)


def _about(run: Path, signed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run was made of, with hashes, and no path of the machine it was made on."""
    from iikata.config import read

    store = RunFolder(run)
    adapters = {done.parent.name: read_json(done) for done in sorted(run.glob("train/*/DONE"))}
    kept = {key: value for key, value in signed.items() if key not in ("probes", "declared", "looks", "scored")}
    return {
        **kept,
        "model": {**signed["model"], "base": Path(signed["model"]["base"]).name},
        "probes": digest(signed["probes"]),
        "declared": [{**one, "probes": digest(one["probes"])} for one in signed["declared"]],
        "content": read(store.experiment).score.content,
        "gates": [plain(gate) for gate in store.read_gates() if not gate.passed],
        "adapters": adapters,
        "halved": store.halvings.is_file(),
    }
