"""Read an experiment from a YAML file and `--set` overrides, and tell all that is wrong with it at once."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from iikata.config.document import Key, key_line, load, position, short
from iikata.config.explain import explain
from iikata.config.settings import Experiment
from iikata.config.variants import recipes
from iikata.core.errors import IikataError
from iikata.core.files import read_text

MOST_BYTES = 200_000
"""Some seconds of reading at worst."""
MOST_FAULTS = 20
FIX = "Give an experiment file, or a run folder."


def read(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Return the experiment that the file at `path` declares.

    `overrides` are what `--set` was given: `a.b=c` with c in YAML. Raises one IikataError that names
    everything wrong, a line each: `file:line:column: what was seen; what is allowed`.
    """
    path = Path(path)
    return parse(read_text(path, MOST_BYTES, fix=FIX), str(path), path.absolute().parent, overrides)


def parse(text: str, shown: str, folder: Path, overrides: Sequence[str] = ()) -> Experiment:
    """Return the experiment that the YAML `text` declares; errors call it `shown`, paths count from `folder`."""
    values = load(text, shown)
    if values is None:
        raise IikataError(f"{shown}:1:1: the file is empty; `data:` and `templates:` are needed.")
    if not isinstance(values, dict):
        seen = f"{shown}:1:1: an experiment is made of settings, a line each, as in `name: first`."
        raise IikataError(key_line(text, shown) + seen)
    places: dict[Key, str] = {}
    for override in overrides:
        _override(values, override, places)
    values.setdefault("name", Path(shown).stem)
    return declare(values, folder, places, shown)


def declare(
    values: Mapping[str, Any], folder: Path, places: Mapping[Key, str] | None = None, shown: str = ""
) -> Experiment:
    """Return the experiment made of `values`, relative paths counting from `folder`.

    Raises one IikataError for all that is wrong, each at its place: that of `places` (a flag that gave the value),
    or the line of the file `shown` that `load` read it from.
    """

    def place(key: Key, of_name: bool = False) -> str:
        given = [(places or {})[key[:end]] for end in range(len(key), 0, -1) if key[:end] in (places or {})]
        return given[0] if given else f"{shown}:{position(values, key, of_name)}" if shown else ""

    try:
        experiment = Experiment.model_validate(values)
    except ValidationError as error:
        told = [(place(key, of_name), said) for key, of_name, said in explain(error, values)]
        told.sort(key=lambda fault: [int(n) for n in re.findall(r":(\d+)", fault[0])[-2:]])
        lines = [f"{where}: {said}" if where else said for where, said in told[:MOST_FAULTS]]
        more = [f"{len(told) - MOST_FAULTS} more like these."] if len(told) > MOST_FAULTS else []
        raise IikataError("\n".join(lines + more)) from None
    experiment._folder, experiment._place = folder.absolute(), place
    experiment._recipes = recipes(experiment)  # what is wrong with a level is told with its line
    return experiment


def _override(values: dict[str, Any], override: str, places: dict[Key, str]) -> None:
    """Set one value, and its place to the `--set` that gave it."""
    name, equals, text = override.partition("=")
    key, place = tuple(name.strip().split(".")), f"--set {short(override)}"
    if not equals or not all(key):
        raise IikataError(f"{place}: a setting and a value are needed, as in --set train.epochs=1.")
    section: Any = values
    for i, part in enumerate(key[:-1], start=1):
        if section.get(part) is None:
            section[part] = {}
            places[key[:i]] = place
        section = section[part]
        if not isinstance(section, dict):
            raise IikataError(f"{place}: {'.'.join(key[:i])} holds no settings; give all of it.")
    places[key] = place
    section[key[-1]] = load(text, f'--set "{short(override)}"')


def schema() -> dict[str, Any]:
    """Return the JSON schema of the experiment file, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Experiment.model_json_schema()}
