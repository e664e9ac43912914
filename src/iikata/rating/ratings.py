"""What raters chose, a line each, appended and never rewritten."""

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.io import Appender, read_jsonl
from iikata.core.records import Answer, Arm, Cell, Probe, plain

CHOICES = ("left", "right", "tie", "skip")
"""What a rater may say of a pair."""
CHOSEN = ("first", "second", "tie", "skip")
"""The same without sides, as it is kept."""
FIX = "Delete the line to go on without it."
_WRITING = threading.Lock()


@dataclass(frozen=True)
class RatedSide:
    """One of the two answers of a pair."""

    cell: Cell
    sample: int
    text: str
    """Without any template's text, so that nothing tells which template wrote it."""
    signature: str = ""
    """Of the answer as it was written; see signature_of."""


@dataclass(frozen=True)
class RatedPair:
    """Two answers to one probe."""

    id: str
    """Follows from probe, cells and sample, whichever side they are on."""
    probe: str
    left: RatedSide
    right: RatedSide

    @property
    def first(self) -> RatedSide:
        """The side whose cell's name comes first."""
        return min(self.left, self.right, key=lambda side: side.cell.name)

    @property
    def second(self) -> RatedSide:
        return self.right if self.first is self.left else self.left

    @property
    def signature(self) -> str:
        """Of both answers: a rating holds for these two texts and no others."""
        return _digest(self.first.signature, self.second.signature)


@dataclass(frozen=True)
class Rating:
    """What one rater chose between two answers."""

    pair: str
    rater: str
    choice: str
    """"first", "second", "tie" or "skip"."""
    probe: str
    sample: int
    first: Cell
    second: Cell
    signature: str
    asked: bool = True
    """False for a tie of equal texts, which nobody is asked for and no file holds."""

    @classmethod
    def of(cls, pair: RatedPair, rater: str, choice: str, asked: bool = True) -> "Rating":
        """Return a rating; `choice` is one of CHOSEN."""
        first, second = pair.first, pair.second
        return cls(pair.id, rater, choice, pair.probe, first.sample, first.cell, second.cell, pair.signature, asked)

    def holds(self, signatures: Mapping[tuple[Cell, str, int], str]) -> bool:
        """Return whether both answers are still the ones that were rated; by cell, probe and sample."""
        now = [signatures.get((cell, self.probe, self.sample), "") for cell in (self.first, self.second)]
        return self.signature == _digest(*now)


def clusters_of(probes: Iterable[Probe]) -> dict[str, str]:
    """Return each probe's cluster."""
    return {probe.id: probe.cluster or probe.id for probe in probes}


def signature_of(answer: Answer) -> str:
    """Return what tells this answer from any other of the same cell, probe and sample."""
    return _digest(answer.signature, answer.text)


def _digest(*parts: str) -> str:
    # An answer file made by other hands may hold half a surrogate pair.
    return hashlib.sha256("\x1f".join(parts).encode(errors="surrogatepass")).hexdigest()[:16]


class Ratings:
    """The ratings of all raters in one file; safe for threads and for several pages on one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, pair: RatedPair, rater: str, choice: str) -> Rating:
        """Keep a choice, on the disk before this returns; a later one about the same pair replaces it.

        Raises IikataError for an unknown choice, a rater without a name, or where it cannot be written.
        """
        if choice not in CHOICES:
            raise IikataError(f'choice "{choice}" is unknown. Known: {", ".join(CHOICES)}.')
        if not rater.strip():
            raise IikataError("a rating needs the rater's name, saw none.")
        sides = {"left": pair.left, "right": pair.right}
        if choice in sides:
            choice = "first" if sides[choice] is pair.first else "second"
        rating = Rating.of(pair, rater, choice)
        with _WRITING:
            self._append(_line(rating))
        return rating

    def undo(self, rater: str) -> Rating | None:
        """Take the rater's last choice back, and return it; None where there is none left."""
        with _WRITING:
            given = self._given().get(rater)
            if not given:
                return None
            self._append({"rater": rater, "pair": given[-1].pair, "choice": "undo"})
            return given[-1]

    def of(self, rater: str) -> dict[str, Rating]:
        """Return what holds of one rater's choices, by pair, in the order in which they were made."""
        return _latest(self._given().get(rater, []))

    def all(self) -> list[Rating]:
        """Return what holds of all raters' choices. Raises IikataError (file:line) for a line that is none."""
        return [rating for given in self._given().values() for rating in _latest(given).values()]

    def _given(self) -> dict[str, list[Rating]]:
        """Return each rater's choices that were not taken back, in order."""
        given: dict[str, list[Rating]] = {}
        for number, line in enumerate(read_jsonl(self.path, dict[str, Any], FIX), 1):
            try:
                _take(line, given)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                why = f'the key "{error.args[0]}" is missing' if isinstance(error, KeyError) else error
                raise IikataError(f"{self.path}:{number}: not a rating ({why}). {FIX}") from None
        return given

    def _append(self, line: Mapping[str, Any]) -> None:
        from filelock import FileLock, Timeout

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Two pages may rate one run: neither may take the other's half-written line for a torn one.
            with FileLock(self.path.with_name("lock"), timeout=10), Appender(self.path) as file:
                file.add(line)
                file.sync()
        except (OSError, Timeout) as error:
            raise IikataError(f"{self.path}: could not be written: {error}. Choose again.") from None


def _latest(given: list[Rating]) -> dict[str, Rating]:
    found: dict[str, Rating] = {}
    for rating in given:
        found.pop(rating.pair, None)  # rated anew, it stands where it was rated last
        found[rating.pair] = rating
    return found


def _take(line: dict[str, Any], given: dict[str, list[Rating]]) -> None:
    own = given.setdefault(line["rater"], [])
    if line["choice"] == "undo":
        own.pop()
    elif line["choice"] in CHOSEN:
        sides = (line[side] for side in ("first", "second"))
        first, second = (Cell(Arm(one["trained_on"], one["seed"]), one["prompted_with"]) for one in sides)
        own.append(Rating(**{**line, "first": first, "second": second}))
    else:
        raise ValueError(f"choice {line['choice']!r} is none of {', '.join(CHOSEN)}")


def _line(rating: Rating) -> dict[str, Any]:
    cells = {"first": rating.first, "second": rating.second}
    flat = {
        side: {"trained_on": cell.arm.variant, "seed": cell.arm.seed, "prompted_with": cell.prompted_with}
        for side, cell in cells.items()
    }
    return {name: value for name, value in {**plain(rating), **flat}.items() if name != "asked"}
