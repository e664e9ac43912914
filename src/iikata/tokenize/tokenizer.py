"""What iikata asks of a tokenizer, whatever library is behind it."""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby, takewhile
from operator import itemgetter


@dataclass(frozen=True, eq=False, kw_only=True)
class Tokenizer(ABC):
    """Text to token ids and back. Nothing is ever added in front or behind."""

    special_tokens: Mapping[str, int] = field(repr=False)
    """Text -> id of the tokens that a plain text never turns into."""
    added_tokens: Mapping[str, int] = field(repr=False)
    """Text -> id of the tokens that are read whole from any text and are not special, such as `<think>`."""
    named_tokens: Mapping[str, str] = field(repr=False)
    """`bos_token`, `eos_token`, ... -> text, as a chat template wants them."""
    eos_id: int
    end_ids: frozenset[int]
    """`eos_id` and every `eos_token_id` of generation_config.json and config.json: each ends an answer."""
    bos_id: int | None
    """Only where the model's own default puts one in front of a text."""
    unk_id: int | None
    pad_id: int | None
    vocab_size: int
    chat_template: str | None = field(repr=False)
    hash: str
    """The sha256 of the vocabulary and of what is named here, in hex."""

    @abstractmethod
    def ids(self, text: str, special: bool = True, start: bool = True) -> list[int]:
        """Return the tokens of `text`.

        With `special=False` the text of a special token is plain text. With `start=False` the text goes on
        from another one and gets nothing in front (SentencePiece writes a blank before a text's first word).
        """

    def ahead(self, texts: Iterable[tuple[str, bool]]) -> None:  # noqa: B027 - some tokenizers can do nothing ahead
        """Work out the tokens of (text, start) that are asked for next, on every core where the library can."""

    def cut(self, text: str) -> tuple[int, bool]:
        """Return the last place where `text` can be cut, and whether what is behind it is read as a start.

        Whatever follows on `text`, the tokens of both parts are those of the whole: with `special=False`, too, where
        `text` holds no special token.
        """
        return 0, True

    @abstractmethod
    def text(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`: special tokens shown, blanks as they are, half a character as U+FFFD."""

    def whole_text(self, ids: Iterable[int]) -> str:
        """Return the text of `ids` without the half character that a cut may leave at its end."""
        return self.text(ids).rstrip("\ufffd")

    @abstractmethod
    def token(self, id: int) -> str:
        """Return one token as the vocabulary writes it."""

    def has_special(self, text: str) -> bool:
        """Return whether `text` holds the text of a special token."""
        return self._special_text.search(text) is not None

    def end_in(self, text: str, breaks: int) -> tuple[int, int] | None:
        """Return where the token that ends an answer begins in the `text` behind it, and its id; None for no token.

        That is an added token right behind the answer and `breaks` characters, special or not, else the first special
        one.
        """
        found = self._added_text.match(text, breaks) or self._special_text.search(text)
        return (found.start(), self.read_whole[found[0]]) if found else None

    @cached_property
    def read_whole(self) -> dict[str, int]:
        """Text -> id of all tokens that are read whole from a text."""
        return {**self.added_tokens, **self.special_tokens}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.read_whole), default=0)

    @cached_property
    def _added_text(self) -> re.Pattern[str]:
        return any_of(self.read_whole)

    @cached_property
    def _special_text(self) -> re.Pattern[str]:
        return any_of(self.special_tokens)


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that finds any of `texts`, the longest where several begin alike."""
    return re.compile(_one_of(set(texts)) or r"(?!)")


def _one_of(texts: Collection[str], levels: int = 8) -> str:
    """Ask once for what texts begin with alike: Gemma has 6,000, and to try each at every `<` outlasts the model.

    Nested no deeper than `levels`: a tokenizer may have runs of a thousand newlines, which `re` does not nest.
    """
    if not levels or len(texts) == 1:
        return "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))
    branches = []
    for _, some in groupby(sorted(texts, reverse=True), key=itemgetter(slice(1))):
        alike = list(some)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(alike[0], alike[-1], strict=False)))
        rest = _one_of([text[same:] for text in alike], levels - 1)
        branches.append(f"{re.escape(alike[0][:same])}(?:{rest})")
    return "|".join(branches)
