"""Stage encode: rows to tokens, what is left out counted and said."""

from typing import Any

from iikata import tokenize as encoder
from iikata.core.encoded import Encoded
from iikata.core.errors import IikataError
from iikata.core.records import plain
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Stage
from iikata.run_folder import write_json, write_lines

SHOWN = 3
"""Rows a template of which the tokens are kept to look at."""


def encode(ctx: RunContext) -> dict[str, int]:
    """Write the first rows of every template, painted, and the counts; refuse a template without any row left."""
    ctx.emit(Stage("encode", len(ctx.encoded), "templates"))
    counts: dict[str, Any] = {"data": plain(ctx.data.counts), "templates": {}}
    for name, rows in ctx.encoded.items():
        counts["templates"][name] = _counts(rows)
        template, cutoff = ctx.templates[name], ctx.experiment.train.cutoff_len
        held_out = (encoder.encode(row, template, ctx.tokenizer, cutoff) for row in ctx.data.validation[:SHOWN])
        write_lines(ctx.store.encoded(name), (_line(ctx, name, row) for row in rows[:SHOWN] or held_out))
        # That some rows are too long the doctor has told; without any left there is nothing to train on.
        if (over := counts["templates"][name]["over_length"]) == len(rows) > 0:
            raise IikataError(
                f"{ctx.experiment.at('train', 'cutoff_len')}template {name}: all {over} rows are longer than "
                f"train.cutoff_len {cutoff}, so there is nothing to train on. Raise train.cutoff_len."
            )
    write_json(ctx.store.counts, counts)
    write_json(ctx.store.templates, {name: _card(ctx, name) for name in ctx.templates})
    return {"tokens": sum(row["tokens"] for row in counts["templates"].values())}


def _card(ctx: RunContext, name: str) -> dict[str, Any]:
    """Return what the report shows of a template, so that a report needs no model."""
    template, tokenizer = ctx.templates[name], ctx.tokenizer
    return {
        "text": template.text,
        "hash": template.hash,
        "newline": template.newline,
        "markers": template.template_literals(),
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


def _line(ctx: RunContext, template: str, row: Encoded) -> dict[str, Any]:
    tokens = [ctx.tokenizer.token(id) for id in row.input_ids]
    pieces = list(encoder.pieces(row, ctx.tokenizer))
    return {**line_of(template, row), "tokens": tokens, "pieces": pieces, "painted": encoder.show(row, ctx.tokenizer)}


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
