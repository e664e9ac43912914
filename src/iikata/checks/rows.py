"""Rules on rows: empty and doubled ones, and held-out texts that are trained on."""

from collections.abc import Iterable, Iterator

from iikata.checks.case import Case, share
from iikata.dataset import LeftOut
from iikata.records import Example, Finding, Probe

PLACES = 3


def empty_rows(case: Case) -> Iterator[Finding]:
    """Rows without an answer, or without anything asked, are left out."""
    counts = case.data.counts
    yield from _left_out("empty_rows", counts.empty, counts.rows, "have no answer, or nothing asked")
    yield from _left_out(
        "empty_rows", counts.unencodable, counts.rows, "hold text that UTF-8 cannot (a lone surrogate)"
    )


def duplicate_rows(case: Case) -> Iterator[Finding]:
    """A row that stands twice counts once."""
    counts = case.data.counts
    yield from _left_out("duplicate_rows", counts.duplicates, counts.rows, "stand there already, word for word")


def _left_out(rule: str, left: LeftOut, rows: int, why: str) -> Iterator[Finding]:
    if left.rows:
        message = f"{share(left.rows, rows)} rows {why}; they are left out"
        yield Finding(rule, "warning", None, message, ", ".join(left.examples), "Take these rows from the data.")


def validation_in_train(case: Case) -> Iterator[Finding]:
    """Held-out loss must not be measured on what was trained."""
    counts = case.data.counts
    if counts.overlap.rows:
        message = f"{counts.overlap.rows} training rows stand in the validation file too; they are kept there only"
        places = ", ".join(counts.overlap.examples)
        yield Finding(
            "validation_in_train", "warning", None, message, places, "Take these rows from the training file."
        )
    asked = _asked(case.data.train)
    again = [row for row in case.data.validation if _key(row) in asked]
    if again:
        message = f"{share(len(again), len(case.data.validation))} validation rows ask what a training row asks"
        yield _held_out("validation_in_train", message, again, asked, len(case.data.validation))


def probe_in_train(case: Case) -> Iterator[Finding]:
    """A probe that is trained on measures memory."""
    asked = _asked(case.data.train)
    again = [probe for probe in case.probes if _key(probe) in asked]
    if again:
        message = f"{share(len(again), len(case.probes))} probes stand in the training rows: their answers are memory"
        yield _held_out("probe_in_train", message, again, asked, len(case.probes))


def _held_out(
    rule: str, message: str, again: Iterable[Example | Probe], asked: dict[tuple[str, str], Example], all: int
) -> Finding:
    pairs = [(item, asked[_key(item)]) for item in again]
    places = "; ".join(f"{item.id} is {row.source or row.id}: {row.instruction[:40]!r}" for item, row in pairs[:PLACES])
    cure = "Take from the training data: " + ", ".join(row.source or row.id for _, row in pairs)
    return Finding(rule, "error" if len(pairs) == all else "warning", None, message, places, cure)


def _asked(rows: Iterable[Example]) -> dict[tuple[str, str], Example]:
    return {_key(row): row for row in rows}


def _key(row: Example | Probe) -> tuple[str, str]:
    return " ".join(row.instruction.split()), " ".join(row.input.split())
