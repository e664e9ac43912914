"""Rules on rows: empty and doubled ones, and held-out texts that are trained on."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from iikata.core.records import Example, Finding, Probe
from iikata.data import ALSO_CALLED, NULLS, LeftOut, Unused
from iikata.doctor.doctor_input import DoctorInput, share

SHOWN = 3
MANY = 20
"""Rows with one input, and the part of all rows, from which on it is told."""
TURNS = ("system", "system_prompt", "history", "tools")
"""Columns that say what an answer follows from."""
UNFILLED = re.compile(r"\{\{\s*\w+\s*\}\}")
BESIDE = ("input", *ALSO_CALLED["input"])


def empty_rows(case: DoctorInput) -> Iterator[Finding]:
    """Rows without an answer, or without anything asked, are left out."""
    counts = case.data.counts
    yield from _left_out("empty_rows", counts.empty, counts.rows, "have no answer, or nothing asked")
    yield from _left_out(
        "empty_rows", counts.unencodable, counts.rows, "hold text that UTF-8 cannot (a lone surrogate)"
    )

    rows = [*case.data.train, *case.data.validation]
    bare = [row.source or row.id for row in rows if not row.instruction.strip()]
    if bare:
        message = f"{share(len(bare), len(rows))} rows have an input and no instruction"
        yield Finding("empty_rows", "info", None, message, ", ".join(bare[:SHOWN]), "They are trained as they are.")


def null_words(case: DoctorInput) -> Iterator[Finding]:
    """Nothing that was written as a word ("nan") is trained as that word, a place still to be filled as it is."""
    rows = [*case.data.train, *case.data.validation]
    for name in ("input", "output"):
        found = [row for row in rows if getattr(row, name).strip().lower() in NULLS]
        if found:
            words = ", ".join(sorted({repr(getattr(row, name).strip()) for row in found}))
            message = (
                f"in {share(len(found), len(rows))} rows the {name} is the word {words}, which is trained as it is"
            )
            sources = ", ".join(row.source or row.id for row in found[:SHOWN])
            yield Finding("null_words", "warning", None, message, sources, 'Where nothing is meant, write "".')
    yield from _unfilled(rows)


def _unfilled(rows: list[Example]) -> Iterator[Finding]:
    """A place as in LLaMA-Factory's identity.json, {{name}}, is filled before training."""
    found = [(row, words) for row in rows if (words := UNFILLED.findall("\n".join(_texts(row))))]
    if found:
        shown = ", ".join(sorted({word for _, held in found for word in held})[:SHOWN])
        message = f"{share(len(found), len(rows))} rows hold places that look like still to be filled: {shown}"
        places = ", ".join(row.source or row.id for row, _ in found[:SHOWN])
        fix = "Put the names in their place in the file. Where the braces are meant, nothing is to be done."
        yield Finding("null_words", "warning", None, message, places, fix)


def _texts(row: Example) -> list[str]:
    return [row.before.system, *(text for turn in row.before.turns for text in turn), *row.texts[:3]]


def unused_columns(case: DoctorInput) -> Iterator[Finding]:
    """Text in a column that nothing uses is trained by no template."""
    rows, read = case.data.counts.rows, "; ".join(case.data.read_as)
    others = []
    for column in case.data.unused:
        beside = column.column in BESIDE and not any(row.input for row in case.data.train)
        if not (beside or column.turns or column.column in TURNS):
            others.append(column)
            continue
        message = f'text in "{column.column}" in {share(column.rows, rows)} rows is not trained on: {read}'
        fix = f"data: {{columns: {{input: {column.column}}}}}" if beside else _TURNS_FIX
        yield Finding("unused_columns", "warning", None, message, _example(column), fix)
    if others:
        names = ", ".join(f"{column.column} ({column.rows:,} rows)" for column in others)
        message = f"text in columns that nothing uses: {names}"
        yield Finding("unused_columns", "info", None, message, "; ".join(map(_example, others[:SHOWN])))


