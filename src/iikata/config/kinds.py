"""The kinds of value that settings hold, and what each says when it is given something else."""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

FORBIDDEN = r'/\\:*?"<>|@\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff'
SAFE_NAME = rf"^[^\s.{FORBIDDEN}-]([^{FORBIDDEN}]*[^\s.{FORBIDDEN}])?$"
"""Names become file names and parts of `arm@template`; some characters would hide what they say."""
MOST_NAME, MOST_NAME_BYTES = 80, 200


def refuse_repeats(values: Iterable[Any], reason: str = "") -> None:
    """Raise ValueError where a value stands twice."""
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"each is allowed once, and {value} stands twice{reason}")
        seen.add(value)


def _one_line(text: str) -> str:
    if re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]", text):
        raise ValueError("text on one line, without control characters, is allowed")
    return text


def _fits_a_file_name(name: str) -> str:
    if len(name) > MOST_NAME or len(name.encode()) > MOST_NAME_BYTES:
        raise ValueError(f"at most {MOST_NAME} characters and {MOST_NAME_BYTES} bytes in UTF-8 are allowed")
    if not re.fullmatch(SAFE_NAME, name):
        raise ValueError("a name that can be part of a file name is allowed")
    return name


def _endpoint(url: str) -> str:
    try:
        found = urlsplit(url)
        plain = url.isascii() and url.isprintable() and not re.search(r"[\s@?#\\]", url)
        if plain and found.scheme in ("http", "https") and found.hostname and found.port != 0:
            return url
    except ValueError:
        pass
    raise ValueError(
        "http://HOST/v1 or https://HOST/v1 is allowed, without user, ? or #; the key goes into the environment "
        "variable IIKATA_JUDGE_KEY"
    )


def _several(value: Any) -> Any:
    """Take one thing for a list of one, and a list for a tuple."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        more = f"; [0, ..., {value - 1}] for {value} seeds" * (value > 1)
        raise ValueError(f"a list is needed: [{value}] for the seed {value}{more}")
    return _several(value)


def _each_once(values: tuple[int, ...]) -> tuple[int, ...]:
    refuse_repeats(values)
    return values


def _short_for(names: dict[str, str]) -> Any:
    """Take the names that other tools have for a value too."""
    return BeforeValidator(lambda value: names.get(str(value).lower().removeprefix("torch."), value))


def _held_out(value: Any) -> Any:
    if value is None:
        return value
    share = isinstance(value, float) and 0 < value < 1
    if share or (type(value) is int and value >= 0) or (isinstance(value, str) and value):
        return value
    raise ValueError("a number of rows (0 for none), a share between 0 and 1, or a file is allowed")


def _modules(value: Any) -> Any:
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    if value in ("auto", "all-linear"):
        return value
    raise ValueError("auto, all-linear or a list of module names is allowed")


def _margin(value: Any) -> Any:
    values = value.values() if isinstance(value, dict) else [value]
    if all(type(number) in (int, float) and 0 < number < float("inf") for number in values):
        return value
    raise ValueError("a number above 0, or metric names with a number above 0 each, is allowed")


Count = Annotated[int, Field(ge=1, lt=2**31)]
CountOrNone = Annotated[int, Field(ge=0, lt=2**31)]
"""None is 0."""
Above0 = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_one_line)]
Name = Annotated[
    str, AfterValidator(_fits_a_file_name), Field(json_schema_extra={"pattern": SAFE_NAME, "maxLength": MOST_NAME})
]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
OneOrMore = BeforeValidator(_several, json_schema_input_type=str | list[str])
AnyTexts = Annotated[tuple[Text, ...], OneOrMore]
Texts = Annotated[tuple[Text, ...], OneOrMore, Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[
    tuple[Seed, ...],
    BeforeValidator(_seeds, json_schema_input_type=list[int]),
    Field(min_length=1),
    AfterValidator(_each_once),
]
HeldOut = Annotated[int | float | Text | None, BeforeValidator(_held_out)]
Modules = Annotated[
    Literal["auto", "all-linear"] | Annotated[tuple[Text, ...], Field(min_length=1)],
    BeforeValidator(_modules, json_schema_input_type=Literal["auto", "all-linear"] | list[str]),
]
Margin = Annotated[float | dict[str, float], BeforeValidator(_margin)]
Dtype = Annotated[
    Literal["auto", "bfloat16", "float16", "float32"],
    _short_for(
        {"bf16": "bfloat16"}
        | dict.fromkeys(("fp16", "half", "float16", "f16"), "float16")
        | dict.fromkeys(("fp32", "float", "full", "float32", "f32"), "float32")
    ),
]
Quantize = Annotated[
    Literal["none", "8bit", "4bit"],
    _short_for(
        dict.fromkeys(("8", "int8", "8-bit"), "8bit")
        | dict.fromkeys(("4", "int4", "4-bit", "nf4"), "4bit")
        | dict.fromkeys(("false", "null", "no"), "none")
    ),
]
Schedule = Annotated[Literal["linear", "cosine", "constant"], _short_for({"constant_with_warmup": "constant"})]
"""After the warm-up: constant_with_warmup is what constant does here."""
