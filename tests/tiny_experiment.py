"""A whole experiment that runs in seconds: a tiny random model, twelve rows, three probes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from iikata.config import Experiment, declare
from iikata.pipeline import Event, Progress

COLOURS = ("red", "blue", "green", "white", "black", "grey", "pink", "gold", "navy", "teal", "plum", "rust")


def write_files(folder: Path) -> None:
    """Write train.jsonl, validation.jsonl and probes.jsonl."""
    rows = [{"instruction": f"Name colour {i}.", "input": "", "output": f"{c}."} for i, c in enumerate(COLOURS)]
    held = [
        {"instruction": f"Say {c}.", "input": f"{i} times" if i % 2 else "", "output": f"{c}!"}
        for i, c in enumerate(COLOURS)
    ]
    probes = [
        {"id": f"p{i}", "instruction": f"Which colour is {c}?", "references": [c]} for i, c in enumerate(COLOURS[:3])
    ]
    for name, lines in (("train", rows), ("validation", held), ("probes", probes)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def values(model: Path, /, **changes: Any) -> dict[str, Any]:
    """Return the experiment's settings; `changes` replace whole sections, but for `train`, over whose own they lie."""
    declared = {
        "name": "tiny",
        "model": {"base": str(model), "dtype": "float32"},
        "data": {"train": "train.jsonl", "validation": "validation.jsonl"},
        "templates": ["alpaca_short", "plain"],
        "train": {
            "seeds": [0, 1],
            "epochs": 2,
            "batch_size": 4,
            "learning_rate": 0.01,
            "cutoff_len": 200,
            "checkpoint_seconds": 0,
            "lora": {"r": 4, "target_modules": "all-linear"},
        },
        "generate": {"samples": 2, "max_new_tokens": 6},
        "probes": "probes.jsonl",
        "score": {"metrics": ["nll", "contains", "finish", "leakage", "length", "distinct"]},
        "compare": {"margin": {"nll": 0.02}},
    }
    return declared | changes | {"train": declared["train"] | changes.get("train", {})}


def experiment(folder: Path, model: Path, /, **changes: Any) -> Experiment:
    """Return the experiment over files in `folder`, written where they are missing."""
    if not (folder / "train.jsonl").is_file():
        write_files(folder)
    return declare(values(model, **changes), folder)


ONE_ARM = {"seeds": [0], "epochs": 1}


def written(folder: Path, model: Path, /, **changes: Any) -> Path:
    """Write the experiment as tiny.yaml, and its files; return its path."""
    write_files(folder)
    path = folder / "tiny.yaml"
    path.write_text(json.dumps(values(model, **changes)), encoding="utf-8")  # JSON is YAML
    return path


def finished(folder: Path, model: Path) -> Path:
    """Return the smallest finished run: one template, one seed, one answer a probe. Its experiment is tiny.yaml."""
    from iikata.cli import main

    small = {"templates": ["plain"], "generate": {"samples": 1, "max_new_tokens": 3}, "train": ONE_ARM}
    assert main(["run", str(written(folder, model, **small)), "--out", str(folder / "run")]) == 0
    return folder / "run"


def contents(run: Path) -> dict[str, bytes]:
    """Return every file of a run by its name, but those outside the promise of equal bytes: they hold times."""
    files = (path for path in run.rglob("*") if path.is_file())
    timed = ("timing.jsonl", "lock", "devices.jsonl")
    return {str(p.relative_to(run)): p.read_bytes() for p in files if p.name not in timed and "report" not in p.parts}


class KilledError(Exception):
    """Stands in for a kill: raised in the middle of a stage."""


def killer(stage: str, after: int) -> Callable[[Event], None]:
    """Return a listener that raises once `stage` has told of `after` pieces of progress."""
    seen = 0

    def emit(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, Progress) and event.stage == stage
        if seen == after:
            raise KilledError

    return emit
