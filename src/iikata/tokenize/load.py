"""Open a model folder's tokenizer with the library that its files were made for."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.io import parse_json
from iikata.tokenize.declared import add_declared, added_to_pieces, declared_ends
from iikata.tokenize.hf_fast import FastTokenizer, backend
from iikata.tokenize.sentencepiece import CONTROL, USER_DEFINED, PieceTokenizer, parsed, processor
from iikata.tokenize.settings import (
    AGAIN,
    NAMES,
    listed_tokens,
    read_bytes,
    read_object,
    read_settings,
    read_text,
    text_of,
)
from iikata.tokenize.tokenizer import Tokenizer

PIECE_FILES = ("spiece.model", "tokenizer.model", "sentencepiece.bpe.model")
BOS_BY_DEFAULT = ("llamatokenizer", "codellamatokenizer", "gemmatokenizer")
"""SentencePiece classes that put a BOS in front unless `add_bos_token` says otherwise; LLaMA's first folders wrote
"LLaMATokenizer"."""
CLASS_OF = {
    "llama": "llamatokenizer",
    "mistral": "llamatokenizer",
    "gemma": "gemmatokenizer",
    "gemma2": "gemmatokenizer",
}
"""Model type -> the class of a SentencePiece model whose folder names none."""
TRIAL = "Any text 1, 色.\n\ue000"
"""Words, and a letter that no vocabulary has."""


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer of a model folder: its tokenizer.json, else its SentencePiece model run as it is.

    Raises IikataError where the folder has neither, a file is damaged, or no end token can be found.
    """
    model = piece_file(folder)
    if (folder / "tokenizer.json").exists():
        return _fast(folder, read_text(folder / "tokenizer.json"))
    return _fast(folder, _converted(folder)) if model is None else _pieces(folder, model)


def disagreement(tokenizer: Tokenizer, folder: Path, texts: Iterable[str]) -> list[tuple[str, list[int], list[int]]]:
    """Return (text, ids, SentencePiece's ids) for each text on which they differ.

    Empty where the folder has no SentencePiece model. Texts with special tokens in them are left out.
    """
    model = piece_file(folder)
    if model is None:
        return []
    own = _pieces(folder, model, named_here=False)
    plain = [text for text in texts if not (tokenizer.has_special(text) or own.has_special(text))]
    both = ((text, tokenizer.ids(text), own.ids(text)) for text in plain)
    return [(text, ids, own_ids) for text, ids, own_ids in both if ids != own_ids]


def piece_file(folder: Path) -> Path | None:
    """Return the folder's SentencePiece model, if there is one."""
    return next((folder / name for name in PIECE_FILES if (folder / name).is_file()), None)


def _fast(folder: Path, file: str) -> Tokenizer:
    path, settings = folder / "tokenizer.json", read_settings(folder)
    plain = _tried(path, file)
    if add_declared(plain, folder, settings):
        file = plain.to_str()
    known = plain.get_vocab(with_added_tokens=True)
    added = {token.content: (id, token.special) for id, token in plain.get_added_tokens_decoder().items()}
    names = {name: text for name, text in _names(settings).items() if text in known}
    marked = [text for text, (_, special) in added.items() if special]
    texts = [*marked, *(text for text in listed_tokens(settings) if text in known), *names.values()]
    size = 1 + max(known.values())
    bos = _put_in_front(path, plain, names)
    return FastTokenizer(
        file=file,
        bos_id=bos,
        unk_id=known.get(names.get("unk_token", "")),
        **_facts(folder, file.encode(), known, {text: id for text, (id, _) in added.items()}, texts, names, size),
    )


def _put_in_front(path: Path, plain: Any, names: dict[str, str]) -> int | None:
    """Return the BOS that the post-processor puts before a text, which alone says so, and name it where it is not.

    `add_bos_token` of tokenizer_config.json is not read beside a tokenizer.json, as in transformers 5.
    """
    encoded = plain.encode("a", add_special_tokens=True)
    front = encoded.ids[: next((i for i, mark in enumerate(encoded.special_tokens_mask) if not mark), 0)]
    tokens = list(map(plain.id_to_token, front))
    if tokens and tokens != [names.setdefault("bos_token", tokens[0])]:
        raise IikataError(
            f"{path}: this tokenizer puts {' '.join(tokens)} before a text, and iikata at most the one token that is "
            f'named "bos_token" ({names["bos_token"]}). Write them in the template, and take them from post_processor.'
        )
    return front[0] if front else None


def _tried(path: Path, file: str) -> Any:
    """Return the backend of a tokenizer.json that turns texts into tokens and gives its tokens the ids it says."""
    try:
        plain = backend(file)
        ids = plain.encode(TRIAL, add_special_tokens=True).ids
        # Rust's reader passes a key without a value; this one does not.
        added = parse_json(file, dict[str, Any], str(path), AGAIN).get("added_tokens") or []
    except BaseException as error:  # what tokenizers raises has no class of its own, and its panics are no Exception
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise IikataError(f"{path}: the tokenizer cannot be read: {error}. {AGAIN}") from None
        raise
    if not ids:
        raise IikataError(f"{path}: this tokenizer turns {TRIAL[:10]!r} into no token at all. {AGAIN}")
    for token in added:
        if plain.token_to_id(token["content"]) != token["id"]:
            where = f'{path}: the added token "{token["content"]:.80}"'
            raise IikataError(f"{where} cannot have the id {token['id']} in this vocabulary. {AGAIN}")
    return plain


