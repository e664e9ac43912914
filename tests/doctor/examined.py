"""Let the doctor look at a tokenizer, templates and rows; the model's weights are an empty file."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iikata.config import declare
from iikata.core.records import Finding
from iikata.pipeline import Pipeline
from iikata.pipeline.stages.check import case

ROWS = [
    {"instruction": f"Name colour {i}.", "input": "paint" if i % 2 else "", "output": colour}
    for i, colour in enumerate(("red", "blue", "green", "white"))
]


def template(**keys: Any) -> dict[str, Any]:
    """Return an Alpaca template's JSON that no rule objects to; `keys` replace its own."""
    prompts = {"prompt_input": "In: {instruction} {input} A:", "prompt_no_input": "In: {instruction} A:"}
    return {key: value for key, value in (prompts | keys).items() if value is not None}


def write(
    folder: Path,
    tokenizer: Path,
    templates: Sequence[str | dict[str, Any]] = (),
    rows: Sequence[dict[str, Any]] = ROWS,
    settings: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Write model folder, rows and templates; return the experiment's values.

    A template given as JSON goes by the name t0, t1, ...; `settings` go into tokenizer_config.json.
    """
    model = folder / "model"
    if not model.is_dir():
        shutil.copytree(tokenizer, model)
        (model / "model.safetensors").touch()
    _merge(model / "tokenizer_config.json", settings or {})
    (model / "config.json").write_text(json.dumps({"eos_token_id": 2, "vocab_size": 2000, **(config or {})}))
    write_lines(folder / "train.jsonl", rows)
    specs = []
    for number, spec in enumerate(templates or [template()]):
        if isinstance(spec, dict):
            (folder / f"t{number}.json").write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
            spec = f"t{number}.json"
        specs.append(spec)
    return {
        "model": {"base": str(model)},
        "data": {"train": "train.jsonl", "validation": 0},
        "templates": specs,
        "score": {"metrics": ["nll"]},
        **changes,
    }


def opened(folder: Path, *given: Any, **more: Any):
    """Return the case of `write(folder, ...)`."""
    return case(Pipeline(declare(write(folder, *given, **more), folder), folder / "run").context)


def examined(folder: Path, *given: Any, **more: Any) -> list[Finding]:
    """Return what the doctor finds in `write(folder, ...)`."""
    from iikata.doctor import examine

    return examine(opened(folder, *given, **more))


def of(findings: Sequence[Finding], rule: str) -> list[Finding]:
    return [finding for finding in findings if finding.rule == rule]


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _merge(path: Path, settings: dict[str, Any]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **settings}), encoding="utf-8")
