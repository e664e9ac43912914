"""Rate: two answers to one question, side by side and blind; a choice is on disk before the next pair is shown."""

import hashlib
from collections.abc import Callable, Sequence
from threading import Lock

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from iikata.rating import CHOICES, RatedPair, Ratings
from iikata.serve.pages import chosen, fields, page
from iikata.serve.run import ServedRun

LONGEST_NAME = 40
ONE_AT_A_TIME = Lock()
"""Between looking whether a pair is open and keeping what was chosen."""


def rate(request: Request) -> Response:
    """Ask for the rater's name, or show the next pair to a rater who gave one."""
    number, run = chosen(request)
    given = request.query_params.get("rater")
    if rater := _name(given or ""):
        return _next(request, run, number, rater, "rate.html.jinja")
    known = sorted({rating.rater for rating in Ratings(run.store.ratings).all()})
    return page(request, "rater.html.jinja", run=run, number=number, known_raters=known, refused=given is not None)


async def rated(request: Request) -> Response:
    """Keep a choice and return the next pair."""
    form = await fields(request)
    choice, shown = form.get("choice", ""), form.get("pair", "")
    if choice not in CHOICES:
        raise HTTPException(400, f"A choice is one of {', '.join(CHOICES)}.")

    def keep(run: ServedRun, kept: Ratings, rater: str) -> None:
        # A second click, or a page left open since before, names a pair that is rated already: nothing to keep.
        for pair in _open(run, rater)[0]:
            if _handle(request, pair) == shown:
                kept.add(pair, rater, choice)
                break

    return await _change(request, form.get("rater", ""), keep)


async def undo(request: Request) -> Response:
    """Take the rater's last choice back and show its pair again."""
    form = await fields(request)
    return await _change(request, form.get("rater", ""), lambda run, kept, rater: kept.undo(rater))


async def _change(request: Request, given: str, change: Callable[[ServedRun, Ratings, str], object]) -> Response:
    """Do one change of the ratings at a time and return the rater's next pair."""
    number, run = chosen(request)
    rater = _name(given)
    if not rater:
        raise HTTPException(400, f"A rater's name has 1 to {LONGEST_NAME} visible characters.")

    def done() -> Response:
        with ONE_AT_A_TIME:
            change(run, Ratings(run.store.ratings), rater)
        return _next(request, run, number, rater, "pair.html.jinja")

    return await run_in_threadpool(done)


def _next(request: Request, run: ServedRun, number: int, rater: str, template: str) -> Response:
    todo, done = _open(run, rater)
    pair = todo[0] if todo else None
    return page(
        request,
        template,
        run=run,
        number=number,
        rater=rater,
        pair=pair,
        handle=_handle(request, pair) if pair else "",
        probe=run.probes.get(pair.probe) if pair else None,
        done=done,
        total=done + len(todo),
    )


def _open(run: ServedRun, rater: str) -> tuple[Sequence[RatedPair], int]:
    """Return the rater's pairs that wait, in order, and how many are done."""
    mine, rated = run.pairs(rater), Ratings(run.store.ratings).of(rater)
    # A rating holds for the two texts that were shown; if one has changed since, the pair is asked again.
    todo = [pair for pair in mine if pair.id not in rated or rated[pair.id].signature != pair.signature]
    return todo, len(mine) - len(todo)


def _handle(request: Request, pair: RatedPair) -> str:
    """Return what the page calls the pair: a name from which nobody can tell whose answers these are."""
    return hashlib.sha256(f"{request.app.state.token} {pair.id}".encode()).hexdigest()[:24]


def _name(given: str) -> str:
    """Return the name with single spaces, "" where it is none."""
    name = " ".join(given.split())
    return name if len(name) <= LONGEST_NAME and name.isprintable() else ""
