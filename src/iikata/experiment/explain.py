"""Say in plain words what pydantic found wrong, and where it stands in the file."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from iikata.experiment.document import Key, short
from iikata.experiment.settings import Experiment, Settings
from iikata.registry import did_you_mean

ALLOWED = {
    "greater_than": "a number greater than {gt} is allowed",
    "greater_than_equal": "{ge} or more is allowed",
    "less_than": "a number less than {lt} is allowed",
    "less_than_equal": "{le} or less is allowed",
    "int_type": "a whole number is allowed",
    "int_from_float": "a whole number is allowed",
    "float_type": "a number is allowed",
    "finite_number": "a finite number is allowed",
    "string_type": "text is allowed (in quotes, where it looks like a number)",
    "string_too_short": "text of at least one character is allowed",
    "string_too_long": "at most {max_length} characters are allowed",
    "string_pattern_mismatch": "a name that can be part of a file name is allowed",
    "string_unicode": "text without lone surrogates is allowed",
    "too_short": "at least one is needed",
    "value_error": "{error}",
}
"""What is allowed instead, by pydantic's type of error; the words in braces are pydantic's."""


def explain(
    error: ValidationError, values: Any, places: Mapping[Key, str], keys: Mapping[Key, str]
) -> Iterator[tuple[str, str]]:
    """Yield (place, message) of each error; `places` are those of values, `keys` those of their keys."""
    for detail in error.errors(include_url=False):
        key = _existing(detail["loc"], values)
        if detail["type"] == "extra_forbidden":
            yield _place(key, keys), _unknown(key)
        elif detail["type"] == "missing":
            yield _place(key, keys), _missing((*key, detail["loc"][-1]))
        else:
            yield (
                _place(key, places),
                f"{_dotted(key)}: {_show(detail['input'])} was seen; {_allowed(detail, key)}.",
            )


def _existing(location: tuple[int | str, ...], values: Any) -> Key:
    """Follow pydantic's location as far as the values go; it also holds names of types, and defaults."""
    key: Key = ()
    for part in location:
        if isinstance(values, list):
            within = isinstance(part, int) and part < len(values)
        else:
            within = isinstance(values, dict) and part in values
        if not within:
            break
        values, key = values[part], (*key, part)
    return key


def _place(key: Key, places: Mapping[Key, str]) -> str:
    """Return the place of `key`, or of the nearest thing around it."""
    while key and key not in places:
        key = key[:-1]
    return places.get(key, "")


def _dotted(key: Key) -> str:
    return ".".join(map(short, key)) or "the experiment"


def _show(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    text = text.encode("utf-8", "backslashreplace").decode()
    return short(re.sub(r"//[^/]*@|[?#].*", "...", text) if "://" in text else text)  # a key may be in it


def _fields(key: Key) -> dict[str, FieldInfo]:
    """Return the settings in the section `key`; none where it is no section."""
    section: Any = Experiment
    for part in key:
        field = section.model_fields.get(part)
        section = _section(field) if field else None
        if section is None:
            return {}
    return section.model_fields


def _dotted_names(section: type[Settings] = Experiment, before: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield before + name
        if (below := _section(field)) is not None:
            yield from _dotted_names(below, f"{before}{name}.")


def _section(field: FieldInfo) -> type[Settings] | None:
    """Return the section that the setting is, optional or not."""
    kinds = get_args(field.annotation) or (field.annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), None)


def _unknown(key: Key) -> str:
    name, known = str(key[-1]), list(_fields(key[:-1]))
    elsewhere = [dotted for dotted in _dotted_names() if dotted.endswith(f".{name}")]
    hint = did_you_mean(name, known) or (f' (did you mean "{elsewhere[0]}"?)' if elsewhere else "")
    return f"{_dotted(key)}: unknown setting; allowed here: {', '.join(known)}{hint}."


def _missing(key: Key) -> str:
    meaning = (_fields(key[:-1])[str(key[-1])].description or "").replace("\n", " ")
    return f"{_dotted(key)} is missing: {meaning}"


def _allowed(detail: Any, key: Key) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", context["expected"])
        return f"allowed: {', '.join(words)}{did_you_mean(str(detail['input']), words)}"
    if kind == "model_type":
        return f"settings are allowed: {', '.join(_fields(key))}"
    return ALLOWED[kind].format(**context) if kind in ALLOWED else str(detail["msg"])
