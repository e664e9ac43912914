"""Stage encode: rows to tokens, what is left out counted and said."""

from typing import Any

from iikata import encode as encoder
from iikata.errors import IikataError
from iikata.lab.events import Stage
from iikata.lab.materials import Materials
from iikata.records import Encoded, plain
from iikata.store import write_json, write_lines

SHOWN = 3
"""Rows a template of which the tokens are kept to look at."""


def encode(lab: Materials) -> dict[str, int]:
    """Write the first rows of every template, painted, and the counts; refuse a template without any row left."""
    lab.tell(Stage("encode", len(lab.encoded), "templates"))
    counts: dict[str, Any] = {"data": plain(lab.data.counts), "templates": {}}
    for name, rows in lab.encoded.items():
        counts["templates"][name] = _counts(rows)
        write_lines(lab.store.encoded(name), (_line(lab, name, row) for row in rows[:SHOWN]))
        # That some rows are too long the doctor has told; without any left there is nothing to train on.
        if (over := counts["templates"][name]["over_length"]) == len(rows):
            raise IikataError(
                f"template {name}: all {over} rows are longer than train.cutoff_len "
                f"{lab.experiment.train.cutoff_len}, so there is nothing to train on. Raise train.cutoff_len."
            )
    write_json(lab.store.counts, counts)
    write_json(lab.store.templates, {name: _card(lab, name) for name in lab.templates})
    return {"tokens": sum(row["tokens"] for row in counts["templates"].values())}


def _card(lab: Materials, name: str) -> dict[str, Any]:
    """Return what the report shows of a template, so that a report needs no model."""
    template, tokenizer = lab.templates[name], lab.tokenizer
    return {
        "text": template.text,
        "hash": template.hash,
        "newline": template.newline,
        "markers": template.markers(),
        "stops": [*map(tokenizer.token, sorted(encoder.stop_ids(template, tokenizer))), *template.stop],
        "prompt": template.render("{instruction}").prompt,
    }


def _counts(rows: list[Encoded]) -> dict[str, int]:
    kept = [row for row in rows if not row.truncated]
    return {
        "rows": len(rows),
        "over_length": len(rows) - len(kept),
        "straddling": sum(row.straddles for row in kept),
        "tokens": sum(len(row.input_ids) for row in kept),
        "loss_tokens": sum(sum(row.completion_mask) for row in kept),
    }


def _line(lab: Materials, template: str, row: Encoded) -> dict[str, Any]:
    tokens = [lab.tokenizer.token(id) for id in row.input_ids]
    pieces = list(encoder.pieces(row, lab.tokenizer))
    return {**line_of(template, row), "tokens": tokens, "pieces": pieces, "painted": encoder.show(row, lab.tokenizer)}


def line_of(template: str, row: Encoded) -> dict[str, Any]:
    """Return an encoded row as `iikata encode --json` prints it."""
    return {
        "template": template,
        "id": row.id,
        "prompt": row.prompt,
        "completion": row.completion,
        "input_ids": list(row.input_ids),
        "completion_mask": list(row.completion_mask),
        "truncated": row.truncated,
    }
