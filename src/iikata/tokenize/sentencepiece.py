"""A tokenizer that runs SentencePiece itself, so that its ids are SentencePiece's own.

transformers 5 converts such a vocabulary instead: it takes the unknown token to be number 2, which in rinna's
vocabulary is </s>, and `T5Tokenizer(vocab_file=...)` silently ignores the file.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

from iikata.tokenize.tokenizer import Tokenizer, any_of

BPE = 2
"""A model type of sentencepiece_model.proto."""
CONTROL, USER_DEFINED = 3, 4
"""Piece types of sentencepiece_model.proto: never read from a text; always read from a text, and whole."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PieceTokenizer(Tokenizer):
    """SentencePiece over the bytes of a .model file, with special tokens set apart."""

    model: bytes = field(repr=False)
    blank_after_special: bool
    """Whether a text after a special token begins like a new one (transformers' `legacy`)."""

    def ids(self, text: str, special: bool = True, start: bool = True) -> list[int]:
        ids: list[int] = []
        for a, b, first, whole in self._pieces(text, special, start):
            ids += self._known.get((text[a:b], special, first)) or self._recent(text[a:b], special, first)
            ids += [] if whole is None else [self.read_whole[whole]]
        return ids

    def ahead(self, texts: Iterable[tuple[str, bool]]) -> None:
        self._known.clear()
        every = {(first, text[a:b]) for text, start in texts for a, b, first, _ in self._pieces(text, start=start)}
        pairs = sorted(every)
        for start, some in groupby(pairs, key=itemgetter(0)):
            pieces = [piece for _, piece in some]
            found = self._processors[True, start].encode(pieces, num_threads=os.cpu_count() or 1)
            self._known.update(((piece, True, start), tuple(ids)) for piece, ids in zip(pieces, found, strict=True))

    def cut(self, text: str) -> tuple[int, bool]:
        # A token that is nearer to the end may become another with what follows.
        sure = len(text) - self._longest
        pieces = [(0, 0, True, None), *self._pieces(text)]
        sure_of = ((b, first) for (_, end, _, whole), (b, _, first, _) in pairwise(pieces) if not whole or end <= sure)
        return max(sure_of)

    def _pieces(
        self, text: str, special: bool = True, start: bool = True
    ) -> Iterator[tuple[int, int, bool, str | None]]:
        """Yield where each piece of the text begins and ends, whether a text starts there, and the token behind it."""
        at = 0
        for found in self._split[special].finditer(text):
            end, whole = found.start(), None if self._reads_by_line and found[0] == "\n" else found[0]
            if whole or (at < end and text[end - 1] != "\n"):
                yield at, end, start, whole
                at, start = (found.end(), self.blank_after_special) if whole else (end, False)
        yield at, len(text), start, None

    def text(self, ids: Iterable[int]) -> str:
        # SentencePiece decodes control tokens to nothing and does not know added ones.
        runs = [(text, list(run)) for text, run in groupby(ids, key=self._shown)]
        decode = self._processors[True, True].decode
        return "".join(decode(run) if text is None else text * len(run) for text, run in runs)

    def token(self, id: int) -> str:
        return self._whole_by_id.get(id) or self._processors[True, True].id_to_piece(id)

    def _shown(self, id: int) -> str | None:
        """Return what is shown for a token that SentencePiece cannot decode."""
        # Many models have more outputs than their tokenizer has tokens, and can draw one of the rest.
        return self._whole_by_id.get(id) or (None if id < len(self._processors[True, True]) else "\ufffd")

    @cached_property
    def _whole_by_id(self) -> dict[int, str]:
        shown = ((text, id) for text, id in self.read_whole.items() if id not in self.user_defined or id in self.own)
        return {id: text for text, id in shown}

    @cached_property
    def _known(self) -> dict[tuple[str, bool, bool], tuple[int, ...]]:
        """Tokens of the texts worked out ahead."""
        return {}

    @cached_property
    def _recent(self) -> Callable[[str, bool, bool], tuple[int, ...]]:
        # All prompts of a cell begin with the same examples, and a probe's choices follow on one prompt.
        return lru_cache(maxsize=256)(self._encoded)

    def _encoded(self, text: str, special: bool, start: bool) -> tuple[int, ...]:
        return tuple(self._processors[special, start].encode(text))

    @cached_property
    def user_defined(self) -> set[int]:
        """Pieces that SentencePiece itself keeps whole in every text."""
        return {id for id, piece in enumerate(parsed(self.model).pieces) if piece.type == USER_DEFINED}

    @cached_property
    def own(self) -> set[int]:
        """Special tokens that SentencePiece itself reads from a text; the others are split off before it."""
        return self.user_defined & set(self.special_tokens.values())

    @cached_property
    def _apart(self) -> set[str]:
        return {text for text, id in self.read_whole.items() if id not in self.user_defined}

    @cached_property
    def _split(self) -> dict[bool, Any]:
        """special -> what is split off before SentencePiece."""
        apart = self._apart
        breaks = {"\n"} if self._reads_by_line else set()
        return {True: any_of(apart | breaks), False: any_of(apart - self.special_tokens.keys() | breaks)}

    @cached_property
    def _reads_by_line(self) -> bool:
        """Whether a line's tokens are the same without the break behind it, which the next line begins with.

        So it is where pieces are merged from characters as they are (BPE, an unknown one as its bytes), and no piece
        holds a break behind another character. A unigram model's sums are rounded, and so depend on the whole text.
        """
        proto = parsed(self.model)
        spec, trained = proto.normalizer_spec, proto.trainer_spec
        changed = spec.precompiled_charsmap or spec.remove_extra_whitespaces or trained.treat_whitespace_as_suffix
        merged = trained.model_type == BPE and trained.byte_fallback and not changed
        whole = any("\n" in text for text in self._apart)
        return merged and not whole and not any("\n" in piece.piece.lstrip("\n") for piece in proto.pieces)

    @cached_property
    def _processors(self) -> dict[tuple[bool, bool], Any]:
        """(special, start) -> SentencePiece's processor."""
        return {
            (special, start): processor(edited(self.model, start, set() if special else self.own))
            for special in (True, False)
            for start in (True, False)
        }


def processor(model: bytes) -> Any:
    """Return SentencePiece's own processor. Raises RuntimeError where `model` is no SentencePiece model."""
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_proto=model)


def edited(model: bytes, dummy_prefix: bool, control: set[int]) -> bytes:
    """Return the model with `control` made control pieces, and no dummy prefix if `dummy_prefix` is false."""
    proto = parsed(model)
    proto.normalizer_spec.add_dummy_prefix &= dummy_prefix
    for id in control:
        proto.pieces[id].type = CONTROL
    return proto.SerializeToString()


def parsed(model: bytes) -> Any:
    """Return the model as a protobuf message."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    proto.ParseFromString(model)
    return proto