_TURNS_FIX = (
    "Where it belongs to the conversation, name the column: data: {columns: {system: NAME}}, history or messages. "
    "Calls of tools are not read."
)


def _example(column: Unused) -> str:
    return f"{column.source}: {column.column} {column.example!r}"


def held_out(case: DoctorInput) -> Iterator[Finding]:
    """How many rows are held out where the experiment leaves it open, and whether one input ties many together."""
    if case.experiment.data.validation is None and case.experiment.holds_out:
        counts = case.data.counts
        message = f"{share(counts.validation, counts.train + counts.validation)} rows are held out to measure by"
        yield Finding("held_out", "info", None, message, cure="data: {validation: N} chooses; 0 for none.")
    rows = [*case.data.train, *case.data.validation]
    together = [row for row in rows if row.cluster == _largest(rows)]
    if case.experiment.data.columns.cluster is None and len(together) > max(MANY, len(rows) // MANY):
        message = (
            f"{share(len(together), len(rows))} rows have the same input and count as one document: they are held out "
            "together or not at all"
        )
        fix = "If it is no document: data: {columns: {cluster: none}}, or the column that names the document."
        yield Finding("held_out", "warning", None, message, f"{together[0].source}: {together[0].input:.60}", fix)


def _largest(rows: list[Example]) -> str | None:
    sizes = Counter(row.cluster for row in rows if row.cluster)
    return max(sizes, key=sizes.__getitem__, default=None)


def duplicate_rows(case: DoctorInput) -> Iterator[Finding]:
    """A row that is there twice counts once."""
    counts = case.data.counts
    yield from _left_out("duplicate_rows", counts.duplicates, counts.rows, "are there already, word for word")


def _left_out(rule: str, left: LeftOut, rows: int, why: str) -> Iterator[Finding]:
    if left.rows:
        message = f"{share(left.rows, rows)} rows {why}; they are left out"
        yield Finding(rule, "warning", None, message, ", ".join(left.examples), "Take these rows from the data.")


def validation_in_train(case: DoctorInput) -> Iterator[Finding]:
    """Held-out loss must not be measured on what was trained."""
    counts = case.data.counts
    if counts.overlap.rows:
        message = f"{counts.overlap.rows} training rows are in the validation file too; they are kept there only"
        sources = ", ".join(counts.overlap.examples)
        yield Finding(
            "validation_in_train", "warning", None, message, sources, "Take these rows from the training file."
        )
    asked = _asked(case.data.train)
    again = [row for row in case.data.validation if _key(row) in asked]
    if again:
        message = f"{share(len(again), len(case.data.validation))} validation rows ask what a training row asks"
        yield _held_out("validation_in_train", message, again, asked, len(case.data.validation))


def probe_in_train(case: DoctorInput) -> Iterator[Finding]:
    """A probe that is trained on measures memory."""
    asked = _asked(case.data.train)
    again = [probe for probe in case.probes if _key(probe) in asked]
    if again:
        message = f"{share(len(again), len(case.probes))} probes are among the training rows: their answers are memory"
        yield _held_out("probe_in_train", message, again, asked, len(case.probes))


def _held_out(
    rule: str, message: str, again: Iterable[Example | Probe], asked: dict[tuple[str, str], Example], all: int
) -> Finding:
    pairs = [(item, asked[_key(item)]) for item in again]
    sources = "; ".join(f"{item.id} is {row.source or row.id}: {row.instruction[:40]!r}" for item, row in pairs[:SHOWN])
    fix = "Take from the training data: " + ", ".join(row.source or row.id for _, row in pairs)
    return Finding(rule, "error" if len(pairs) == all else "warning", None, message, sources, fix)


def _asked(rows: Iterable[Example]) -> dict[tuple[str, str], Example]:
    return {_key(row): row for row in rows}


def _key(row: Example | Probe) -> tuple[str, str]:
    return " ".join(row.before.transcript(row.instruction).split()), " ".join(row.input.split())
