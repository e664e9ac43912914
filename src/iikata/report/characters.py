"""Put characters together that a byte-level vocabulary cuts apart, so that a painted example can be read."""

from collections.abc import Iterable, Iterator

_PRINTABLE = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))
_OTHERS = (byte for byte in range(0x100) if byte not in _PRINTABLE)
_BYTES = {chr(byte): byte for byte in _PRINTABLE} | {chr(0x100 + i): byte for i, byte in enumerate(_OTHERS)}
"""Letter -> byte, as GPT-2's byte-level BPE writes bytes (Radford et al. 2019, encoder.py)."""


def whole(painted: Iterable[tuple[str, bool]]) -> Iterator[tuple[str, bool]]:
    """Yield the tokens, those that hold the bytes of one character as that character.

    Tokens that are text already, and bytes that make no character, stay as they are.
    """
    held: list[tuple[str, bool]] = []
    for token, counted in painted:
        if token.isascii() or not all(letter in _BYTES for letter in token):
            yield from held
            yield token, counted
            held = []
            continue
        held.append((token, counted))
        try:
            text = bytes(_BYTES[letter] for one, _ in held for letter in one).decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data":
                continue  # The next token may have the rest.
            yield from held
        else:
            yield text, counted
        held = []
    yield from held
