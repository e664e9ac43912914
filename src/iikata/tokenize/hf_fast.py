"""A tokenizer that runs `tokenizers` on a tokenizer.json, as the file says and no model class changes it."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from iikata.tokenize.tokenizer import Tokenizer, any_of

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = (byte for byte in range(0x100) if byte not in _PRINTABLE)
LETTER_BYTES = {chr(byte): byte for byte in _PRINTABLE} | {chr(0x100 + i): byte for i, byte in enumerate(_OTHERS)}
"""Letter -> byte, as GPT-2's byte-level BPE writes bytes (Radford et al. 2019, encoder.py)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FastTokenizer(Tokenizer):
    """Hugging Face's `tokenizers` over the text of a tokenizer.json."""

    file: str = field(repr=False)

    def ids(self, text: str, special: bool = True, start: bool = True) -> list[int]:
        known = self._known if special and start else {}
        pieces = self._pieces(text) if special else [text]
        return [id for piece in pieces for id in known.get(piece) or self._recent(piece, special, start)]

    def ahead(self, texts: Iterable[tuple[str, bool]]) -> None:
        pieces = list(dict.fromkeys(piece for text, start in texts if start for piece in self._pieces(text)))
        self._start.encode_special_tokens = False
        found = self._start.encode_batch_fast(pieces, add_special_tokens=False)
        self._known.clear()
        self._known.update((piece, tuple(one.ids)) for piece, one in zip(pieces, found, strict=True))

    @cached_property
    def _known(self) -> dict[str, tuple[int, ...]]:
        """Piece -> its tokens, of the texts worked out ahead."""
        return {}

    def _pieces(self, text: str) -> list[str]:
        """Return the text cut in front of each token that cuts."""
        cuts = list(self._cuts(text))
        return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if a < b]

    def cut(self, text: str) -> tuple[int, bool]:
        # A token nearer to the end may become another with what follows.
        sure = len(text) - self._longest
        return max((cut for cut in self._cuts(text) if cut <= sure), default=0), True

    def _cuts(self, text: str) -> Iterator[int]:
        return (found.start() for found in self._read_apart.finditer(text) if found[0] in self._cutting)

    @cached_property
    def _recent(self) -> Callable[[str, bool, bool], tuple[int, ...]]:
        # Each turn of a conversation is encoded with all that was said before it, which is in here.
        return lru_cache(maxsize=256)(self._encoded)

    def _encoded(self, text: str, special: bool, start: bool) -> tuple[int, ...]:
        encoder = self._start if start else self._inner
        encoder.encode_special_tokens = not special
        return tuple(encoder.encode(text, add_special_tokens=False).ids)

    @cached_property
    def _cutting(self) -> frozenset[str]:
        """Added tokens before which a text may be cut: `tokenizers` itself takes them out first, as they stand."""
        added = self._start.get_added_tokens_decoder().values()
        if any(token.single_word for token in added):
            return frozenset()
        plain = [token.content for token in added if not (token.normalized or token.lstrip or token.rstrip)]
        return frozenset(text for text in plain if text and not text[0].isspace())

    @cached_property
    def _read_apart(self) -> re.Pattern[str]:
        added = self._start.get_added_tokens_decoder().values()
        return any_of(token.content for token in added if not token.normalized)

    def text(self, ids: Iterable[int]) -> str:
        return self._start.decode(list(ids), skip_special_tokens=False)  # ids beyond the vocabulary give nothing

    def token(self, id: int) -> str:
        written = self._start.id_to_token(id) or ""
        if type(self._start.decoder).__name__ != "ByteLevel" or not all(map(LETTER_BYTES.__contains__, written)):
            return written
        text = bytes(map(LETTER_BYTES.__getitem__, written)).decode(errors="surrogateescape")
        return "".join(f"<0x{ord(c) & 0xFF:02X}>" if "\udc80" <= c <= "\udcff" else c for c in text)

    @cached_property
    def _start(self) -> Any:
        return backend(self.file, self.special_tokens)

    @cached_property
    def _inner(self) -> Any:
        content = json.loads(self.file)
        inner = without_prefix(content)
        return self._start if inner == content else backend(json.dumps(inner), self.special_tokens)


def backend(file: str, special: Iterable[str] = ()) -> Any:
    """Return a `tokenizers.Tokenizer`; `special` tokens are such even where the file does not mark them."""
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Backend

    tokenizer = Backend.from_str(file)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    marked = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    unmarked = sorted({text for text in special if text not in marked})
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in unmarked])
    return tokenizer


def without_prefix(part: Any) -> Any:
    """Return a tokenizer.json's content without what writes a blank in front of a text."""
    if isinstance(part, list):
        return [without_prefix(item) for item in part if not _is_prepend(item)]
    if not isinstance(part, dict):
        return part
    rest = {key: None if _is_prepend(value) else without_prefix(value) for key, value in part.items()}
    switches: dict[str, dict[str, Any]] = {
        "Metaspace": {"prepend_scheme": "never"},
        "ByteLevel": {"add_prefix_space": False},
    }
    return {**rest, **switches.get(str(part.get("type")), {})}


def _is_prepend(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "Prepend"
