"""The kinds of value that settings hold, and what each says when it is given something else."""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WrapValidator,
)

from iikata.core.margin import ALLOWED, SHARE, share_of_gain

FORBIDDEN = r'/\\:*?"<>|@\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff'
SAFE_NAME = rf"^[^\s.{FORBIDDEN}-]([^{FORBIDDEN}]*[^\s.{FORBIDDEN}])?$"
"""Names become file names and parts of `arm@template`; some characters would hide what they say."""
MOST_NAME, MOST_NAME_BYTES = 80, 200


class Settings(BaseModel):
    """Unknown keys are refused, nothing is changed after reading, and "2" is not taken for 2."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def refuse_repeats(values: Iterable[Any], reason: str = "") -> None:
    """Raise ValueError where a value is there twice."""
    seen: set[Any] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"each is allowed once, and {value} is there twice{reason}")
        seen.add(value)


def _margin(text: str) -> str:
    share_of_gain(text)
    return text


def _says(allowed: str) -> Any:
    """Say what is allowed in these words, where a union's own would be one sentence for each of its kinds."""

    def checked(value: Any, check: Any) -> Any:
        try:
            return check(value)
        except ValidationError:
            raise ValueError(f"{allowed} is allowed") from None

    return WrapValidator(checked)


def _one_line(text: str) -> str:
    if re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]", text):
        raise ValueError("text on one line, without control characters, is allowed")
    return text


def fits_a_file_name(name: str) -> bool:
    return bool(re.fullmatch(SAFE_NAME, name))


def safe_name(name: str) -> str:
    """Return the name; raises ValueError where it cannot be part of a file name."""
    if len(name) > MOST_NAME or len(name.encode()) > MOST_NAME_BYTES:
        raise ValueError(f"at most {MOST_NAME} characters and {MOST_NAME_BYTES} bytes in UTF-8 are allowed")
    if not fits_a_file_name(name):
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


def _devices(value: Any) -> Any:
    if type(value) is int:
        value = str(value)
    if value in ("auto", "cpu", "1", "ray"):
        return value
    with suppress(ValueError, TypeError, AttributeError):
        found = urlsplit(value)
        if found.scheme == "ray" and found.hostname and found.port and value == f"ray://{found.netloc}":
            return value
    raise ValueError("auto, cpu, 1, ray or ray://HOST:PORT is allowed")


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        more = f"; [0, ..., {value - 1}] for {value} seeds" * (value > 1)
        raise ValueError(f"a list is needed: [{value}] for the seed {value}{more}")
    return value


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    refuse_repeats(values)
    return values


def _short_for(**names: str) -> Any:
    """Take the names that other tools have for a value too."""
    other = {name: value for value, several in names.items() for name in several.split()}
    return BeforeValidator(lambda value: other.get(str(value).lower().removeprefix("torch."), value))


def plain(value: Any) -> Any:
    """Return a value without what YAML keeps of its place, so that it can be written again."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


Plain = Annotated[dict[str, Any], BeforeValidator(plain, json_schema_input_type=dict[str, Any])]
Count = Annotated[int, Field(ge=1, lt=2**31)]
CountOrNone = Annotated[int, Field(ge=0, lt=2**31)]
"""None is 0."""
Above0 = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Text = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_one_line)]
Name = Annotated[
    str, AfterValidator(safe_name), Field(json_schema_extra={"pattern": SAFE_NAME, "maxLength": MOST_NAME})
]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
AnyTexts = Annotated[
    tuple[Text, ...],
    Field(strict=False),
    BeforeValidator(
        lambda value: value if isinstance(value, list | tuple) else [value], json_schema_input_type=str | list[str]
    ),
]
"""One text is taken for a list of one."""
Texts = Annotated[AnyTexts, Field(min_length=1)]
EachOnce = Annotated[Texts, AfterValidator(_each_once)]
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]
Devices = Annotated[str, BeforeValidator(_devices, json_schema_input_type=str | Literal[1])]
Stages = Annotated[
    Annotated[int, Field(ge=1, le=64)] | Literal["auto"], _says("a number of GPUs from 1 to 64, or auto,")
]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Seeds = Annotated[
    tuple[Seed, ...], Field(strict=False, min_length=1), BeforeValidator(_seeds), AfterValidator(_each_once)
]
Draws = Annotated[
    int,
    Field(ge=6),
    _says("a whole number from 6 on (a run that was made with fewer goes on: iikata run RUN --set untuned.draws=6)"),
]
Shots = Annotated[
    tuple[Annotated[int, Field(ge=0, le=1000)], ...],
    Field(strict=False, min_length=1),
    BeforeValidator(lambda value: [value] if type(value) is int else value, json_schema_input_type=int | list[int]),
    AfterValidator(_each_once),
]
HeldOut = Annotated[
    Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)] | Text | None,
    _says("a number of rows (0 for none), a share between 0 and 1, or a file"),
]
EvalSteps = Annotated[CountOrNone | Literal["epoch"], _says("a number of steps (0 for never), or epoch,")]
Modules = Annotated[
    Literal["auto", "all-linear"] | Annotated[tuple[Text, ...], Field(strict=False, min_length=1)],
    _says("auto, all-linear or a list of module names"),
]
OneMargin = Above0 | Annotated[str, AfterValidator(_margin), Field(json_schema_extra={"pattern": f"^{SHARE}$"})]
Margin = Annotated[OneMargin | dict[str, OneMargin], _says(f"{ALLOWED}; or metric names with one of these each,")]
Dtype = Annotated[
    Literal["auto", "bfloat16", "float16", "float32"],
    _short_for(bfloat16="bfloat16 bf16", float16="float16 fp16 half f16", float32="float32 fp32 float full f32"),
]
Quantize = Annotated[
    Literal["none", "8bit", "4bit"],
    _short_for(**{"8bit": "8 int8 8-bit", "4bit": "4 int4 4-bit nf4", "none": "false null no"}),
]
Schedule = Annotated[Literal["linear", "cosine", "constant"], _short_for(constant="constant_with_warmup")]
"""After the warm-up: constant_with_warmup is what constant does here."""
