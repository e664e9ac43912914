"""Read the data of an experiment: training rows, validation rows, and counts of what was left out."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from iikata.config import Columns, DataSettings, absolute_path, local_path
from iikata.core.errors import IikataError
from iikata.core.files import near_file
from iikata.core.records import Example
from iikata.core.text import HIDDEN
from iikata.data.columns import Unused, settle, unused
from iikata.data.examples import example
from iikata.data.rows import Row, read_rows
from iikata.data.split import hold_out_count, hold_out_share

MOST_HELD_OUT = 500
"""Rows that are held out where the experiment does not say how many; a tenth where that is less."""
HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?", re.ASCII)
INSTEAD = "Or give a local file: data: {train: rows.jsonl} (json, jsonl, csv, parquet)."


@dataclass(frozen=True)
class LeftOut:
    """Rows that were left out for one reason."""

    rows: int
    examples: tuple[str, ...]
    """Places (`file:line`) of the first five."""


@dataclass(frozen=True)
class Counts:
    """What became of the rows that were read, those of a validation file included."""

    rows: int
    train: int
    validation: int
    without_input: int
    """Examples kept that have no input."""
    duplicates: LeftOut
    """The same instruction, input and output as a row before; the first is kept."""
    empty: LeftOut
    """No output, or neither instruction nor input."""
    unencodable: LeftOut
    """Text that UTF-8 cannot hold (a lone surrogate)."""
    overlap: LeftOut
    """Training rows that are in the validation file too; kept there only."""


@dataclass(frozen=True)
class Dataset:
    """Examples to train on and to measure by; no content is in both, or twice."""

    train: list[Example]
    validation: list[Example]
    counts: Counts
    unused: tuple[Unused, ...] = ()
    """Columns with text that nothing uses."""
    levels: Mapping[tuple[str, ...], list[Example]] = field(default_factory=dict)
    """The training rows of each set of files that some variant is trained on, where there are several."""

    @property
    def clusters(self) -> dict[str, str]:
        """Return held-out row -> what it is counted with: its document, or itself where it is the only one of it."""
        sizes = Counter(row.cluster for row in self.validation)
        return {row.id: row.cluster if row.cluster and sizes[row.cluster] > 1 else row.id for row in self.validation}

    def of(self, specs: tuple[str, ...]) -> list[Example]:
        """Return the training rows of one set of files."""
        return self.levels.get(specs, self.train)


def read(settings: DataSettings, folder: Path, levels: Sequence[tuple[str, ...]] = ()) -> Dataset:
    """Return the data set, relative paths counting from `folder`.

    `levels` are the sets of files that variants are trained on, in place of settings.train: what is held out is held
    out of all of them together, so that every variant is measured by the same rows, and trained on none of these.
    Raises IikataError where a file or a column is missing or broken, or no row is left on a side.
    """
    left_out: dict[str, list[str]] = {"duplicates": [], "empty": [], "unencodable": [], "overlap": []}
    every = {spec: _rows(spec, folder, settings.columns) for specs in (levels or [settings.train]) for spec in specs}
    rows = [row for own in every.values() for row in own]
    parts = {specs: list(_usable((r for s in specs for r in every[s]), settings, left_out)) for specs in levels}
    united = {row.id: row for part in parts.values() for row in part}
    train = list(united.values()) if levels else list(_usable(rows, settings, left_out))
    validation: list[Example]
    if isinstance(settings.validation, str):
        held = _rows(settings.validation, folder, settings.columns)
        rows += held
        validation = list(_usable(held, settings, left_out))
        held_ids = {held.id for held in validation}
        left_out["overlap"] = [row.source for row in train if row.id in held_ids]
    else:
        fitting = min(MOST_HELD_OUT, max(1, len(train) // 10)) if len(train) > 1 else 0
        validation = _hold_out(train, fitting if settings.validation is None else settings.validation)
        held_ids = {held.id for held in validation}
    train = [row for row in train if row.id not in held_ids]
    if not train or (not validation and settings.validation != 0):
        reasons = ", ".join(f"{reason}: {len(sources)}" for reason, sources in left_out.items())
        left = f"{len(train)} are left to train on and {len(validation)} to measure by ({reasons})"
        specs = ", ".join(settings.train)
        raise IikataError(
            f"data: {len(rows)} rows were read from {specs:.300}; {left}. Give more rows, or another data.validation."
        )
    counts = Counts(
        rows=len(rows),
        train=len(train),
        validation=len(validation),
        without_input=sum(not row.input for row in [*train, *validation]),
        **{reason: LeftOut(len(sources), tuple(sources[:5])) for reason, sources in left_out.items()},
    )
    kept = {specs: [row for row in part if row.id not in held_ids] for specs, part in parts.items()}
    if empty := next((specs for specs, part in kept.items() if not part), None):
        raise IikataError(f"data: no row of {', '.join(empty)} is left to train on beside what is held out.")
    return Dataset(train, validation, counts, tuple(unused(rows, settings.columns)), kept)


def _rows(spec: str, folder: Path, columns: Columns) -> list[Row]:
    path = local_path(spec, folder, "data")
    hub = path is None and HUB_ID.fullmatch(spec)
    asked = absolute_path(spec, folder)
    rows = list(_hub(spec, near_file(asked)) if hub else read_rows(path or asked, spec))
    settle(rows, columns)
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
        why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise IikataError(
            f'"{name}" is no file here{near}, and the hub does not give it ({why}). '
            f"Check the id and the network. {INSTEAD}"
        ) from None


def _usable(rows: Iterable[Row], settings: DataSettings, left_out: dict[str, list[str]]) -> Iterator[Example]:
    """Yield the examples of `rows`, each content once, and note in `left_out` where the others stood."""
    seen: set[str] = set()
    for row in rows:
        kept = example(row, settings.columns)
        if kept is None:
            left_out["unencodable"].append(row[0])
        elif _blank(kept.output) or _blank(kept.instruction + kept.input):
            left_out["empty"].append(row[0])
        elif kept.id in seen:
            left_out["duplicates"].append(row[0])
        else:
            seen.add(kept.id)
            yield kept


def _blank(text: str) -> bool:
    return not HIDDEN.sub("", text).strip()


def _hold_out(examples: list[Example], validation: int | float) -> list[Example]:
    if isinstance(validation, float):
        return hold_out_share(examples, validation)
    if validation >= len(examples) and validation:
        raise IikataError(
            f"data.validation: {validation} rows are to be held out of {len(examples)}; "
            f"give fewer, a share as 0.1, or 0 for none."
        )
    return hold_out_count(examples, validation)
