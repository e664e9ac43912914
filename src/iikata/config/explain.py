"""Say in plain words what pydantic found wrong, by the setting's name."""

import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from iikata.config.document import Key, short, wide
from iikata.config.kinds import Settings
from iikata.config.other_names import meant
from iikata.config.settings import Experiment
from iikata.core.registry import did_you_mean, nearest


def explain(error: ValidationError, values: Any) -> Iterator[tuple[Key, bool, str]]:
    """Yield of each error the key in `values`, whether it is about the key's name, and the message."""
    for detail in error.errors(include_url=False):
        key, kind = _existing(detail["loc"], values), detail["type"]
        if kind == "extra_forbidden":
            message = _unknown(key)
        elif kind == "missing":
            name = str(detail["loc"][-1])
            meaning = _fields(key)[name].description or ""
            message = f"{_dotted((*key, name))}: this setting is missing. {' '.join(meaning.split())}"
        else:
            message = f"{_dotted(key)}: {_show(detail['input'])} was seen; {allowed(detail, key)}."
        # The others are shown at the value.
        yield key, kind in ("extra_forbidden", "missing", "invalid_key"), message


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


def allowed(detail: Any, key: Key) -> str:
    """Return what pydantic's error says is allowed for the setting `key`."""
    if detail["type"] == "model_type":
        return f"settings are allowed: {', '.join(_fields(key))}"
    said = re.sub("^(Input|Value|String|Keys|Tuple) should", "it should", detail["msg"].removeprefix("Value error, "))
    said = said.replace("a valid tuple", "a list").replace(" after validation", "")
    if detail["type"] == "literal_error":
        said += did_you_mean(str(detail["input"]), re.findall(r"'([^']*)'", detail["ctx"]["expected"]))
    return said + " (put it in quotes)" * (detail["type"] == "string_type")


def _unknown(key: Key) -> str:
    name, known = str(key[-1]), list(_fields(key[:-1]))
    every = {dotted.rpartition(".")[2]: dotted for dotted in dotted_names()}
    near = nearest(name, known, 0.9) or meant(_dotted(key[:-1]), name) or every.get(name) or nearest(name, known)
    near = near or every.get(nearest(name, every, 0.8) or "")
    hint = f' (did you mean "{near}"?)' if near else ""
    return f"{_dotted(key)}: unknown setting{hint}; allowed here: {', '.join(known)}.{wide(name)}"


def dotted_names(section: type[Settings] = Experiment, before: str = "") -> Iterator[str]:
    """Yield every setting's name, as `train.lora.r`."""
    for name, field in section.model_fields.items():
        yield before + name
        if below := _section(field):
            yield from dotted_names(below, f"{before}{name}.")


def _fields(key: Key) -> dict[str, FieldInfo]:
    """Return the settings in the section `key`; none where it is no section."""
    section: type[Settings] | None = Experiment
    for part in filter(lambda part: isinstance(part, str), key):  # a number is a place in a list of sections
        field = section.model_fields.get(str(part)) if section else None
        section = _section(field) if field else None
    return section.model_fields if section else {}


def _section(field: FieldInfo) -> type[Settings] | None:
    """Return the section that the setting is, optional or not."""
    kinds = get_args(field.annotation) or (field.annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), None)
