"""Find a template by name or file, and keep a template's whole text beside what was trained on it."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from iikata.errors import IikataError
from iikata.registry import did_you_mean, lookup
from iikata.templates.alpaca import AlpacaTemplate
from iikata.templates.built_in import BUILT_IN
from iikata.templates.jinja import JinjaTemplate, native, read_jinja
from iikata.templates.template import Template

KINDS: dict[str, type[Template]] = {"alpaca": AlpacaTemplate, "jinja": JinjaTemplate}
NEEDED = {"alpaca": ("prompt_input", "prompt_no_input"), "jinja": ("chat_template",)}


def load(
    spec: str,
    folder: Path,
    chat_template: str | None = None,
    special_tokens: Mapping[str, str] | None = None,
) -> Template:
    """Return the template `spec` means: a built-in name, a file (relative to `folder`), or `native`.

    `chat_template` and `special_tokens` are the tokenizer's, once it is known: native is made of them, and a
    Jinja file may write special tokens. Raises IikataError where there is no such template or its file is wrong.
    """
    path = folder / spec
    if path.suffix in {".jinja", ".jinja2", ".j2"}:
        return read_jinja(path, _read(path), special_tokens)
    if path.suffix == ".json":
        return read_saved(path)
    if spec != "native":
        return lookup(spec, BUILT_IN, "template")
    if chat_template is None:
        raise IikataError(
            f'template "native": the model has no chat template of its own. Choose from: {", ".join(BUILT_IN)}.'
        )
    return native(chat_template, special_tokens or {})


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
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise IikataError(f"{path}:{error.lineno}:{error.colno}: this is not JSON: {error.msg}.") from None
    if not isinstance(content, dict):
        raise IikataError(f"{path}:1: a template is a JSON object with the keys {', '.join(NEEDED['alpaca'])}.")
    kind = content.pop("kind", "alpaca")
    if kind not in KINDS:
        raise IikataError(f'{_at(path, text, "kind")}: "kind" must be one of {", ".join(KINDS)}, not {kind!r}.')
    _check_keys(path, text, content, kind)
    if "stop" in content:
        content["stop"] = tuple(content["stop"])
    return KINDS[kind](**{"name": path.stem, **content})


def _check_keys(path: Path, text: str, content: dict[str, Any], kind: str) -> None:
    known = [field.name for field in fields(KINDS[kind])]
    for key in NEEDED[kind]:
        if key not in content:
            near = did_you_mean(key, set(content) - set(known)).replace("did you mean", "is it")
            raise IikataError(f'{path}:1: the key "{key}" is missing{near}.')
    for key, value in content.items():
        where = _at(path, text, key)
        if key not in known:
            listed = ", ".join(known)
            raise IikataError(f'{where}: "{key}" is unknown{did_you_mean(key, known)}. Known: {listed}.')
        if not _fits(key, value):
            raise IikataError(f'{where}: "{key}" cannot be {json.dumps(value, ensure_ascii=False)}.')


def _fits(key: str, value: Any) -> bool:
    if key == "stop":
        return isinstance(value, list) and all(isinstance(item, str) and item for item in value)
    if key == "special_tokens" and isinstance(value, dict):
        return all(isinstance(item, str) for item in value.values())
    if key in ("newline", "special_tokens"):
        return value is None or (key == "newline" and isinstance(value, str) and value != "")
    return isinstance(value, str)


def _at(path: Path, text: str, key: str) -> str:
    found = re.search(rf'"{re.escape(key)}"\s*:', text)
    return f"{path}:{text[: found.start()].count(chr(10)) + 1 if found else 1}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise IikataError(f"{path}: the template cannot be read: {error}") from None
