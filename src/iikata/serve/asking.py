"""Ask: one question to every chosen cell, all answers streamed side by side."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from iikata.core.errors import IikataError
from iikata.core.records import Arm
from iikata.core.text import escape, safe_text
from iikata.serve.pages import chosen, fields, in_words, page
from iikata.serve.question_queue import Question, QuestionQueue

MOST_SAMPLES = 10
FEW = 12
"""Cells up to which all are ticked; of more, the base and one arm a template."""
SECONDS = 0.05
"""Between two looks at what is new; several tokens of a fast model go together."""


def ask(request: Request) -> Response:
    """Show the form, with everyone who can be asked now."""
    number, run = chosen(request)
    arms, templates = list(run.adapters()), run.templates()
    first = {arm.variant: arm.name for arm in reversed([*run.ctx.experiment.arms(), Arm()]) if arm.name in arms}
    ticked = arms if len(arms) * len(templates) <= FEW else list(first.values())
    who = {"arms": arms, "templates": templates, "ticked": ticked, "most": MOST_SAMPLES}
    return page(request, "ask.html.jinja", run=run, number=number, **who)


async def answers(request: Request) -> Response:
    """Stream the answers as server-sent events until all have ended or nobody listens."""
    _, run = chosen(request)
    form = await fields(request)
    asked = ("instruction", "input", "system")
    instruction, input, system = (form.get(name, "").replace("\r\n", "\n") for name in asked)
    if not instruction.strip():
        raise HTTPException(400, "There is no question.")
    arms = _among(form.getlist("arm"), list(run.adapters()), "arm")
    templates = _among(form.getlist("template"), run.templates(), "template")
    samples = form.get("samples", "1")
    if not samples.isdecimal() or not 1 <= int(samples[:4]) <= MOST_SAMPLES:
        raise HTTPException(400, f"Samples: 1 to {MOST_SAMPLES}.")
    question = Question(run, instruction, input, arms, templates, int(samples), system)
    queue = request.app.state.queue
    if not queue.put(question):
        raise HTTPException(503, "Too many questions wait already.")
    return StreamingResponse(_events(question, queue, partial(in_words, request)), media_type="text/event-stream")


def _among(given: Sequence[str], known: Sequence[str], kind: str) -> list[str]:
    if not given or set(given) - set(known):
        raise HTTPException(400, f"Choose at least one {kind} of: {', '.join(known)}.")
    return [name for name in known if name in given]


async def _events(question: Question, queue: QuestionQueue, told: Callable[[str], str] = str) -> AsyncIterator[str]:
    state: dict[str, Any] = {}
    try:
        while not question.gone:
            ended = question.ended  # asked before the news: what is told last comes before the end
            for (cell, sample), (text, finish) in question.news().items():
                yield _event({"cell": cell, "sample": sample, "text": escape(text), "finish": finish})
                state = {"state": "answering"}
            if ended:
                yield _event(_end(question.error, told))
                return
            waiting = {"state": "waiting", "ahead": queue.ahead(question)}
            now = {"state": "loading"} if question.begun else waiting
            if state not in ({"state": "answering"}, now):
                state = now
                yield _event(state)
            await asyncio.sleep(SECONDS)
    finally:
        question.gone = True  # the browser has closed the stream, or everything is said


def _end(error: Exception | None, told: Callable[[str], str]) -> dict[str, str]:
    if error is None:
        return {"state": "ended"}
    said = str(error) if isinstance(error, IikataError) else f"{type(error).__name__}: {error}"
    return {"state": "failed", "message": safe_text(told(said))}


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
