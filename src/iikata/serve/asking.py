"""Ask: one question to every chosen cell, all answers streamed side by side."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from iikata.core.errors import IikataError
from iikata.core.records import Arm
from iikata.core.text import escape, safe_text
from iikata.serve.browsing import chosen
from iikata.serve.pages import page
from iikata.serve.question_queue import Asked, Question, QuestionQueue
from iikata.serve.rating import fields
from iikata.serve.run import Run

MOST_SAMPLES = 10
FEW = 12
"""Cells up to which all are asked unless fewer are chosen."""
SECONDS = 0.05
"""Between two looks at what is new; several tokens of a fast model go together."""


def ask(request: Request) -> Response:
    """Show the form, with everyone who can be asked now."""
    number, run = chosen(request)
    arms, templates = list(run.adapters()), run.templates()
    who: dict[str, Any] = {"arms": arms, "templates": templates, "most": MOST_SAMPLES}
    who["ticked"] = arms if len(arms) * len(templates) <= FEW else _first_seeds(run, arms)
    return page(request, "ask.html.jinja", run=run, number=number, **who)


def _first_seeds(run: Run, arms: Sequence[str]) -> list[str]:
    """Return an arm a template, and the base."""
    found: dict[str | None, str] = {}
    for arm in (*run.ctx.experiment.arms(), Arm()):
        if arm.name in arms:
            found.setdefault(arm.template, arm.name)
    return list(found.values())


async def answers(request: Request) -> Response:
    """Stream the answers as server-sent events until all have ended or nobody listens."""
    _, run = chosen(request)
    form = await fields(request)
    instruction = form.get("instruction", [""])[0].replace("\r\n", "\n")
    if not instruction.strip():
        raise HTTPException(400, "There is no question.")
    asked = Asked(
        instruction,
        form.get("input", [""])[0].replace("\r\n", "\n"),
        _among(form.get("arm", []), list(run.adapters()), "arm"),
        _among(form.get("template", []), run.templates(), "template"),
        _samples(form.get("samples", ["1"])[0]),
    )
    question, queue = Question(run, asked), request.app.state.queue
    if not queue.put(question):
        raise HTTPException(503, "Too many questions wait already.")
    return StreamingResponse(_events(question, queue), media_type="text/event-stream")


def _among(given: Sequence[str], known: Sequence[str], kind: str) -> list[str]:
    if not given or set(given) - set(known):
        raise HTTPException(400, f"Choose at least one {kind} of: {', '.join(known)}.")
    return [name for name in known if name in given]


def _samples(given: str) -> int:
    if not given.isdecimal() or not 1 <= int(given[:4]) <= MOST_SAMPLES:
        raise HTTPException(400, f"Samples: 1 to {MOST_SAMPLES}.")
    return int(given)


async def _events(question: Question, queue: QuestionQueue) -> AsyncIterator[str]:
    told: dict[str, Any] = {}
    try:
        while not question.gone:
            ended = question.ended  # asked before the news: what is told last comes before the end
            for (cell, sample), (text, finish) in question.news().items():
                yield _event({"cell": cell, "sample": sample, "text": escape(text), "finish": finish})
                told = {"state": "answering"}
            if ended:
                yield _event(_end(question))
                return
            state = _state(question, queue, told)
            if state != told:
                told = state
                yield _event(told)
            await asyncio.sleep(SECONDS)
    finally:
        question.gone = True  # the browser has closed the stream, or everything is said


def _state(question: Question, queue: QuestionQueue, told: dict[str, Any]) -> dict[str, Any]:
    if not question.begun:
        return {"state": "waiting", "ahead": queue.ahead(question)}
    return told if told.get("state") == "answering" else {"state": "loading"}


def _end(question: Question) -> dict[str, Any]:
    fault = question.fault
    if fault is None:
        return {"state": "ended"}
    said = str(fault) if isinstance(fault, IikataError) else f"{type(fault).__name__}: {fault}"
    return {"state": "failed", "message": safe_text(said)}


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
