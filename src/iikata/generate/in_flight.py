"""What is known of the rows in flight beside the device: whose they are, their tokens so far, when they end."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from iikata.model.buffers import Ids

OnToken = Callable[[Any, Sequence[int]], None]
"""Is told a row's key and all its new tokens so far."""


@dataclass(frozen=True)
class Request:
    """One prompt and the samples wanted of it."""

    keys: tuple[Any, ...]
    """What the caller knows each sample by."""
    prompt_ids: Ids
    seeds: tuple[int, ...]
    """A seed a sample; its whole random stream comes from it."""
    end_ids: frozenset[int]
    """Tokens that end an answer."""
    arm: str | None = None
    """Who answers; None is the untuned base."""
    prefixes: Sequence[Ids] = ()
    """What its template's prompts begin with; the longest that fits is computed once for all of them."""
    stopped: Callable[[Ids], bool] | None = None
    """Says whether the new tokens already hold a stop string; asked after every token."""


@dataclass(frozen=True)
class Completion:
    """One finished row."""

    key: Any
    ids: Ids
    """New tokens without the end token."""
    finish: str


class InFlight:
    """R rows in the slots of their number. A serial number tells a row from the next one in its slot."""

    def __init__(self, count: int, max_new_tokens: int, ends: int, on_token: OnToken | None) -> None:
        self.serial = np.full(count, -1)
        """[R] which row is in each slot, -1 for none."""
        self.ids = np.zeros((count, max_new_tokens), dtype=np.int64)
        self.made = np.zeros(count, dtype=np.int64)
        self.ends = np.full((count, max(1, ends)), -1)
        """[R, E] the tokens that end each row."""
        self.watched = np.zeros(count, dtype=bool)
        """[R] whose answers may hold a stop string."""
        self.asked: dict[int, tuple[Request, int]] = {}
        self.on_token = on_token
        self.begun = 0

    @property
    def free(self) -> list[int]:
        return np.flatnonzero(self.serial < 0).tolist()

    @property
    def busy(self) -> bool:
        return bool((self.serial >= 0).any())

    def begin(self, slot: int, request: Request, sample: int) -> None:
        self.serial[slot], self.begun = self.begun, self.begun + 1
        self.made[slot] = 0
        self.ends[slot] = -1
        self.ends[slot, : len(request.end_ids)] = sorted(request.end_ids)
        self.watched[slot] = request.stopped is not None
        self.asked[slot] = (request, sample)

    def take(self, slots: np.ndarray, serials: np.ndarray, tokens: np.ndarray) -> Iterator[Completion]:
        """Give each slot its new token, if the row it was drawn for is still there; yield the rows that end."""
        there = (serials >= 0) & (self.serial[slots] == serials)
        slots, tokens = slots[there], tokens[there]
        ended = (self.ends[slots] == tokens[:, None]).any(axis=1)
        going = slots[~ended]
        self.ids[going, self.made[going]] = tokens[~ended]
        self.made[going] += 1
        if self.on_token is not None:
            for slot in going.tolist():
                request, sample = self.asked[slot]
                self.on_token(request.keys[sample], self._new(slot))
        for slot in going[self.watched[going]].tolist():
            stopped = self.asked[slot][0].stopped
            assert stopped is not None
            ended[slots == slot] = stopped(self._new(slot))
        for slot in slots[ended].tolist():
            yield self._end(slot, "stop")
        for slot in slots[~ended & (self.made[slots] >= self.ids.shape[1])].tolist():
            yield self._end(slot, "length")

    def _end(self, slot: int, finish: str) -> Completion:
        request, sample = self.asked[slot]
        self.serial[slot] = -1
        return Completion(request.keys[sample], self._new(slot), finish)

    def _new(self, slot: int) -> Ids:
        return tuple(self.ids[slot, : self.made[slot]].tolist())
