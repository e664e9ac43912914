"""Say in plain words what pydantic found wrong, by the setting's name."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from iikata.config.document import Key, short, wide
from iikata.config.other_names import meant
from iikata.config.settings import Experiment, Settings
from iikata.core.registry import did_you_mean

ABOUT_NAMES = ("extra_forbidden", "missing", "invalid_key")
"""Errors that are shown at a setting's name, others at its value."""


def explain(error: ValidationError, values: Any) -> Iterator[tuple[Key, bool, str]]:
    """Yield of each error the key in `values`, whether it is about the key's name, and the message."""
    for detail in error.errors(include_url=False):
        key, kind = _existing(detail["loc"], values), detail["type"]
        if kind == "extra_forbidden":
            message = _unknown(key)
        elif kind == "missing":
            missing = (*key, detail["loc"][-1])
            meaning = _fields(key)[str(missing[-1])].description or ""
            message = f"{_dotted(missing)} is missing: {' '.join(meaning.split())}"
        else:
            message = f"{_dotted(key)}: {_show(detail['input'])} was seen; {_allowed(detail, key)}."
        yield key, kind in ABOUT_NAMES, message


def _existing(location: tuple[int | str, ...], values: Any) -> Key:
    """Follow pydantic's location as far as the values go; it also holds names of types, and defaults."""
    key: Key = ()
    for part in location:
        try:
            values = values[part]
        except (LookupError, TypeError):
            break
        key = (*key, part)
    return key


def _dotted(key: Key) -> str:
    return ".".join(map(short, key)) or "the experiment"


def _show(value: Any, inside: bool = False) -> str:
    """Return a value as YAML could write it, no deeper than one level: nested aliases can hold billions."""
    if isinstance(value, list | tuple | dict) and inside:
        return "…"
    if isinstance(value, dict):
        return short(f"{{{', '.join(f'{_show(key)}: {_show(value[key], True)}' for key in [*value][:5])}}}")
    if isinstance(value, list | tuple):
        return short(f"[{', '.join(_show(item, True) for item in value[:5])}]")
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    text = f'"{value:.80}"' if isinstance(value, str) else str(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    return short(re.sub(r"//[^/]*@|[?#].*", "...", text) if "://" in text else text)  # a key may be in it


def _allowed(detail: Any, key: Key) -> str:
    if detail["type"] == "model_type":
        return f"settings are allowed: {', '.join(_fields(key))}"
    said = re.sub("^(Input|Value|String|Keys) should", "it should", detail["msg"].removeprefix("Value error, "))
    if detail["type"] == "literal_error":
        said += did_you_mean(str(detail["input"]), re.findall(r"'([^']*)'", detail["ctx"]["expected"]))
    return said + " (put it in quotes)" * (detail["type"] == "string_type")


def _fields(key: Key) -> dict[str, FieldInfo]:
    """Return the settings in the section `key`; none where it is no section."""
    section: Any = Experiment
    for part in key:
        field = section.model_fields.get(part)
        section = _section(field) if field else None
        if section is None:
            return {}
    return section.model_fields


def _section(field: FieldInfo) -> type[Settings] | None:
    """Return the section that the setting is, optional or not."""
    kinds = get_args(field.annotation) or (field.annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), None)


def _unknown(key: Key) -> str:
    name, known = str(key[-1]), list(_fields(key[:-1]))
    every = {dotted.rpartition(".")[2]: dotted for dotted in _dotted_names()}
    other = meant(_dotted(key[:-1]), name) or every.get(name)
    hint = f' (did you mean "{other}"?)' if other else did_you_mean(name, known) or _elsewhere(name, every)
    return f"{_dotted(key)}: unknown setting; allowed here: {', '.join(known)}{hint}.{wide(name)}"


def _elsewhere(name: str, every: Mapping[str, str]) -> str:
    """Return the hint at a setting of another section that is spelled almost so."""
    near = difflib.get_close_matches(name, every, n=1, cutoff=0.8)
    return f' (did you mean "{every[near[0]]}"?)' if near else ""


def _dotted_names(section: type[Settings] = Experiment, before: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield before + name
        if (below := _section(field)) is not None:
            yield from _dotted_names(below, f"{before}{name}.")
