"""Open a model folder's tokenizer with the library that its files were made for."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from iikata.encode.fast import FastTokenizer, backend
from iikata.encode.pieces import CONTROL, PieceTokenizer, parsed, processor
from iikata.encode.tokenizer import Tokenizer
from iikata.errors import IikataError

NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")
PIECE_FILES = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
BOS_BY_DEFAULT = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer")
"""SentencePiece classes that put a BOS in front unless `add_bos_token` says otherwise."""


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer of a model folder: its tokenizer.json, else its SentencePiece model run as it is.

    Raises IikataError where the folder has neither, a file is damaged, or no end token can be found.
    """
    model = piece_file(folder)
    if (folder / "tokenizer.json").is_file():
        return _fast(folder, (folder / "tokenizer.json").read_text(encoding="utf-8"))
    return _fast(folder, _converted(folder)) if model is None else _pieces(folder, model)


def disagreement(tokenizer: Tokenizer, folder: Path, texts: Iterable[str]) -> list[tuple[str, list[int], list[int]]]:
    """Return (text, ids, SentencePiece's ids) for each text on which they differ.

    Empty where the folder has no SentencePiece model. Texts with special tokens in them are left out.
    """
    model = piece_file(folder)
    if model is None:
        return []
    own = _pieces(folder, model)
    plain = [text for text in texts if not (tokenizer.has_special(text) or own.has_special(text))]
    both = ((text, tokenizer.ids(text), own.ids(text)) for text in plain)
    return [(text, ids, own_ids) for text, ids, own_ids in both if ids != own_ids]


def piece_file(folder: Path) -> Path | None:
    """Return the folder's SentencePiece model, if there is one."""
    return next((folder / name for name in PIECE_FILES if (folder / name).is_file()), None)


def _fast(folder: Path, file: str) -> Tokenizer:
    try:
        plain = backend(file)
    except Exception as error:  # what tokenizers raises has no class of its own
        raise IikataError(f"{folder / 'tokenizer.json'}: the tokenizer cannot be read: {error}") from None
    settings = _settings(folder)
    known = plain.get_vocab(with_added_tokens=True)
    special = {token.content: id for id, token in plain.get_added_tokens_decoder().items() if token.special}
    names = {name: text for name, text in _names(settings).items() if text in known}
    special |= {text: known[text] for text in names.values()}
    first = plain.encode("", add_special_tokens=True).ids[:1]
    has_bos = "bos_token" in names and first == [special[names["bos_token"]]]
    unk_id = special.get(names.get("unk_token", ""))
    size = plain.get_vocab_size(with_added_tokens=True)
    return FastTokenizer(file=file, **_facts(folder, file.encode(), special, names, has_bos, unk_id, size))


def _pieces(folder: Path, path: Path) -> Tokenizer:
    model, settings = path.read_bytes(), _settings(folder)
    try:
        pieces = processor(model)
    except (RuntimeError, OSError) as error:
        raise IikataError(f"{path}: this is not a SentencePiece model: {error}") from None
    unk_id = pieces.unk_id()
    known = {piece.piece: id for id, piece in enumerate(parsed(model).pieces)} | _added(folder, settings)
    own = {"bos_token": pieces.bos_id(), "eos_token": pieces.eos_id(), "pad_token": pieces.pad_id()}
    names = {name: pieces.id_to_piece(id) for name, id in own.items() if id >= 0}
    names |= {name: text for name, text in _names(settings).items() if text in known}
    # The unknown piece is no special token: SentencePiece never reads "<unk>" from a text.
    names["unk_token"] = pieces.id_to_piece(unk_id)
    control = [piece.piece for piece in parsed(model).pieces if piece.type == CONTROL]
    listed = [_text(token) for token in settings.get("additional_special_tokens") or []]
    texts = [*control, *_added(folder, settings), *listed, *names.values()]
    special = {text: known[text] for text in texts if known.get(text, unk_id) != unk_id}
    has_bos = str(settings.get("tokenizer_class")).removesuffix("Fast") in BOS_BY_DEFAULT
    size = 1 + max(known.values())
    return PieceTokenizer(
        model=model,
        blank_after_special=settings.get("legacy") is not False,
        **_facts(folder, model, special, names, has_bos, unk_id, size),
    )


def _facts(
    folder: Path,
    vocabulary: bytes,
    special: Mapping[str, int],
    names: Mapping[str, str],
    has_bos: bool,
    unk_id: int | None,
    size: int,
) -> dict[str, Any]:
    settings = _settings(folder)
    switches = {key: settings.get(key) for key in ("add_bos_token", "legacy", "tokenizer_class")}
    named = json.dumps([special, names, switches], sort_keys=True).encode()
    asked_for = settings.get("add_bos_token")
    return {
        "special_tokens": dict(special),
        "named_tokens": dict(names),
        "eos_id": _end(folder, special.get(names.get("eos_token", ""))),
        "bos_id": special.get(names.get("bos_token", "")) if (has_bos if asked_for is None else asked_for) else None,
        "unk_id": unk_id,
        "pad_id": special.get(names.get("pad_token", "")),
        "vocab_size": size,
        "chat_template": _chat_template(folder, settings),
        "hash": hashlib.sha256(vocabulary + b"\0" + named).hexdigest(),
    }


def _converted(folder: Path) -> str:
    # Older formats (vocab.json with merges.txt, tiktoken) are transformers' to convert.
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True).backend_tokenizer.to_str()
    except Exception as error:
        raise IikataError(
            f"{folder}: there is no tokenizer here: neither tokenizer.json nor a SentencePiece model "
            f"({', '.join(PIECE_FILES)}), and transformers finds no other ({error})."
        ) from None


def _settings(folder: Path) -> dict[str, Any]:
    return {**_json(folder / "special_tokens_map.json"), **_json(folder / "tokenizer_config.json")}


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise IikataError(f"{path}: this is not a JSON object: {error}") from None


def _text(token: Any) -> str:
    return token["content"] if isinstance(token, dict) else str(token)


def _names(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: _text(settings[name]) for name in NAMES if settings.get(name)}


def _added(folder: Path, settings: Mapping[str, Any]) -> dict[str, int]:
    declared = {_text(token): int(id) for id, token in settings.get("added_tokens_decoder", {}).items()}
    return {**_json(folder / "added_tokens.json"), **declared}


def _end(folder: Path, id: int | list[int] | None) -> int:
    if id is None:  # GPT-2's tokenizer_config.json names no token at all; the model's config does.
        id = _json(folder / "config.json").get("eos_token_id")
    if isinstance(id, list) and id:
        id = id[0]
    if isinstance(id, int):
        return id
    raise IikataError(
        f"{folder}: the tokenizer names no end token that is in its vocabulary, so no answer could ever end. "
        'Set "eos_token" in tokenizer_config.json.'
    )


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    found = settings.get("chat_template")
    if isinstance(found, list):
        return next((entry["template"] for entry in found if entry.get("name") == "default"), None)
    return found
