"""Paint an encoded example, so that a human sees what is trained."""

from collections.abc import Iterator
from itertools import groupby

from iikata.core.encoded import Encoded
from iikata.core.text import escape
from iikata.tokenize.tokenizer import Tokenizer

LONGEST_CHARACTER = 4
"""Bytes, and so tokens at most."""
DIM, GREEN, REVERSED, RESET = "\x1b[2m", "\x1b[32m", "\x1b[7m", "\x1b[0m"


def show(encoded: Encoded, tokenizer: Tokenizer) -> str:
    """Return the example with ANSI colours: dim without loss, green with it, the end token reversed.

    No other character of it is one that a terminal obeys.
    """
    pairs = list(zip(encoded.completion_mask, encoded.input_ids, strict=True))
    body = pairs if encoded.truncated else pairs[:-1]
    painted = [
        f"{GREEN if counts else DIM}{escape(tokenizer.text(id for _, id in run))}{RESET}"
        for counts, run in groupby(body, key=lambda pair: pair[0])
    ]
    if encoded.truncated:
        return "".join(painted) + f" [cut at {len(pairs)} tokens]"
    return "".join(painted) + f"{REVERSED}{escape(tokenizer.token(encoded.input_ids[-1]))}{RESET}"


def pieces(encoded: Encoded, tokenizer: Tokenizer) -> Iterator[tuple[str, bool]]:
    """Yield the example's tokens as text, and whether the loss counts them; tokens that share a character as one."""
    held: list[int] = []
    for id, counts in zip(encoded.input_ids, encoded.completion_mask, strict=True):
        held.append(id)
        text = tokenizer.text(held)
        if "\ufffd" not in text:
            yield (text if len(held) > 1 else tokenizer.token(id)), counts
        elif not text.endswith("\ufffd") or len(held) == LONGEST_CHARACTER:
            yield "".join(map(tokenizer.token, held)), counts
        else:
            continue
        held = []
    if held:
        yield "".join(map(tokenizer.token, held)), counts
