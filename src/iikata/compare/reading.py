"""Read score lines from any tool, telling every bad line by its number."""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iikata.compare.foreign import refuse_foreign
from iikata.compare.table import ScoreTable, TableWriter
from iikata.errors import IikataError
from iikata.records import Score
from iikata.registry import did_you_mean

REQUIRED = ("trained_on", "seed", "prompted_with", "probe", "metric", "value")
OPTIONAL = ("cluster", "sample", "signature")
LARGE = 8_000_000
"""Bytes from which on pyarrow reads the columns: three times as fast, but its import takes 0.3 s."""
LONGEST = 1 << 20
"""Bytes of a line; some two hundred are usual."""
LARGEST = 1e100
"""Of a value; beyond it sums of squares overflow."""
SHOWN = 20
CURE = (
    "Nothing of this file was used. Mend these lines, or write the file again; a line is one score, as "
    '{"trained_on": "alpaca", "seed": 0, "prompted_with": "alpaca", "probe": "p1", "metric": "contains", "value": 1.0}.'
)
TORN = " The last line has no line break: whatever wrote the file was stopped in the middle of it."
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""What no terminal and no report may be handed; a surrogate is half a character."""


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
    refuse_foreign(path)
    if path.stat().st_size >= LARGE:
        from iikata.compare.arrow import read_columns

        if (table := read_columns(path)) is not None:
            return table
    return _read_lines(path, torn_ok)


def _read_lines(path: Path, torn_ok: bool) -> ScoreTable:
    writer, faults, torn = TableWriter(), [], 0
    for number, line in _lines(path):
        record, fault = _parse(line)
        cut = fault.startswith(("not JSON", "not UTF-8")) and not line.endswith(b"\n")
        if torn_ok and cut:
            torn += 1
        elif fault:
            faults.append(f"{path}:{number}: {fault}{TORN if cut else ''}")
        else:
            cell = (record["trained_on"], record["seed"], record["prompted_with"])
            probe, value = record["probe"], record["value"]
            named = (cell, probe, record.get("cluster") or probe, record["metric"], record.get("signature") or "")
            writer.add(named, record.get("sample", 0), float("nan") if value is None else value, number)
    if faults:
        more = [f"{len(faults)} bad lines in all."] if len(faults) > SHOWN else []
        raise IikataError("\n".join([*faults[:SHOWN], *more, CURE]))
    return writer.table(str(path), torn)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST + 1):
            number += 1
            if len(line) > LONGEST:
                raise IikataError(f"{path}:{number}: this line is longer than {LONGEST:,} bytes. {CURE}")
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if line.strip():
                yield number, line


def is_text(name: str | None) -> bool:
    """Return whether a name may be shown as it is."""
    return name is None or _CONTROL.search(name) is None


class _Pairs(list):
    """A JSON object as its pairs, so that a key written twice is seen."""


_decode = json.JSONDecoder(object_pairs_hook=_Pairs).decode


def _parse(line: bytes) -> tuple[dict[str, Any], str]:
    """Return the line's fields and what is wrong with them, or nothing."""
    try:
        pairs = _decode(line.decode())
    except UnicodeDecodeError as error:
        return {}, f"not UTF-8 ({error.reason} at byte {error.start + 1} of the line)."
    except json.JSONDecodeError as error:
        return {}, f"not JSON ({error.msg} at column {error.colno}).{_whole(line)}"
    except (ValueError, RecursionError):  # a number of thousands of digits; thousands of brackets
        return {}, f"not JSON that can be read, begins {_seen(line)}."
    if not isinstance(pairs, _Pairs):
        return {}, f"expected a JSON object, saw {_seen(line)}.{_whole(line)}"
    record = dict(pairs)
    if len(record) != len(pairs):
        return {}, "a field is written twice: " + ", ".join(_shown(name) for name, _ in pairs[:SHOWN]) + "."
    return record, _field_fault(record) or _text_fault(record) or _number_fault(record)


def _whole(line: bytes) -> str:
    """Return how a document of JSON becomes lines, where this may be the beginning of one."""
    if line.strip()[:1] == b"[":
        return " A list becomes lines with: jq -c '.[]' FILE."
    return " One object over several lines becomes one line with: jq -c . FILE." if line.strip() == b"{" else ""


def _seen(line: bytes) -> str:
    return _shown(line.strip()[:40].decode(errors="replace"))


def _shown(value: Any) -> str:
    """Return a value as it may stand in a message: short, without control characters."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:80]}..."


def _field_fault(record: dict[str, Any]) -> str:
    allowed = (*REQUIRED, *OPTIONAL)
    for name in record:
        if name not in allowed:
            return f"field {_field(name)} is unknown{did_you_mean(name, allowed)}. Allowed: {', '.join(allowed)}."
    for name in REQUIRED:
        if name not in record:
            return f'field "{name}" is missing. Required: {", ".join(REQUIRED)}.'
    return ""


def _field(name: str) -> str:
    return f'"{name}"' if name.isprintable() and len(name) < 80 else _shown(name)


def _text_fault(record: dict[str, Any]) -> str:
    for name in ("prompted_with", "probe", "metric"):
        if not isinstance(record[name], str) or not record[name]:
            return f"{name} must be a text, saw {_shown(record[name])}."
    for name in ("trained_on", "cluster", "signature"):
        if not isinstance(record.get(name), str | None):
            return f"{name} must be a text or null, saw {_shown(record[name])}."
    if record["trained_on"] == "":
        return "trained_on is empty; write the template's name, or null for the untuned base."
    for name, text in record.items():
        if isinstance(text, str) and (found := _CONTROL.search(text)):
            return (
                f"{name} holds the character U+{ord(found[0]):04X}, which is no text, in {_shown(text)}; leave it out."
            )
    return ""


def _number_fault(record: dict[str, Any]) -> str:
    seed, sample, value = record["seed"], record.get("sample", 0), record["value"]
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**63):
        return f"seed must be a whole number from 0 on, or null for the untuned base, saw {_shown(seed)}."
    if seed is not None and record["trained_on"] is None:
        return f"the untuned base (trained_on null) has no training seed, saw seed {seed}; write null."
    if type(sample) is not int or not 0 <= sample < 2**63:
        return f"sample must be a whole number from 0 on, saw {_shown(sample)}."
    if type(value) not in (int, float) and value is not None:
        return f"value must be a number, or null where the answer could not be scored, saw {_shown(value)}."
    if value is not None and abs(value) > LARGEST:
        return f"value is infinite or beyond {LARGEST:g}; write null where the answer could not be scored."
    return ""
