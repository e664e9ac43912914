"""Write our tokenizer and a template as the files that transformers and vLLM load, with the very same ids."""

from collections.abc import Iterable
from typing import Any

from iikata.core.errors import IikataError
from iikata.templates import Template, chat_template
from iikata.tokenize.hf_fast import FastTokenizer, backend
from iikata.tokenize.sentencepiece import BPE, USER_DEFINED, PieceTokenizer, parsed, processor
from iikata.tokenize.settings import NAMES
from iikata.tokenize.tokenizer import Tokenizer

NORMAL, UNKNOWN, BYTE, UNIGRAM = 1, 2, 6, 1
"""Piece types and model types of sentencepiece_model.proto."""
NEVER = -1e4
"""The score of a byte piece, since a text that spells `<0x0A>` does not mean it."""
SURFACE = " \u2047 "
"""What SentencePiece writes for an unknown piece; no text holds it once blanks are ▁, and many hold `<unk>`."""
KANA = [*map(chr, range(0x3041, 0x30FF)), *map(chr, range(0xFF66, 0xFF9E))]
SOUND_MARKS = "\uff9e\uff9f\u3099\u309a"


def tokenizer_json(tokenizer: Tokenizer) -> str:
    """Return the text of a tokenizer.json. Raises IikataError for a kind of SentencePiece model it cannot hold."""
    if isinstance(tokenizer, FastTokenizer):
        return str(backend(tokenizer.file, tokenizer.special_tokens).to_str())
    assert isinstance(tokenizer, PieceTokenizer)
    return str(_from_pieces(tokenizer).to_str())


def other_tokens(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """Return those of `texts` that the exported tokenizer.json would give other tokens.

    Raises IikataError where none can be written.
    """
    if isinstance(tokenizer, FastTokenizer):
        return []
    made = backend(tokenizer_json(tokenizer))
    return [text for text in texts if made.encode(text, add_special_tokens=False).ids != tokenizer.ids(text)]


def tokenizer_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the content of tokenizer_config.json: a class that takes tokenizer.json as it is, and the named tokens."""
    # Named, SentencePiece's unknown piece would be read from a text that spells it.
    named = {name: text for name, text in tokenizer.named_tokens.items() if text in tokenizer.special_tokens}
    named.setdefault("eos_token", tokenizer.token(tokenizer.eos_id))
    extra = {name: named.pop(name) for name in list(named) if name not in NAMES}
    more = {"extra_special_tokens": extra} if extra else {}
    return {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **named, **more}


def chat_template_for(template: Template, tokenizer: Tokenizer) -> str:
    """Return the chat template under which transformers gives `template`'s tokens, BOS included."""
    bos = tokenizer.bos_id
    writes = bos is not None and tokenizer.ids(template.render("instruction").prompt)[:1] != [bos]
    return chat_template(template, writes_bos=writes)


def _from_pieces(tokenizer: PieceTokenizer) -> Any:
    from tokenizers import AddedToken, processors
    from tokenizers import Tokenizer as Backend

    proto = parsed(tokenizer.model)
    if proto.trainer_spec.model_type not in (UNIGRAM, BPE):
        raise IikataError(
            "the base's SentencePiece model is neither a unigram nor a BPE model, and no exact tokenizer.json is known "
            "for it. Put the model's own tokenizer.json into its folder and run the experiment on that."
        )
    made = Backend(_unigram(tokenizer, proto) if proto.trainer_spec.model_type == UNIGRAM else _bpe(tokenizer, proto))
    _write_blanks(made, tokenizer, proto)
    # Pieces that every text of a BPE model keeps whole are found in it once its blanks are ▁.
    kept = sorted(tokenizer.user_defined) if proto.trainer_spec.model_type == BPE else []
    kept = [id for id in kept if made.normalizer.normalize_str(proto.pieces[id].piece) == proto.pieces[id].piece]
    made.add_tokens([AddedToken(proto.pieces[id].piece, normalized=True, special=id in tokenizer.own) for id in kept])
    split = {text: id for text, id in tokenizer.read_whole.items() if id not in tokenizer.user_defined}
    by_id = sorted(split, key=lambda text: split[text])
    made.add_tokens([AddedToken(text, normalized=False, special=text in tokenizer.special_tokens) for text in by_id])
    if odd := [text for text in by_id if made.token_to_id(text) != split[text]]:
        raise IikataError(f"the added token {odd[0]!r} has no place of its own in a tokenizer.json.")
    if tokenizer.bos_id is not None:
        bos = tokenizer.token(tokenizer.bos_id)
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokenizer.bos_id)]
        )
    return made


