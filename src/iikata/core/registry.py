"""Shelves: what there is of one kind, by name, from an installed package, or at `package.module:name`."""

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from iikata.core.errors import IikataError

T = TypeVar("T")
FROM_ELSEWHERE: set[str] = set()
"""The modules of other packages that something was taken from."""


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known word that is spelled most alike, None where none is near."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean "x"?)`, or nothing where no known word is near."""
    near = nearest(word, known)
    return f' (did you mean "{near}"?)' if near else ""


def lookup(name: str, known: Mapping[str, T], kind: str) -> T:
    """Return the item called `name`; `kind` ("metric", "arm") is the word for it in errors.

    Raises IikataError naming all known items where there is none.
    """
    if name in known:
        return known[name]
    raise IikataError(f'{kind} "{name}" is unknown{did_you_mean(name, known)}. Known: {", ".join(sorted(known))}.')


class Shelf(dict[str, T]):
    """A dict of what iikata brings of one kind, and the way to what others bring.

    Another package adds to the shelf of metrics by an entry point of the group `iikata.metrics`, as to any other by
    that of its kind; nothing of it is imported before its name is asked for.
    """

    def __init__(self, kind: str, items: Mapping[str, T], fits: Callable[[Any], bool], what: str) -> None:
        super().__init__(items)
        self.kind = kind
        """The word for one item in errors."""
        self._fits, self._what = fits, what

    def names(self) -> list[str]:
        """Return the names of all items, those of installed packages last."""
        return [*self, *(name for name in self._elsewhere() if name not in self)]

    def find(self, name: str) -> Any:
        """Return the item called `name`, here or in an installed package, or the one at `package.module:name`.

        Raises IikataError naming all known items where there is none, and where it cannot be imported or is no such
        item.
        """
        if name in self:
            return self[name]
        known = {**{name: entry.value for name, entry in self._elsewhere().items()}, **dict.fromkeys(self, "")}
        module, _, attribute = (name if ":" in name else lookup(name, known, self.kind)).partition(":")
        FROM_ELSEWHERE.add(module)
        try:
            item = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # the module is somebody's, and so are its faults
            why = f"{type(error).__name__}: {error}"
            fix = 'Write "package.module:name", of an installed package or of a folder in PYTHONPATH.'
            raise IikataError(f'{self.kind} "{name}" cannot be imported: {why:.300}. {fix}') from None
        if not self._fits(item):
            seen = f"{item.__name__}{inspect.signature(item)}" if inspect.isfunction(item) else repr(item)
            raise self.refused(name, f"is {seen:.100}", f"It must be {self._what}")
        return item

    def refused(self, name: str, seen: str, allowed: str) -> IikataError:
        """Return the error for an item from elsewhere that is not as iikata needs it."""
        entry = self._elsewhere().get(name)
        if entry and entry.dist:
            of = entry.dist.name
            return IikataError(
                f'{self.kind} "{name}" of the package {of} ({entry.value}) {seen}. {allowed} (docs/extending.md).'
            )
        return IikataError(f'{self.kind} "{name}" {seen}. {allowed} (docs/extending.md).')

    def _elsewhere(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=f"iikata.{self.kind}s")}


def called_with(*given: str) -> Callable[[Any], bool]:
    """Return what says whether an item can be called with so many arguments."""

    def fits(item: Any) -> bool:
        try:
            inspect.signature(item).bind(*given)
        except TypeError:
            return False
        except ValueError:  # written in C, which need not say
            return callable(item)
        return True

    return fits
