"""Read the data of an experiment: training rows and validation rows."""

import logging
import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from iikata.config import Columns, DataSettings, absolute_path, local_path
from iikata.core.errors import IikataError, first_line
from iikata.core.files import near_file
from iikata.core.records import Example
from iikata.core.text import HIDDEN
from iikata.data.cells import unfold
from iikata.data.columns import settle, unused
from iikata.data.dataset import LEFT_OUT, Counts, Dataset, LeftOut
from iikata.data.examples import example
from iikata.data.formats import FORMATS, Format, Said, as_the_first, format_of, refuse_more
from iikata.data.rows import Row, read_rows
from iikata.data.split import hold_out_count, hold_out_share
from iikata.data.turns import UnreadError, UntrainableError, with_system

MOST_HELD_OUT = 500
"""Rows that are held out where the experiment does not say how many; a tenth where that is less."""
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?", re.ASCII)
INSTEAD = "Or give a local file: data: {train: rows.jsonl} (json, jsonl, csv, parquet)."


def read(settings: DataSettings, folder: Path, levels: Sequence[tuple[str, ...]] = ()) -> Dataset:
    """Return the data set, relative paths counting from `folder`.

    `levels` are the sets of files that variants are trained on, in place of settings.train: what is held out is held
    out of all of them together, so that every variant is measured by the same rows, and trained on none of these.
    Where neither is given nothing is trained. Raises IikataError where a file or a column is missing or broken, or no
    row is left on a side that there should be.
    """
    left_out: dict[str, list[str]] = {reason: [] for reason in LEFT_OUT}
    levels = levels or ([settings.train] if settings.train else [])
    every = {spec: _rows(spec, folder, settings) for specs in levels for spec in specs}
    rows = [row for own in every.values() for row in own]
    parts = {of: list(_usable((r for s in dict.fromkeys(of) for r in every[s]), settings, left_out)) for of in levels}
    train = list({row.id: row for part in parts.values() for row in part}.values())
    if isinstance(settings.validation, str):
        held = _rows(settings.validation, folder, settings)
        every = {**every, settings.validation: held}
        rows += held
        validation = list(_usable(held, settings, left_out))
    else:
        validation = _hold_out(train, settings.validation, _why(left_out))
    held_ids = {row.id for row in validation}
    if isinstance(settings.validation, str):
        left_out["overlap"] = [row.source for row in train if row.id in held_ids]
    left_out = {why: [*dict.fromkeys(sources)] for why, sources in left_out.items()}  # a file may be in several levels
    train = [row for row in train if row.id not in held_ids]
    measured = isinstance(settings.validation, str) or (levels and settings.validation != 0)
    if (levels and not train) or (measured and not validation):
        left = f"{len(train)} are left to train on and {len(validation)} to measure by{_why(left_out)}"
        seen = f"data: {len(rows)} rows were read from {', '.join(every):.300}"
        raise IikataError(f"{seen}; {left}. Give more rows, or another data.validation.")
    found = {reason: LeftOut(len(sources), tuple(sources[:5])) for reason, sources in left_out.items()}
    counts = Counts(
        rows=len(rows),
        train=len(train),
        validation=len(validation),
        without_input=sum(not row.input for row in [*train, *validation]),
        **{reason: found.pop(reason) for reason in LEFT_OUT},
    )
    kept = {specs: [row for row in part if row.id not in held_ids] for specs, part in parts.items()}
    if empty := next((specs for specs, part in kept.items() if not part), None):
        fix = "Give more rows, or a smaller data.validation."
        raise IikataError(f"data: no row of {', '.join(empty)} is left to train on beside what is held out. {fix}")
    read_as = tuple(_read_as(spec, own) for spec, own in every.items())
    others = tuple(
        unused([one.row for one in rows], {str(settings.columns.cluster), *(n for one in rows for n in one.used)})
    )
    return Dataset(train, validation, counts, read_as, others, kept, irregular=found)


@dataclass(frozen=True)
class _Row:
    """A row with what it says, or why that is no conversation to train on."""

    row: Row
    said: Said | str
    format: Format
    used: tuple[str, ...]
    """The columns that were read."""


def _read_as(spec: str, rows: Sequence[_Row]) -> str:
    """Return what a file was read as, in a line."""
    said = [one.said for one in rows if isinstance(one.said, Said)]
    if not said:
        return f"{spec}: {len(rows)} rows"
    turns = sum(len(one.before.turns) + 1 for one in said) / len(said)
    systems = sum(bool(one.before.system) for one in said) / len(said)
    told = [f"{len(rows):,} rows", *([f"{turns:.1f} turns"] if turns > 1 else [])]
    told += [f"{100 * systems:.0f}% with a system prompt"] if systems else []
    columns = ", ".join(name for name in rows[0].used if name in rows[0].row[1])
    return f"{spec}: read as {rows[0].format.shown}: {', '.join(told)} (columns {columns})"


