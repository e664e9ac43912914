"""A BPE vocabulary as .gguf files list it; SentencePiece's with the scores that its merges follow from."""

import re
from typing import Any

from iikata.core.errors import IikataError
from iikata.pipeline.gguf_family import INSTEAD

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Kinds of tokens in a .gguf file, as of sentencepiece_model.proto."""
BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")
PREPENDS = {"first", "always"}


def listed(made: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Return the text and the kind of `size` tokens; `made` is the content of a tokenizer.json."""
    tokens, kinds = [f"[PAD{id}]" for id in range(size)], [UNUSED] * size
    for text, id in made["model"]["vocab"].items():
        tokens[id], kinds[id] = text, NORMAL
    for one in made["added_tokens"]:
        tokens[one["id"]], kinds[one["id"]] = one["content"], CONTROL if one["special"] else USER_DEFINED
    return tokens, kinds


def fields(made: dict[str, Any], size: int) -> dict[str, Any]:
    """Return the metadata of a SentencePiece BPE. Raises IikataError where texts are changed before they are split.

    A tokenizer.json ranks pairs, SentencePiece scores what they make: the better the rank, the higher the score.
    """
    _refuse_changes(made)
    tokens, kinds = listed(made, size)
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in made["model"]["merges"]]
    ranks = {"".join(pair): rank for rank, pair in reversed(list(enumerate(merges)))}
    for id, text in enumerate(tokens):
        if BYTE_PIECE.fullmatch(text) and kinds[id] == NORMAL:
            kinds[id] = BYTE
    unknown = _unknown(made, tokens, kinds)
    found = {
        "model": "llama",
        "tokens": tokens,
        "scores": [-float(ranks.get(text, len(merges))) for text in tokens],
        "token_type": kinds,
        "unknown_token_id": unknown,
        "add_space_prefix": _begins_with_blank(made),
    }
    return {f"tokenizer.ggml.{name}": value for name, value in found.items()}


def _unknown(made: dict[str, Any], tokens: list[str], kinds: list[int]) -> int:
    """Mark the unknown token; written as what SentencePiece shows for it, it is listed under its name again."""
    shown = (made["model"].get("unk_token"), "<unk>", " \u2047 ")
    found = next((tokens.index(text) for text in shown if text in tokens), None)
    if found is None:
        raise IikataError(f"--gguf: this vocabulary has no unknown token, which llama.cpp needs. {INSTEAD}")
    tokens[found], kinds[found] = "<unk>", UNKNOWN
    return found


def _parts(part: Any, of: str) -> list[dict[str, Any]]:
    return [] if part is None else part[of] if part["type"] == "Sequence" else [part]


def _refuse_changes(made: dict[str, Any]) -> None:
    for part in _parts(made["normalizer"], "normalizers"):
        blank = part["type"] == "Replace" and part["pattern"] == {"String": " "} and part["content"] == "▁"
        if not blank and part["type"] != "Prepend":
            raise IikataError(
                f"--gguf: this vocabulary's texts are changed first ({part['type']}), not so there. {INSTEAD}"
            )


def _begins_with_blank(made: dict[str, Any]) -> bool:
    prepended = any(part["type"] == "Prepend" for part in _parts(made["normalizer"], "normalizers"))
    before = _parts(made["pre_tokenizer"], "pretokenizers")
    return prepended or any(part.get("prepend_scheme") in PREPENDS for part in before)
