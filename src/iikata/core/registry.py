"""Find an item on a shelf by its name, or in any package by `package.module:name`."""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from iikata.core.errors import IikataError

T = TypeVar("T")


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known word that is spelled most alike, None where none is near."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean "x"?)`, or nothing where no known word is near."""
    near = nearest(word, known)
    return f' (did you mean "{near}"?)' if near else ""


def lookup(name: str, shelf: Mapping[str, T], kind: str) -> T:
    """Return the item called `name`; `kind` ("metric", "template") is the word for it in errors.

    Raises IikataError naming all known items where there is none.
    """
    if name in shelf:
        return shelf[name]
    if ":" in name:
        return _imported(name, kind)
    known = ", ".join(sorted(shelf))
    raise IikataError(f'{kind} "{name}" is unknown{did_you_mean(name, shelf)}. Known: {known}.')


def _imported(name: str, kind: str) -> T:  # type: ignore[type-var]
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # the module is somebody's, and so are its faults
        why = f"{type(error).__name__}: {error}"
        raise IikataError(f'{kind} "{name}" cannot be imported: {why:.300}. Write "package.module:name".') from None