def _unigram(tokenizer: PieceTokenizer, proto: Any) -> Any:
    from tokenizers import models

    return models.Unigram(_scores(proto), unk_id=tokenizer.unk_id, byte_fallback=proto.trainer_spec.byte_fallback)


def _bpe(tokenizer: PieceTokenizer, proto: Any) -> Any:
    from tokenizers import models

    fallback, over = proto.trainer_spec.byte_fallback, {id: text for text, id in tokenizer.read_whole.items()}
    over |= {id: SURFACE for id, piece in enumerate(proto.pieces) if piece.type == UNKNOWN}
    vocabulary = {over.get(id, piece.piece): id for id, piece in enumerate(proto.pieces)} | dict(tokenizer.read_whole)
    unknown = None if fallback else SURFACE
    return models.BPE(vocabulary, _merges(proto), unk_token=unknown, fuse_unk=True, byte_fallback=fallback)


def _merges(proto: Any) -> list[tuple[str, str]]:
    """Return the pairs that pieces are merged from, the best piece first, as SentencePiece ranks them by score."""
    score = {piece.piece: piece.score for piece in proto.pieces if piece.type == NORMAL}
    pairs = [
        (piece[:at], piece[at:])
        for piece in score
        for at in range(len(piece) - 1, 0, -1)
        if piece[:at] in score and piece[at:] in score
    ]
    return sorted(pairs, key=lambda pair: -score["".join(pair)])


def _scores(proto: Any) -> list[tuple[str, float]]:
    normal = [piece.score for piece in proto.pieces if piece.type == NORMAL]

    def entry(piece: Any) -> tuple[str, float]:
        if piece.type == USER_DEFINED:  # SentencePiece's own bonus, by which such a piece always wins
            return piece.piece, len(piece.piece.encode()) * max(normal) - 0.1
        if piece.type in (NORMAL, BYTE):
            return piece.piece, piece.score if piece.type == NORMAL else NEVER
        # Control pieces are split off before; the lowest score counts for unknown text, so theirs is no lower.
        return SURFACE if piece.type == UNKNOWN else piece.piece, min(normal)

    return [entry(piece) for piece in proto.pieces]


def _normalizers(tokenizer: PieceTokenizer, spec: Any) -> list[Any]:
    from tokenizers import Regex, normalizers

    steps: list[Any] = []
    if spec.precompiled_charsmap:
        # `Precompiled` looks up clusters of less than six bytes, so a kana with its sound mark would stay two.
        whole = processor(tokenizer.model).normalize
        pairs = [(kana + mark, kana, mark) for kana in KANA for mark in SOUND_MARKS]
        text = {pair: whole(f"x{pair}").lstrip("▁")[1:] for pair, _, _ in pairs}
        steps += [normalizers.Replace(pair, text[pair]) for pair, _, _ in pairs if len(text[pair]) == 1]
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex("[ ▁]+"), " "), normalizers.Replace(Regex("^ | $"), "")]
    return steps


def _write_blanks(made: Any, tokenizer: PieceTokenizer, proto: Any) -> None:
    """Say how a text's blanks are written, and read back: also after a special token where SentencePiece does so."""
    from tokenizers import decoders, normalizers, pre_tokenizers

    spec, steps = proto.normalizer_spec, _normalizers(tokenizer, proto.normalizer_spec)
    # Behind an added token `tokenizers` prepends too, and in a BPE model pieces that are kept whole must be such.
    apart = proto.trainer_spec.model_type == BPE and tokenizer.user_defined
    if always := spec.add_dummy_prefix and tokenizer.blank_after_special and not apart:
        steps.append(normalizers.Prepend("▁"))
    made.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    scheme = "first" if spec.add_dummy_prefix and not always else "never"
    made.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=scheme, split=False)
    read = decoders.Metaspace("▁", prepend_scheme="always" if spec.add_dummy_prefix else "never", split=False)
    fallback = proto.trainer_spec.byte_fallback
    made.decoder = decoders.Sequence([decoders.ByteFallback(), read, decoders.Fuse()]) if fallback else read
