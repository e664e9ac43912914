"""How consecutive tokens are joined, and the tiles into which they are cut for the kernels of short_attention."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
TILE = 64
"""Tokens a tile."""
ASKED = 512
"""Queries over which one program sums the gradient of a tile of shared keys."""

Span = tuple[int, int]
"""Start and end of consecutive tokens in a buffer."""
Sees = tuple[Span, Span]
"""Consecutive tokens, and the keys that they share with others; an empty span for none."""


def tiles(sequences: Iterable[Sees]) -> Iterator[int]:
    """Yield for each tile of queries: its first token, its sequence's start and end, the shared keys' start and end."""
    for (start, end), shared in sequences:
        for first in range(start, end, TILE):
            yield from (first, start, end, *shared)


def shared_tiles(ranges: Iterable[Sees]) -> Iterator[int]:
    """Yield for each tile of shared keys and part of its queries: first key, end, queries' start and end, place.

    The place is where the tile's first key is among all ranges' shared keys.
    """
    place = 0
    for (start, end), (low, high) in ranges:
        for key in range(low, high, TILE):
            for query in range(start, end, ASKED):
                yield from (key, high, query, min(query + ASKED, end), place + key - low)
        place += high - low


def joined(items: Iterable[T], fits: Callable[[list[T], T], bool]) -> Iterator[list[T]]:
    """Yield consecutive items in lists; one that does not fit those before it begins the next list."""
    part: list[T] = []
    for item in items:
        if part and not fits(part, item):
            yield part
            part = []
        part.append(item)
    if part:
        yield part