def _pieces(folder: Path, path: Path, named_here: bool = True) -> Tokenizer:
    """`named_here`: tokenizer_config.json is meant for it, and not for a tokenizer.json beside it."""
    model, settings = read_bytes(path), read_settings(folder)
    try:
        pieces = processor(model)
        unk_id = pieces.unk_id()
        pieces.id_to_piece(unk_id)  # an empty model has none
    except (RuntimeError, OSError, IndexError) as error:
        raise IikataError(f"{path}: this is not a SentencePiece model: {error} {AGAIN}") from None
    kinds = [(piece.piece, piece.type) for piece in parsed(model).pieces]
    declared = added_to_pieces(folder, settings, [text for text, _ in kinds])
    added = {text: id for id, (text, kind) in enumerate(kinds) if kind == USER_DEFINED}
    added |= {token["content"]: id for id, token in declared.items() if id != unk_id}
    known = {text: id for id, (text, _) in enumerate(kinds)} | added
    own = {"bos_token": pieces.bos_id(), "eos_token": pieces.eos_id(), "pad_token": pieces.pad_id()}
    names = {name: pieces.id_to_piece(id) for name, id in own.items() if id >= 0}
    names |= {name: text for name, text in _names(settings).items() if text in known}
    # The unknown piece is no special token: SentencePiece never reads "<unk>" from a text.
    names["unk_token"] = pieces.id_to_piece(unk_id)
    marked = [token["content"] for token in declared.values() if token.get("special", True)]
    texts = [*(text for text, kind in kinds if kind == CONTROL), *marked, *listed_tokens(settings), *names.values()]
    texts = [text for text in texts if known.get(text, unk_id) != unk_id]
    bos = known[names["bos_token"]] if "bos_token" in names and _begins_with_bos(folder, settings) else None
    return PieceTokenizer(
        model=model,
        blank_after_special=settings.get("legacy") is not False,
        bos_id=bos,
        unk_id=unk_id,
        **_facts(folder, model, known, added, texts, names, 1 + max(known.values()), named_here),
    )


def _begins_with_bos(folder: Path, settings: Mapping[str, Any]) -> bool:
    asked_for = settings.get("add_bos_token")
    named = settings.get("tokenizer_class") or CLASS_OF.get(str(read_object(folder / "config.json").get("model_type")))
    return str(named).lower().removesuffix("fast") in BOS_BY_DEFAULT if asked_for is None else bool(asked_for)


def _facts(
    folder: Path,
    vocabulary: bytes,
    known: Mapping[str, int],
    added: Mapping[str, int],
    special: Iterable[str],
    names: Mapping[str, str],
    size: int,
    named_here: bool = True,
) -> dict[str, Any]:
    settings = read_settings(folder)
    named = _names(settings).get("eos_token") if named_here else None
    declared = declared_ends(folder, size)
    eos_id = _end(folder, known.get(named or names.get("eos_token", "")), named, [id for id in declared if id < size])
    # An added token that ends an answer must not be read from an answer that quotes it.
    ids = {text: known[text] for text in special} | {text: id for text, id in added.items() if id in declared}
    switches = {key: settings.get(key) for key in ("add_bos_token", "legacy", "tokenizer_class")}
    facts = json.dumps([ids, names, switches], sort_keys=True).encode()
    return {
        "special_tokens": ids,
        "added_tokens": {text: id for text, id in added.items() if text not in ids},
        "named_tokens": dict(names),
        "eos_id": eos_id,
        "end_ids": frozenset({eos_id, *declared}),
        "pad_id": known.get(names.get("pad_token", "")),
        "vocab_size": size,
        "chat_template": _chat_template(folder, settings),
        "hash": hashlib.sha256(vocabulary + b"\0" + facts).hexdigest(),
    }


def _converted(folder: Path) -> str:
    # Older formats (vocab.json with merges.txt, tiktoken) are transformers' to convert.
    import transformers

    try:
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        ).backend_tokenizer.to_str()
    except Exception as error:
        raise IikataError(
            f"{folder}: there is no tokenizer here: neither tokenizer.json nor a SentencePiece model "
            f"({', '.join(PIECE_FILES)}), and transformers finds no other ({' '.join(str(error).split()):.200}). "
            "Put the tokenizer's files that came with the model into that folder."
        ) from None


def _names(settings: Mapping[str, Any]) -> dict[str, str]:
    extra = settings.get("extra_special_tokens")  # named, where it is no list: a chat template may write them
    named = {**(extra if isinstance(extra, dict) else {}), **{name: settings.get(name) for name in NAMES}}
    return {name: text_of(token) for name, token in named.items() if token}


def _end(folder: Path, id: int | None, named: str | None, declared: Iterable[int]) -> int:
    """Return the end token's id: that of the token `named`, else the first that the model's config has."""
    if id is not None:
        return id
    if named is not None:
        raise IikataError(
            f'{folder / "tokenizer_config.json"}: "eos_token" is "{named:.80}", which is not in the vocabulary, so no '
            f"answer could ever end. Name one of its tokens."
        )
    # GPT-2's tokenizer_config.json names no token at all; the model's config does.
    for found in declared:
        return found
    raise IikataError(
        f"{folder}: the tokenizer names no end token that is in its vocabulary, so no answer could ever end. "
        'Set "eos_token" in tokenizer_config.json.'
    )


def chat_template_in(folder: Path) -> str | None:
    """Return the chat template that the tokenizer's files in a folder hold; the rest of them need not be there."""
    return _chat_template(folder, read_settings(folder))


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        return read_text(path)
    found = settings.get("chat_template")
    if isinstance(found, list):
        return next((entry["template"] for entry in found if entry.get("name") == "default"), None)
    return found
