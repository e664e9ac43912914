"""Redo every number, table, figure and page of the study from the published scores, and fail where one differs.

    python study/results.py [MODEL ...]            hold what is committed against the scores
    python study/results.py [MODEL ...] --write    write it, but for the pages: study/pages.py, after the re-analysis

Needs neither torch nor a model. A model of which a part is not published is named as not run.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import controls
import declare
import explore
import figures
import pages
import primary
import tables
from doubts import doubts
from scores import read

from iikata.pipeline.publishing import differences, redone
from iikata.run_folder import write_json

HERE = Path(__file__).resolve().parent
PARTS = ("choose", "pilot", "test", "planted", "again", "loss")
CHOSEN, TESTED = ("choose", "pilot"), ("test", "planted", "again")


def results(model: str, folder: Path) -> dict[str, Any]:
    """Return all numbers of one model."""
    study, chosen = declare.STUDIES[model], json.loads((folder / "chosen.json").read_text(encoding="utf-8"))
    templates, asked = [declare.name_of(one) for one in study.templates], declare.name_of(study.asked)
    prompts, control = [*templates, asked], study.control
    pilot = read(folder / "pilot")
    scores = read(*(folder / part for part in TESTED))
    margins = {"nll": chosen["margin"]["nll"], "choice": chosen["margin"]["choice"]}
    found = primary.primary(scores, templates, margins)
    seeds = sorted({one.seed for one in scores.records("nll", primary.primary_cells(templates)) if one.trained_on})
    made = {
        "model": model,
        "margins": margins,
        "answers": found.answers,
        "pairs": [primary.row(one) for one in found.pairs],
        "lora": [primary.row(one) for one in found.lora],
        "without_examples": [primary.told(one) for one in found.bare],
        "planted": controls.planted(scores, pilot, control, chosen["foretold"]),
        "negative": [controls.negative(scores[metric], control) for metric in primary.METRICS],
        "without_a_seed": {
            str(seed): primary.primary(scores, templates, margins, seed).answers for seed in seeds if len(seeds) > 3
        },
        "strata": _strata(folder, scores, templates, margins),
        "power": explore.powers(scores, templates, primary.ALPHA),
        "matrix": explore.matrix(scores, [*templates, "mixed", "again", *chosen["foretold"]], prompts),
        "untuned": explore.untuned(scores),
        "price": explore.price(scores, templates, prompts),
        "mixture": explore.mixture(scores, templates, asked),
        "loss": _loss(folder, control),
        "rates": explore.curves(chosen),
        "shares": explore.shares(scores, templates, _samples(scores)),
        "five_samples": explore.five_samples(scores["contains"], templates),
    }
    return {**made, "doubts": doubts(made)}


def _samples(scores: Any) -> int:
    return max(int(max(own)) for own in scores["finish"].count.values())


def _strata(folder: Path, scores: Any, templates: list[str], margins: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answers of nll on rows with long and with short answers, where the rows' lengths are published."""
    if not (folder / "rows.json").exists():
        return {}
    lengths = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    made = {}
    for name, long in (("long", True), ("short", False)):
        kept = {row for row, length in lengths.items() if (length >= declare.LONG) == long}
        found = primary.primary(scores, templates, margins, only=kept.__contains__)
        sides = {"pairs": found.pairs, "lora_rows": found.lora}
        made[name] = {
            "rows": len(kept),
            "template": found.template["nll"],
            "lora": found.needed["nll"],
            **{side: [primary.row(one) for one in rows if one.metric == "nll"] for side, rows in sides.items()},
            "price": explore.price({"nll": scores["nll"].among(kept)}, templates, templates),
        }
    return made


def _loss(folder: Path, control: str) -> dict[str, Any] | None:
    if not (folder / "loss").is_dir():
        return None
    sides = [(f"{control}+{level}", control) for level in ("completion", "all")]
    return controls.contrast(read(folder / "loss")["nll"], *sides)


def made(model: str, folder: Path) -> dict[str, str]:
    """Return file name -> content of all that is committed of a model's results."""
    found = plain(results(model, folder))
    texts = {"results.json": json.dumps(found, indent=1, allow_nan=False) + "\n", "tables.md": tables.page(found)}
    return texts | {f"figures/{name}.svg": svg for name, svg in figures.drawn(found).items()}


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: None for what is no number."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def faults(model: str, folder: Path) -> Iterator[str]:
    """Yield where what is committed is not what the scores give."""
    for part in (one for one in PARTS if (folder / one).is_dir()):
        then = json.loads((folder / part / "comparisons.json").read_text(encoding="utf-8"))
        yield from (f"{part}/comparisons.json {one}" for one in differences(redone(folder / part), then))
    now = made(model, folder)
    for name, text in now.items():
        path = folder / name
        there = path.read_text(encoding="utf-8") if path.is_file() else ""
        if name.endswith(".json") and there:
            yield from (f"{name} {one}" for one in differences(json.loads(text), json.loads(there)))
        elif there != text:
            yield f"{name}: not what the scores give"
    for path in folder.glob("figures/*.svg"):
        if f"figures/{path.name}" not in now:
            yield f"figures/{path.name}: nothing makes it"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", default=list(declare.STUDIES))
    parser.add_argument("--write", action="store_true")
    given, found = parser.parse_args(), []
    for model in given.models:
        folder = HERE / model
        missing = [part for part in (*CHOSEN, *TESTED) if not (folder / part / "scores.parquet").is_file()]
        if missing:
            print(f"{model}: not run yet: {', '.join(missing)}")
            continue
        if given.write:
            for part in (one for one in PARTS if (folder / one).is_dir()):
                write_json(folder / part / "comparisons.json", redone(folder / part))
            for name, text in made(model, folder).items():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(text, encoding="utf-8")
        wrong = [f"{model}/{one}" for one in faults(model, folder)]
        print(f"{model}: {f'{len(wrong)} values differ' if wrong else 'every number, table and figure as committed'}")
        found += wrong
    if not given.write:
        found += pages.faults(HERE)
    sys.exit("\n".join(found[:50]) if found else 0)


if __name__ == "__main__":
    main()
