"""What the small JSON files of a model folder say of its tokens, each value looked at before it is used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, StrictBool, StrictStr

from iikata.core import files, io
from iikata.core.errors import IikataError

NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
MOST_BYTES = 1 << 29
"""Ten times the largest tokenizer.json; a file beyond it is no tokenizer."""
AGAIN = "Copy the file again from where the model comes."
MOST_TOKENS = 1 << 24


class AddedToken(BaseModel):
    """A token as an object, with the flags that `tokenizers.AddedToken` has."""

    content: StrictStr
    single_word: StrictBool | None = None
    lstrip: StrictBool | None = None
    rstrip: StrictBool | None = None
    normalized: StrictBool | None = None
    special: StrictBool | None = None


class NamedTemplate(BaseModel):
    """One of several chat templates."""

    template: StrictStr


TOKEN = StrictStr | AddedToken
TEMPLATE = StrictStr | Annotated[list[NamedTemplate], Field(min_length=1)]
ID = Annotated[str, Field(pattern=r"^[0-9]{1,8}$")]
ALLOWED: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(
        NAMES, (TOKEN, 'a text, or an object with its "content" and true or false for its flags, is allowed')
    ),
    **dict.fromkeys(("add_bos_token", "legacy"), (StrictBool, "true or false is allowed")),
    "additional_special_tokens": (list[TOKEN] | dict[str, TOKEN], "a list of tokens is allowed"),
    "extra_special_tokens": (list[TOKEN] | dict[str, TOKEN], "a list of tokens, or tokens by their names, is allowed"),
    "added_tokens_decoder": (dict[ID, TOKEN], "tokens by their ids are allowed"),
    "chat_template": (TEMPLATE, 'a text, or a list of {"name", "template"}, is allowed'),
}
"""Key -> what fits, and the words for it."""


def read_bytes(path: Path) -> bytes:
    """Return the content of a model's file. Raises IikataError where it is no file or beyond all size."""
    return files.read_bytes(path, MOST_BYTES, fix=AGAIN)


def read_text(path: Path) -> str:
    """Return the text of a model's file. Raises IikataError as read_bytes does, and where it is not UTF-8."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise IikataError(f"{path}: not UTF-8 ({error.reason} at byte {error.start + 1}). {AGAIN}") from None


def read_object(path: Path) -> dict[str, Any]:
    """Return a JSON object, {} where there is no file."""
    if not path.exists():
        return {}
    return io.read_json(path, dict[str, Any], AGAIN, MOST_BYTES)


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what tokenizer_config.json and special_tokens_map.json say.

    As in transformers 5: where the former lists `added_tokens_decoder` the latter is out of date, else it comes first.
    """
    both = [_settings(folder / name) for name in ("tokenizer_config.json", "special_tokens_map.json")]
    return both[0] if "added_tokens_decoder" in both[0] else both[0] | both[1]


def _settings(path: Path) -> dict[str, Any]:
    values = read_object(path)
    for key, (kind, allowed) in ALLOWED.items():
        if values.get(key) is not None and not io.fits(values[key], kind):
            raise fault(path, key, values[key], allowed)
    return values


def read_added(folder: Path, settings: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the tokens, by their ids, that tokenizer_config.json, else added_tokens.json, adds to a vocabulary."""
    if declared := settings.get("added_tokens_decoder"):
        listed = {int(id): token if isinstance(token, dict) else {"content": token} for id, token in declared.items()}
        return {
            id: {key: token[key] for key in AddedToken.model_fields if token.get(key) is not None}
            for id, token in sorted(listed.items())
        }
    path = folder / "added_tokens.json"
    added = read_object(path)
    for token, id in added.items():
        if not _is_id(id):
            raise fault(path, token, id, "an id is allowed, a whole number from 0 on")
    return {id: {"content": token} for token, id in sorted(added.items(), key=lambda item: item[1])}


def listed_tokens(settings: Mapping[str, Any]) -> list[str]:
    """Return the further special tokens that the settings list, under the names of transformers 4 and 5."""
    found = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    return [text_of(token) for token in (found.values() if isinstance(found, dict) else found)]


def end_ids(folder: Path, name: str) -> list[int]:
    """Return the `eos_token_id` of config.json or generation_config.json."""
    settings = read_object(folder / name)
    part = settings.get("text_config")
    found = settings.get("eos_token_id", part.get("eos_token_id") if isinstance(part, dict) else None)
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if not all(map(_is_id, ids)):
        raise fault(folder / name, "eos_token_id", found, "an id or a list of ids is allowed")
    return ids


def embedding_rows(folder: Path) -> int | None:
    """Return how many tokens the model has rows for; None where config.json does not say."""
    config = read_object(folder / "config.json")
    part = config.get("text_config")
    rows = config.get("vocab_size", part.get("vocab_size") if isinstance(part, dict) else None)
    if rows is not None and (type(rows) is not int or rows < 1):
        raise fault(folder / "config.json", "vocab_size", rows, "a whole number from 1 on is allowed")
    return rows


def text_of(token: Any) -> str:
    """Return a token's text, written as a text or as an object."""
    return str(token["content"] if isinstance(token, dict) else token)


def fault(path: Path, key: str, seen: Any, allowed: str) -> IikataError:
    return IikataError(f'{path}: "{key:.80}" is {io.shown(seen)}; {allowed}. {AGAIN}')


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < MOST_TOKENS
