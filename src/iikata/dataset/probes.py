"""Read the probes: held-out prompts that every cell answers."""

import re
from pathlib import Path
from typing import Any

from iikata.dataset.examples import text
from iikata.dataset.rows import Row, read_rows
from iikata.errors import IikataError
from iikata.records import Probe
from iikata.registry import did_you_mean

FIELDS = ("id", "instruction", "input", "references", "pattern", "cluster")


def read_probes(path: Path) -> list[Probe]:
    """Return the probes of a json or jsonl file, in file order.

    A probe without an id is called p001, p002, ... by its position; without a cluster, its own id is its
    cluster. Raises IikataError at `file:line` for an unknown field, a probe without an instruction, an id
    that stands twice and a pattern that is no regular expression.
    """
    if path.suffix.lower() not in (".json", ".jsonl"):
        raise IikataError(f"{path}: probes are read from json and jsonl files.")
    probes: dict[str, Probe] = {}
    for number, row in enumerate(read_rows(path, str(path)), start=1):
        probe = _probe(row, f"p{number:03d}")
        if probe.id in probes:
            raise IikataError(f'{row[0]}: the id "{probe.id}" stands twice; give each probe its own.')
        probes[probe.id] = probe
    if not probes:
        raise IikataError(f"{path}: no probe in it.")
    return list(probes.values())


def _probe(row: Row, default_id: str) -> Probe:
    place, fields = row
    for name in fields:
        if name not in FIELDS:
            known = ", ".join(FIELDS)
            raise IikataError(f'{place}: unknown field "{name}"{did_you_mean(name, FIELDS)}; allowed: {known}.')
    words = {name: text(fields.get(name), f"{place}: {name}") for name in FIELDS if name != "references"}
    if not words["instruction"].strip():
        raise IikataError(f'{place}: a probe needs an "instruction".')
    words["id"] = words["id"] or default_id
    words["cluster"] = words["cluster"] or words["id"]
    pattern = _pattern(words.pop("pattern"), place)
    probe = Probe(**words, references=_references(fields.get("references"), place), pattern=pattern)
    try:
        "".join((*words.values(), *probe.references)).encode()
    except UnicodeEncodeError:
        raise IikataError(f"{place}: a lone surrogate stands in the text; UTF-8 cannot hold it.") from None
    return probe


def _pattern(pattern: str, place: str) -> str | None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise IikataError(f'{place}: pattern "{pattern}" is no regular expression: {error}.') from None
    return pattern or None


def _references(references: Any, place: str) -> tuple[str, ...]:
    several = references if isinstance(references, list) else [] if references is None else [references]
    texts = tuple(text(reference, f"{place}: references") for reference in several)
    if not all(reference.strip() for reference in texts):
        # An empty reference is contained in every answer.
        raise IikataError(f"{place}: a reference is empty; leave it out.")
    return texts
