"""Find a template by name or file, and keep a template's full text beside what was trained on it."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import date
from inspect import isabstract
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictStr

from iikata.config import local_path
from iikata.core.errors import IikataError
from iikata.core.files import read_text
from iikata.core.io import fits, parse_user_json, shown
from iikata.core.registry import Shelf, did_you_mean, lookup
from iikata.core.text import HIDDEN
from iikata.templates.alpaca import AlpacaTemplate
from iikata.templates.built_in import TEMPLATES
from iikata.templates.jinja import JinjaTemplate, native, opened, read_jinja
from iikata.templates.template import Template

KINDS: Shelf[type[Template]] = Shelf(
    "format",
    {"alpaca": AlpacaTemplate, "jinja": JinjaTemplate},
    lambda item: (
        isinstance(item, type) and issubclass(item, Template) and not isabstract(item) and hasattr(item, "kind")
    ),
    "a dataclass that derives from iikata.templates.Template and has kind, prompt_of and answer_of",
)
LONGEST_NAME = 100
MOST_BYTES = 1_000_000
NEEDS = "An Alpaca template has prompt_input and prompt_no_input; kind jinja has chat_template."
FIX = "Correct it there; a Jinja template belongs in a file that ends in .jinja."
TEXT = Annotated[StrictStr, Field(min_length=1)]
ALLOWED: dict[str, tuple[Any, str]] = {
    "stop": (list[TEXT], "a list of texts, none of them empty"),
    "newline": (TEXT | None, "a text, not empty, or null"),
    "special_tokens": (dict[StrictStr, StrictStr] | None, "an object of texts, or null"),
    "date": (Annotated[StrictStr, AfterValidator(date.fromisoformat)] | None, "a day as 2024-07-26, or null"),
}
"""Key -> what fits, and the words for it; any other key holds a text."""


def load(
    spec: str,
    folder: Path,
    chat_template: str | None = None,
    special_tokens: Mapping[str, str] | None = None,
) -> Template:
    """Return the template `spec` means: a file (relative to `folder`, or in its templates/), `native`, or built in.

    `chat_template` and `special_tokens` are the tokenizer's, once it is known: native is made of them, and a
    Jinja file may write special tokens. Raises IikataError where there is no such template or its file is wrong.
    """
    path = local_path(spec, folder, "template")
    if path is not None and path.suffix == ".json":
        return _ended(read_saved(path), special_tokens)
    if path is not None:
        return read_jinja(path, _read(path), special_tokens)
    if spec != "native":
        if spec not in TEMPLATES and (
            near := did_you_mean(spec, [file.stem for file in (folder / "templates").glob("*.*")])
        ):
            raise IikataError(f'template "{spec}" is unknown, and not in templates/{near}.')
        if ":" not in spec:
            lookup(spec, dict.fromkeys(["native", *TEMPLATES.names()]), "template")
        return _ended(TEMPLATES.find(spec), special_tokens)
    if chat_template is None:
        raise IikataError(
            'template "native": the model has no chat template of its own, or several of which none is called default '
            f"(then put the one you mean into a .jinja file). Choose from: {', '.join(TEMPLATES)}."
        )
    return native(chat_template, special_tokens or {})


def _ended(template: Template, special_tokens: Mapping[str, str] | None) -> Template:
    """Return an Alpaca template with the text of the tokenizer's end token, which ends each earlier answer."""
    eos = (special_tokens or {}).get("eos_token")
    return replace(template, eos=eos) if eos and isinstance(template, AlpacaTemplate) else template


def saved(template: Template) -> str:
    """Return the text of a `template.json` that `read_saved` turns into an equal template."""
    return json.dumps(template.as_dict(), ensure_ascii=False, indent=2) + "\n"


def read_saved(path: Path) -> Template:
    """Return the template that `saved` wrote, equal in every field, or that an Alpaca-LoRA JSON file holds.

    An Alpaca file is the same without `kind` and `name`, which is then the file's. Raises IikataError (file:line)
    for what is not JSON, an unknown, missing or mistyped key, and a missing placeholder.
    """
    template = read_unchecked(path)
    for key, fault in template.faults():
        raise IikataError(f'{_at(path, _read(path), key)}: "{key}" {fault}')
    return template


def read_unchecked(path: Path) -> Template:
    """Return the template as `read_saved` does, one with faults (see `Template.faults`) too."""
    text = _read(path)
    content = parse_user_json(text, str(path), FIX)
    if not isinstance(content, dict):
        raise IikataError(f"{path}:1: a template is a JSON object with the keys {', '.join(AlpacaTemplate.needed)}.")
    kind = content.pop("kind", "alpaca")
    if not isinstance(kind, str) or kind not in KINDS.names():
        raise IikataError(
            f'{_at(path, text, "kind")}: "kind" must be one of {", ".join(KINDS.names())}, not {shown(kind)}.'
        )
    _check_keys(path, text, content, kind)
    if "stop" in content:
        content["stop"] = tuple(content["stop"])
    name = content.setdefault("name", path.stem)
    if not name.strip() or len(name) > LONGEST_NAME or HIDDEN.search(name) or "/" in name or "\n" in name:
        raise IikataError(
            f'{_at(path, text, "name")}: "name" cannot be {shown(name)}: it is one line of at most {LONGEST_NAME} '
            "visible characters without a slash. Give it another, or rename the file."
        )
    template: Template = KINDS.find(kind)(**content)
    if isinstance(template, JinjaTemplate):
        opened(template.chat_template, f'{_at(path, text, "chat_template")}: "chat_template", line ')
    return template


def _check_keys(path: Path, text: str, content: dict[str, Any], kind: str) -> None:
    known = [field.name for field in fields(KINDS.find(kind))]
    for key in KINDS.find(kind).needed:
        if key not in content:
            near = did_you_mean(key, set(content) - set(known)).replace("did you mean", "is it")
            raise IikataError(f'{path}:1: the key "{key}" is missing{near}. {NEEDS}')
    for key, value in content.items():
        where = _at(path, text, key)
        if key not in known:
            listed = ", ".join(known)
            raise IikataError(f'{where}: "{key:.80}" is unknown{did_you_mean(key, known)}. Known: {listed}.')
        parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if broken := re.search("[\ud800-\udfff\0]", "".join(part for part in parts if isinstance(part, str))):
            raise IikataError(
                f'{where}: "{key}" holds \\u{ord(broken[0]):04x}, which is no character of a text. Take it out.'
            )
        allowed, words = ALLOWED.get(key, (StrictStr, "a text"))
        if not fits(value, allowed):
            raise IikataError(f'{where}: "{key}" cannot be {shown(value)}. It is {words}.')


def _at(path: Path, text: str, key: str) -> str:
    found = re.search(rf'"{re.escape(key)}"\s*:', text)
    return f"{path}:{text[: found.start()].count(chr(10)) + 1 if found else 1}"


def _read(path: Path) -> str:
    text = read_text(path, MOST_BYTES, fix="Give a .json or .jinja file.")
    if not text.strip() or "\0" in text:
        seen = f"a zero byte in line {text[: text.index(chr(0))].count(chr(10)) + 1}" if text.strip() else "nothing"
        raise IikataError(f"{path}:1: the template cannot be read: the file holds {seen}. Save a text as UTF-8.")
    return text.replace("\r\n", "\n").replace("\r", "\n")
