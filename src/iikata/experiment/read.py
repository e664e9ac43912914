"""Read an experiment from a YAML file and `--set` overrides, and tell all that is wrong with it at once."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from iikata.errors import IikataError
from iikata.experiment.document import Document, Key, short
from iikata.experiment.explain import explain
from iikata.experiment.files import read_text
from iikata.experiment.settings import Experiment

MOST_BYTES = 200_000
"""Four seconds of reading at worst."""
MOST_FAULTS = 20


def read(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Return the experiment that the file at `path` declares.

    `overrides` are what `--set` was given: `a.b=c` with c in YAML. Raises one IikataError that names
    everything wrong, a line each: `file:line:column: what was seen; what is allowed`.
    """
    path = Path(path)
    return parse(read_text(path, most_bytes=MOST_BYTES), str(path), path.absolute().parent, overrides)


def parse(text: str, shown: str, folder: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Return the experiment that the YAML `text` declares; errors call it `shown`, paths count from `folder`."""
    document = Document(text, shown)
    if document.values is None:
        raise IikataError(f"{shown}:1:1: the file is empty; `data:` and `templates:` are needed.")
    if not isinstance(document.values, dict):
        raise IikataError(f"{shown}:1:1: an experiment is made of settings, a line each, as in `name: first`.")
    for override in overrides:
        _override(document, override)
    document.values.setdefault("name", Path(shown).stem)
    return declare(document.values, folder, document.places, document.keys, document.faults)


def declare(
    values: Mapping[str, Any],
    folder: Path,
    places: Mapping[Key, str] | None = None,
    keys: Mapping[Key, str] | None = None,
    faults: Sequence[tuple[str, str]] = (),
) -> Experiment:
    """Return the experiment made of plain `values`, relative paths counting from `folder`.

    `places` and `keys` say where each value and its key were written, for the IikataError that tells of all
    errors together with `faults`, which are (place, message).
    """
    try:
        experiment = Experiment.model_validate(values)
    except ValidationError as error:
        faults = [*faults, *explain(error, values, places or {}, keys or places or {})]
    if faults:
        lines = sorted(faults, key=lambda fault: [int(n) for n in re.findall(r":(\d+)", fault[0])[-2:]])
        told = [f"{place}: {message}" if place else message for place, message in lines[:MOST_FAULTS]]
        more = [f"{len(lines) - MOST_FAULTS} more like these."] if len(lines) > MOST_FAULTS else []
        raise IikataError("\n".join(told + more))
    experiment._folder = folder.absolute()
    return experiment


def _override(document: Document, override: str) -> None:
    """Set one value in `document`, and its place to the `--set` that gave it."""
    name, equals, text = override.partition("=")
    key, place = tuple(name.strip().split(".")), f"--set {short(override)}"
    if not equals or not all(key):
        document.faults.append((place, "a setting and a value are needed, as in --set train.epochs=1."))
        return
    given = Document(text, f'--set "{short(override)}"')
    document.faults += given.faults
    section = document.values
    for i, part in enumerate(key[:-1]):
        if section.get(part) is None:
            section[part] = {}
            document.keys[key[: i + 1]] = document.places[key[: i + 1]] = place
        section = section[part]
        if not isinstance(section, dict):
            document.faults.append((place, f"{'.'.join(key[: i + 1])} holds no settings; give it whole."))
            return
    for known in (document.keys, document.places):
        for stale in [old for old in known if old[: len(key)] == key]:
            del known[stale]
        known[key] = place
    section[key[-1]] = given.values