def _rows(spec: str, folder: Path, settings: DataSettings) -> list[_Row]:
    """Return the rows of a file with what they say. Raises IikataError for rows that are more than text."""
    rows, columns = _fields(spec, folder, settings.columns), settings.columns
    format = format_of(settings.format, rows[0][1] if rows else {}, columns)
    made, unread = [], Counter[str]()
    first: dict[str, tuple[str, str]] = {}
    for row in rows:
        # A named format reads what its columns alone would not be taken for.
        used = next(filter(None, (one.columns(row[1], columns) for one in (format, FORMATS["turns"]))), ())
        try:
            refuse_more(row[1], columns)
            made.append(_Row(row, format.read(row, as_the_first(columns, rows[0][1], row[1])), format, used))
        except UntrainableError as why:
            made.append(_Row(row, str(why), format, used))
        except IikataError:
            other = format_of(settings.format, row[1], columns)
            if other is format or not other.columns(row[1], columns):
                raise
            raise IikataError(
                f"{row[0]}: this row looks like {other.shown}, and the first of its file was read as {format.shown}. "
                "Give each shape a file of its own: data: {train: [one.jsonl, other.jsonl]}"
            ) from None
        except UnreadError as why:
            unread[why.held] += 1
            first.setdefault(why.held, (row[0], why.fix))
    if unread:
        held = ", ".join(f"{count:,} hold {what} (first {first[what][0]})" for what, count in unread.items())
        fixes = " ".join(dict.fromkeys(fix for _, fix in first.values()))
        raise IikataError(f"{spec}: of {len(rows):,} rows {held}. {fixes}")
    return made


def _fields(spec: str, folder: Path, columns: Columns) -> list[Row]:
    path = local_path(spec, folder, "data")
    hub = path is None and HUB_ID.fullmatch(spec)
    asked = absolute_path(spec, folder)
    rows = list(_hub(spec, near_file(asked)) if hub else read_rows(path or asked, spec))
    settle(rows, columns)
    unfold(rows, columns)
    return rows


def _hub(name: str, near: str = "") -> Iterator[Row]:
    """Yield the rows of the split `train` of the data set `name`, placed `name: row 17`.

    `near` is said of a file here that is spelled alike. Raises IikataError where the package `datasets` is not
    installed or the data set cannot be had.
    """
    try:
        import datasets
    except ImportError:
        message = f'"{name}" is no file here{near}; as a data set on the hub it needs: pip install "iikata[hub]".'
        raise IikataError(f"{message} {INSTEAD}") from None
    # Without a network it tells of each of its retries, for half a minute.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        for number, row in enumerate(datasets.load_dataset(name, split="train"), start=1):
            yield f"{name}: row {number}", dict(row)
    except Exception as error:
        # datasets, huggingface_hub, requests and pyarrow each raise their own kinds.
        raise IikataError(
            f'"{name}" is no file here{near}, and the hub does not give it ({first_line(error)}). '
            f"Check the id and the network. {INSTEAD}"
        ) from None


def _usable(rows: Iterable[_Row], settings: DataSettings, left_out: dict[str, list[str]]) -> Iterator[Example]:
    """Yield the examples of `rows`, each content once, and note in `left_out` where the others stood."""
    seen: set[str] = set()
    for one in rows:
        if isinstance(one.said, str):
            for reason in ("irregular", one.said):
                left_out.setdefault(reason, []).append(one.row[0])
            continue
        before = with_system(one.said.before, settings.system, one.row[0])
        kept = example(one.row, replace(one.said, before=before), settings.columns)
        if reason := _unusable(kept, seen):
            left_out[reason].append(one.row[0])
        elif kept is not None:
            seen.add(kept.id)
            told = {
                "unanswered": one.said.unanswered,
                "marked": one.said.marked,
                "systems": one.said.systems > 1 and settings.system != "drop",
            }
            for reason in filter(told.get, told):
                left_out[reason].append(one.row[0])
            yield kept


def _unusable(row: Example | None, seen: Container[str]) -> str:
    if row is None:
        return "unencodable"
    asked = [question for question, _ in row.before.turns] + [row.instruction + row.input]
    if not all(HIDDEN.sub("", text).strip() for text in (*row.outputs, *asked)):
        return "empty"
    return "duplicates" if row.id in seen else ""


REASONS = {
    "duplicates": "duplicates",
    "empty": "lacking a question or an answer",
    "unencodable": "no text in UTF-8",
    "overlap": "held out too",
}


def _why(left_out: Mapping[str, list[str]]) -> str:
    """Return in brackets how many rows were left out for each reason, and the first of them."""
    places = {why: [*dict.fromkeys(sources)] for why, sources in left_out.items() if sources}
    places = {why: sources for why, sources in places.items() if why != "irregular"}  # why it is, is there too
    told = "; ".join(f"{len(to)} seen as {REASONS.get(why, why)} (first {to[0]})" for why, to in places.items())
    return f", after leaving out {told}" if told else ""


def _hold_out(examples: list[Example], validation: int | float | None, left_out: str) -> list[Example]:
    if validation is None:
        validation = min(MOST_HELD_OUT, max(1, len(examples) // 10)) if len(examples) > 1 else 0
    if isinstance(validation, float):
        return hold_out_share(examples, validation)
    if validation >= len(examples) > 0:
        raise IikataError(
            f"data.validation: {validation} rows are to be held out of {len(examples)}{left_out}; "
            f"give fewer, a share as 0.1, or 0 for none."
        )
    return hold_out_count(examples, validation)
