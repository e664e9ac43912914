"""The tokenizer's part of a .gguf file, held against the run's own tokens before a weight is written."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from iikata import tokenize
from iikata.core.errors import IikataError
from iikata.core.records import Example
from iikata.model.files import gguf_tokenizer
from iikata.pipeline.gguf_family import INSTEAD
from iikata.templates import Template

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Kinds of tokens in a .gguf file, as of sentencepiece_model.proto."""
BYTE_PIECE = re.compile("<0x[0-9A-F]{2}>")
PREPENDS = {"first", "always"}
SPLITS = ("gpt-2", "smollm", "llama-bpe", "qwen2", "tekken", "gpt-4o")
"""`tokenizer.ggml.pre`: one name for each way to split a text into words that is known here."""
TRICKY = (
    "It's 12345 o'clock, WE'LL see: don't!",
    "camelCase HTTPServer naïve Ünïcode",
    "日本語のテキスト、東京は2024年。ｶﾞﾗｽ",
    "  leading\n\n\n  and\ttabs  \r\n trailing   ",
    "a/b//c \\ e_f-g+h==i (j) [k] {l} … — ¡",
    "🐟🏳️‍🌈 か\u3099 \u3000 x² ½ Ⅷ",
)
"""Texts in which those ways differ."""


def vocabulary(
    tokenizer: tokenize.Tokenizer, template: Template, folder: Path, rows: Sequence[Example], size: int
) -> dict[str, Any]:
    """Return the metadata of `size` tokens; `folder` holds tokenizer.json and the chat template as exported.

    Raises IikataError where no way to split words gives the tokens of all rows, as far as is known here.
    """
    made = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    of_bytes = "ByteLevel" in json.dumps(made["pre_tokenizer"])
    if made["model"].get("type") != "BPE":
        raise IikataError(
            f"--gguf: of vocabularies only BPE is written, and this is a {made['model'].get('type')} one, whose pieces "
            f"llama.cpp finds otherwise. {INSTEAD}"
        )
    fields = (_of_bytes if of_bytes else _of_pieces)(made, size) | {
        "tokenizer.ggml.eos_token_id": tokenize.end_id(template, tokenizer),
        "tokenizer.ggml.add_bos_token": tokenizer.bos_id is not None,
        "tokenizer.chat_template": (folder / "chat_template.jinja").read_text(encoding="utf-8"),
    }
    eot = min(tokenize.stop_ids(template, tokenizer) - {tokenize.end_id(template, tokenizer)}, default=None)
    ids = {"bos": tokenizer.bos_id, "padding": tokenizer.pad_id, "eot": eot}
    fields |= {f"tokenizer.ggml.{name}_token_id": id for name, id in ids.items() if id is not None}
    rendered = (template.render(*row.texts[:3], before=row.before) for row in rows)
    texts = [one.prompt + one.completion for one in rendered]
    for tried in [fields | {"tokenizer.ggml.pre": pre} for pre in SPLITS] if of_bytes else [fields]:
        if _same(tried, [*TRICKY, *texts], tokenizer):
            return tried
    none = f"no known way to split words ({', '.join(SPLITS)}) gives"
    none = none if of_bytes else "merged in the order of their ranks, its pieces do not give"
    raise IikataError(f"--gguf: {none} this tokenizer's tokens. {INSTEAD}")


def _of_bytes(made: dict[str, Any], size: int) -> dict[str, Any]:
    tokens, kinds = _listed(made, size)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in made["model"]["merges"]]
    names = ("model", "tokens", "token_type", "merges")
    return {f"tokenizer.ggml.{name}": value for name, value in zip(names, ("gpt2", tokens, kinds, merges), strict=True)}


def _same(fields: dict[str, Any], texts: Sequence[str], tokenizer: tokenize.Tokenizer) -> bool:
    """Say whether a reader of the file gives all of `texts` the tokens that `tokenizer` gives."""
    with TemporaryDirectory() as place:
        gguf_tokenizer.write(Path(place), fields, Path(place))
        read = tokenize.load_tokenizer(Path(place))
    return all(read.ids(text) == tokenizer.ids(text) for text in texts)


def _listed(made: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Return the text and the kind of `size` tokens; `made` is the content of a tokenizer.json."""
    tokens, kinds = [f"[PAD{id}]" for id in range(size)], [UNUSED] * size
    for text, id in made["model"]["vocab"].items():
        tokens[id], kinds[id] = text, NORMAL
    for one in made["added_tokens"]:
        tokens[one["id"]], kinds[one["id"]] = one["content"], CONTROL if one["special"] else USER_DEFINED
    return tokens, kinds


def _of_pieces(made: dict[str, Any], size: int) -> dict[str, Any]:
    """Return the metadata of a SentencePiece BPE. Raises IikataError where texts are changed before they are split.

    A tokenizer.json ranks pairs, SentencePiece scores what they make: the better the rank, the higher the score.
    """
    normalizers, before = _parts(made["normalizer"], "normalizers"), _parts(made["pre_tokenizer"], "pretokenizers")
    for part in normalizers:
        blank = part["type"] == "Replace" and part["pattern"] == {"String": " "} and part["content"] == "▁"
        if not blank and part["type"] != "Prepend":
            raise IikataError(f"--gguf: this tokenizer changes texts first ({part['type']}), llama.cpp not. {INSTEAD}")
    prepended = any(part["type"] == "Prepend" for part in normalizers)
    tokens, kinds = _listed(made, size)
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
        "add_space_prefix": prepended or any(part.get("prepend_scheme") in PREPENDS for part in before),
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
