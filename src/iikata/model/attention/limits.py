"""What buffers hold at most, and what they are filled up to."""

import math
from dataclasses import dataclass

TOKENS = "tokens"


@dataclass(frozen=True)
class Limits:
    """The most that any buffer of a run holds; torch's flash kernel is launched for these numbers."""

    longest: int
    """Tokens of the longest sample."""
    part: int
    """Tokens that one arm has in one buffer."""
    longest_prefix: int

    @classmethod
    def over(cls, longest: int, part: int, longest_prefix: int) -> "Limits":
        """Return powers of two: layers that have a window are compiled for `longest`, which should seldom change."""
        return cls(*(1 << max(5, (most - 1).bit_length()) for most in (longest, part, longest_prefix)))


class Room:
    """What buffers are filled up to, so that all have one shape and a turn can be recorded.

    Where something does not fit, its room grows, by more than that; tokens by no more than to `most`.
    """

    MORE = 1.1

    def __init__(self, most: int) -> None:
        self.most = most
        self.lengths: dict[str, int] = {}

    def of(self, what: str, length: int, multiple: int = 1) -> int:
        """Return the length to fill to, a multiple."""
        if length > self.lengths.get(what, 0):
            more = self.MORE * length
            if what == TOKENS:
                more = max(length, min(more, self.most))
            self.lengths[what] = multiple * math.ceil(more / multiple)
        return self.lengths.get(what, 0)
