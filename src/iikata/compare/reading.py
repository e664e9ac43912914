"""Read score lines from any tool, telling every bad line by its number."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iikata.compare.table import ScoreTable, TableWriter
from iikata.errors import IikataError
from iikata.records import Score
from iikata.registry import did_you_mean

REQUIRED = ("trained_on", "seed", "prompted_with", "probe", "metric", "value")
OPTIONAL = ("cluster", "sample", "signature")
LARGE = 8_000_000
"""Bytes from which on pyarrow reads the columns: three times as fast, but its import takes 0.3 s."""
SHOWN = 20


def read_scores(path: str | Path, torn_ok: bool = False) -> list[Score]:
    """Read a file of score lines as records; see read_table, which is faster and smaller."""
    return read_table(path, torn_ok).scores()


def read_table(path: str | Path, torn_ok: bool = False) -> ScoreTable:
    """Read a file of score lines, one JSON object a line, as columns.

    `value` null or NaN means "could not be scored"; `cluster` may be left out (each probe is its own), and so may
    `sample` (0) and `signature`. Raises IikataError that tells all bad lines as `file:line`. A last line without
    its newline that is no JSON (a torn write) is left out and counted where `torn_ok`, else told like the others.
    """
    path = Path(path)
    if not path.is_file():
        raise IikataError(f"{path}: no such file of scores.")
    if path.stat().st_size >= LARGE:
        from iikata.compare.arrow import read_columns

        if (table := read_columns(path)) is not None:
            return table
    return _read_lines(path, torn_ok)


def _read_lines(path: Path, torn_ok: bool) -> ScoreTable:
    writer, faults, torn = TableWriter(), [], 0
    for number, text in _lines(path):
        record, fault = _parse(text)
        if torn_ok and fault.startswith("not JSON") and not text.endswith("\n"):
            torn += 1
        elif fault:
            faults.append(f"{path}:{number}: {fault}")
        else:
            cell = (record["trained_on"], record["seed"], record["prompted_with"])
            probe, value = record["probe"], record["value"]
            named = (cell, probe, record.get("cluster") or probe, record["metric"], record.get("signature") or "")
            writer.add(named, record.get("sample", 0), float("nan") if value is None else value, number)
    if faults:
        more = [f"{len(faults)} bad lines in all."] if len(faults) > SHOWN else []
        raise IikataError("\n".join(faults[:SHOWN] + more))
    return writer.table(str(path), torn)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    yield number, text
    except UnicodeDecodeError as error:
        raise IikataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}).") from None


class _Pairs(list):
    """A JSON object as its pairs, so that a key written twice is seen."""


_decode = json.JSONDecoder(object_pairs_hook=_Pairs).decode


def _parse(text: str) -> tuple[dict[str, Any], str]:
    """Return the line's fields and what is wrong with them, or nothing."""
    try:
        pairs = _decode(text)
    except (ValueError, RecursionError) as error:
        return {}, f"not JSON ({error})."
    if not isinstance(pairs, _Pairs):
        return {}, f"expected a JSON object, saw {text.strip()[:40]}."
    record = dict(pairs)
    if len(record) != len(pairs):
        return {}, "a field is written twice: " + ", ".join(name for name, _ in pairs) + "."
    return record, _field_fault(record) or _text_fault(record) or _number_fault(record)


def _field_fault(record: dict[str, Any]) -> str:
    allowed = (*REQUIRED, *OPTIONAL)
    for name in record:
        if name not in allowed:
            return f'field "{name}" is unknown{did_you_mean(name, allowed)}. Allowed: {", ".join(allowed)}.'
    for name in REQUIRED:
        if name not in record:
            return f'field "{name}" is missing. Required: {", ".join(REQUIRED)}.'
    return ""


def _text_fault(record: dict[str, Any]) -> str:
    for name in ("prompted_with", "probe", "metric"):
        if not isinstance(record[name], str) or not record[name]:
            return f"{name} must be a text, saw {record[name]!r}."
    for name in ("trained_on", "cluster", "signature"):
        if not isinstance(record.get(name), str | None):
            return f"{name} must be a text or null, saw {record[name]!r}."
    return ""


def _number_fault(record: dict[str, Any]) -> str:
    seed, sample, value = record["seed"], record.get("sample", 0), record["value"]
    if type(seed) is not int and seed is not None:
        return f"seed must be a whole number, or null for the untuned base, saw {seed!r}."
    if seed is not None and record["trained_on"] is None:
        return f"the untuned base (trained_on null) has no training seed, saw seed {seed}; write null."
    if type(sample) is not int or not 0 <= sample < 2**63:
        return f"sample must be a whole number from 0 on, saw {sample!r}."
    if type(value) not in (int, float) and value is not None:
        return f"value must be a number, or null where the answer could not be scored, saw {value!r}."
    if value is not None and abs(value) > sys.float_info.max:
        return "value is infinite; write null where the answer could not be scored."
    return ""
