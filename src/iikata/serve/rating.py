"""Rate: two answers to one question, side by side and blind; a choice is on disk before the next pair is shown."""

import hashlib
import shlex
from collections.abc import Sequence
from threading import Lock
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from iikata.pipeline.rating import summed
from iikata.rating import CHOICES, Pair, Ratings
from iikata.serve.browsing import chosen
from iikata.serve.pages import page
from iikata.serve.run import Run

LONGEST_NAME = 40
ONE_AT_A_TIME = Lock()
"""Between looking whether a pair is open and keeping what was chosen."""


def rate(request: Request) -> Response:
    """Ask for the rater's name, or show the next pair to whoever gave one."""
    number, run = chosen(request)
    given = request.query_params.get("rater")
    name = _name(given or "")
    if not name:
        known = sorted({rating.rater for rating in _ratings(run).all()})
        return page(request, "rater.html.jinja", run=run, number=number, known_raters=known, refused=given is not None)
    return _next(request, run, number, name, "rate.html.jinja")


async def rated(request: Request) -> Response:
    """Keep a choice and return the next pair."""
    form = await fields(request)
    number, run = chosen(request)
    rater, choice, shown = _rater(form), form.get("choice", [""])[0], form.get("pair", [""])[0]
    if choice not in CHOICES:
        raise HTTPException(400, f"A choice is one of {', '.join(CHOICES)}.")

    def keep() -> Response:
        with ONE_AT_A_TIME:
            # A second click, or a page left open since before, names a pair that is rated already: nothing to keep.
            for pair in _open(run, rater)[0]:
                if _handle(request, pair) == shown:
                    _ratings(run).add(pair, rater, choice)
                    break
        return _next(request, run, number, rater)

    return await run_in_threadpool(keep)


async def undo(request: Request) -> Response:
    """Take the rater's last choice back and show its pair again."""
    form = await fields(request)
    number, run = chosen(request)
    rater = _rater(form)

    def take_back() -> Response:
        with ONE_AT_A_TIME:
            _ratings(run).undo(rater)
        return _next(request, run, number, rater)

    return await run_in_threadpool(take_back)


def ratings(request: Request) -> Response:
    """Show what all ratings say together; never on the page that is blind."""
    number, run = chosen(request)
    found = summed(run.ctx, run.answers(), run.about())
    command = shlex.join(["iikata", "run", str(run.folder)])
    return page(request, "ratings.html.jinja", run=run, number=number, summary=found, command=command)


async def fields(request: Request) -> dict[str, list[str]]:
    """Return a form's fields."""
    try:
        body = (await request.body()).decode("ascii")
        return parse_qs(body, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except (ValueError, ClientDisconnect):
        raise HTTPException(400, "This is not a form.") from None


def _next(request: Request, run: Run, number: int, rater: str, template: str = "pair.html.jinja") -> Response:
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


def _open(run: Run, rater: str) -> tuple[Sequence[Pair], int]:
    """Return the rater's pairs that wait, in order, and how many are done."""
    mine, rated = run.pairs(rater), _ratings(run).of(rater)
    # A rating holds for the two texts that were shown; of other texts the pair is asked anew.
    todo = [pair for pair in mine if pair.id not in rated or rated[pair.id].signature != pair.signature]
    return todo, len(mine) - len(todo)


def _handle(request: Request, pair: Pair) -> str:
    """Return what the page calls the pair: a name from which nobody can tell whose answers these are."""
    return hashlib.sha256(f"{request.app.state.token} {pair.id}".encode()).hexdigest()[:24]


def _ratings(run: Run) -> Ratings:
    return Ratings(run.store.ratings)


def _rater(form: dict[str, list[str]]) -> str:
    name = _name(form.get("rater", [""])[0])
    if not name:
        raise HTTPException(400, f"A rater's name has 1 to {LONGEST_NAME} visible characters.")
    return name


def _name(given: str) -> str:
    """Return the name with single spaces, "" where it is none."""
    name = " ".join(given.split())
    return name if len(name) <= LONGEST_NAME and name.isprintable() else ""
