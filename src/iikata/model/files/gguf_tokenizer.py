"""Write the tokenizer that a .gguf file's own metadata describes, whatever transformers would make of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError
from iikata.tokenize.sentencepiece import CONTROL, USER_DEFINED

NORMAL, UNKNOWN, UNUSED, BYTE, BPE = 1, 2, 5, 6, 2
"""Kinds of pieces and of models in sentencepiece_model.proto; those of pieces are a .gguf file's own."""
PIECES = {kind: kind for kind in (CONTROL, USER_DEFINED, UNUSED, BYTE)}
"""A file may list several unknown pieces; SentencePiece has one."""
NAMED = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
ENDS = ("eos", "eot", "eom")
WORDS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""How GPT-2 splits a text into words."""
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
LLAMA_3 = rf"{SHORT}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}"
QWEN_2 = LLAMA_3.replace(r"\p{N}{1,3}", r"\p{N}")
CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+<short>|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*<short>"
REST = rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}"
TEKKEN = CASED.replace("<short>", "") + r"|\p{N}" + REST
GPT_4O = CASED.replace("<short>", f"{SHORT}?") + r"|\p{N}{1,3}" + REST
SPLITS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("default", "gpt-2", "phi-2", "olmo", "mpt", "jais"), (WORDS,)),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone"), (r"\p{N}", WORDS)),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "dbrx"), (LLAMA_3,)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez"), (QWEN_2,)),
    "tekken": (TEKKEN,),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2"), (GPT_4O,)),
}
"""`tokenizer.ggml.pre` -> the patterns that a text is split by, one after the other."""
WHOLE_WORDS = (LLAMA_3, TEKKEN)
"""Vocabularies that take a word they have without merging it, and begin with BOS where the file does not say."""


def write(path: Path, fields: Mapping[str, Any], folder: Path) -> None:
    """Write tokenizer and chat template into `folder`; `fields` is the file's metadata.

    Raises IikataError for a kind of vocabulary that cannot be written exactly.
    """
    kind, tokens = _get(fields, "model"), _get(fields, "tokens")
    if not tokens or len(set(tokens)) < len(tokens):
        raise IikataError(f"{path}: tokenizer.ggml.tokens lists {'a token twice' if tokens else 'no token'}. {OTHER}")
    named = {name: _token(path, fields, key, tokens) for name, key in NAMED.items()}
    kinds = _get(fields, "token_type") or [NORMAL] * len(tokens)
    if len(kinds) != len(tokens):
        raise IikataError(f"{path}: {len(tokens)} tokens, but {len(kinds)} of them have a type. {OTHER}")
    if kind == "gpt2":
        begins = _write_byte_level(path, fields, tokens, kinds, named, folder)
    elif kind == "llama":
        begins = _write_pieces(path, fields, tokens, kinds, folder)
    else:
        raise IikataError(f"{path}: tokenizer.ggml.model: {kind!r} was seen; gpt2 and llama are read. {OTHER}")
    by_class = {"gpt2": "PreTrainedTokenizerFast", "llama": "LlamaTokenizer"}[kind]
    config = {**named, "tokenizer_class": by_class, "legacy": False, "add_bos_token": begins}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    if template := fields.get("tokenizer.chat_template"):
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


OTHER = "Give the model's own folder instead of this file."


def end_ids(path: Path, fields: Mapping[str, Any]) -> list[int]:
    """Return the tokens that the file says end a text, a turn or a message."""
    tokens = _get(fields, "tokens")
    texts = [text for key in ENDS if (text := _token(path, fields, key, tokens)) is not None]
    return [tokens.index(text) for text in dict.fromkeys(texts)]


def _get(fields: Mapping[str, Any], name: str, default: Any = None) -> Any:
    return fields.get(f"tokenizer.ggml.{name}", default)


def _token(path: Path, fields: Mapping[str, Any], name: str, tokens: Sequence[str]) -> str | None:
    key = f"{name}_token_id"
    id = _get(fields, key)
    if id is not None and not 0 <= id < len(tokens):
        raise IikataError(f"{path}: tokenizer.ggml.{key} is {id}, but the file lists {len(tokens)} tokens. {OTHER}")
    return None if id is None else tokens[id]


def _write_byte_level(
    path: Path, fields: Mapping[str, Any], tokens: Sequence[str], kinds: Sequence[int], named: Mapping[str, str | None],
    folder: Path,
) -> bool:  # fmt: skip
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    pre = _get(fields, "pre", "default")
    if pre not in SPLITS:
        raise IikataError(
            f"{path}: tokenizer.ggml.pre: {pre!r} was seen, and how such a vocabulary splits a text into words is not "
            f"known here ({', '.join(SPLITS)} are). {OTHER}"
        )
    whole = SPLITS[pre][-1] in WHOLE_WORDS
    merges = [tuple(merge.split(" ", 1)) for merge in _get(fields, "merges") or []]
    vocabulary = {token: id for id, token in enumerate(tokens)}
    made = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=whole))  # type: ignore[arg-type]
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in SPLITS[pre]]
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    listed = [(token, kind) for token, kind in zip(tokens, kinds, strict=True) if kind in (CONTROL, USER_DEFINED)]
    made.add_tokens([AddedToken(token, normalized=False, special=kind == CONTROL) for token, kind in listed])
    begins, bos = bool(_get(fields, "add_bos_token", whole)), named["bos_token"]
    if begins and bos is not None:
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A $B", special_tokens=[(bos, vocabulary[bos])]
        )
    (folder / "tokenizer.json").write_text(made.to_str(), encoding="utf-8")
    return begins


def _write_pieces(
    path: Path, fields: Mapping[str, Any], tokens: Sequence[str], kinds: Sequence[int], folder: Path
) -> bool:
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    unknown = _get(fields, "unknown_token_id", 0)
    scores = _get(fields, "scores") or []
    if len(scores) != len(tokens):
        raise IikataError(f"{path}: {len(tokens)} tokens, but {len(scores)} of them have a score. {OTHER}")
    for id, (token, score, kind) in enumerate(zip(tokens, scores, kinds, strict=True)):
        # Pieces of blanks alone are written as blanks (Gemma).
        piece = token.replace(" ", "▁") if kind != CONTROL else token
        proto.pieces.add(piece=piece, score=score, type=UNKNOWN if id == unknown else PIECES.get(kind, NORMAL))
    proto.trainer_spec.model_type = BPE
    proto.trainer_spec.byte_fallback = BYTE in kinds
    proto.trainer_spec.unk_piece = tokens[unknown]
    for name in ("bos", "eos"):
        setattr(proto.trainer_spec, f"{name}_piece", _token(path, fields, name, tokens) or "")
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = bool(_get(fields, "add_space_prefix", True))
    proto.normalizer_spec.remove_extra_whitespaces = bool(_get(fields, "remove_extra_whitespaces", False))
    (folder / "tokenizer.model").write_bytes(proto.SerializeToString())
    return bool(_get(fields, "add_bos_token", True))
