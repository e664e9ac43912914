"""The tokenizer's part of a .gguf file, held against the run's own tokens before a weight is written."""

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from iikata import tokenize
from iikata.core.errors import IikataError
from iikata.core.records import Example
from iikata.model.files import gguf_tokenizer
from iikata.pipeline import gguf_pieces
from iikata.pipeline.gguf_family import INSTEAD
from iikata.pipeline.gguf_pieces import listed
from iikata.templates import Template

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
    fields = (_of_bytes if of_bytes else gguf_pieces.fields)(made, size) | {
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
    tokens, kinds = listed(made, size)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in made["model"]["merges"]]
    names = ("model", "tokens", "token_type", "merges")
    return {f"tokenizer.ggml.{name}": value for name, value in zip(names, ("gpt2", tokens, kinds, merges), strict=True)}


def _same(fields: dict[str, Any], texts: Sequence[str], tokenizer: tokenize.Tokenizer) -> bool:
    """Say whether a reader of the file gives all of `texts` the tokens that `tokenizer` gives."""
    with TemporaryDirectory() as place:
        gguf_tokenizer.write(Path(place), fields, Path(place))
        read = tokenize.load_tokenizer(Path(place))
    return all(read.ids(text) == tokenizer.ids(text) for text in texts)
