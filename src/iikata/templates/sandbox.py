"""Chat templates as transformers renders them, in a process of its own: reads lines of JSON, answers each with one.

Run by `templates.child`, and without iikata's other files, so that it starts fast and holds nothing of the run.
"""

import json
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from traceback import walk_tb
from typing import Any

from jinja2 import FunctionLoader, Template, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

Messages = Sequence[dict[str, Any]]
LONGEST = 50_000
"""Characters of a template. Those in use have less than 30,000."""
LONGEST_TEXT = 5_000_000
"""Characters that a row may become."""
LONGEST_REASON = 500
"""Characters of what a template says itself when it refuses a row."""
REASONS = {
    RecursionError: "it calls itself without end, or nests lists too deep",
    MemoryError: "it takes more memory than a template may have",
}


class Generation(Extension):
    """{% generation %} marks the assistant's text for training code; here it is a block like any other.

    A call block, as in transformers: names that are set inside are unknown behind it.
    """

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_written"), [], [], body).set_lineno(line)

    def _written(self, caller: Any) -> str:
        return str(caller())


class Names(Namespace):
    """Jinja's namespace without names that begin with an underscore, as in transformers."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # so that a template may write namespace(self=1)
        Namespace.__init__(args[0])
        for name, value in dict(*args[1:], **kwargs).items():
            args[0][name] = value

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError(f"it keeps {name!r} in a namespace; no name there begins with an underscore")
        super().__setitem__(name, value)


class Dicts:
    """`dict` to make one, without the rest of Python's class, as in transformers."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


def environment() -> ImmutableSandboxedEnvironment:
    """Return the environment that transformers compiles chat templates in, but for the date, which a row names."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols], loader=FunctionLoader(_elsewhere)
    )
    made.filters["tojson"] = tojson
    made.globals |= {"namespace": Names, "raise_exception": raise_exception, "dict": Dicts()}
    return made


def tojson(
    x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message: str) -> None:
    raise TemplateError(message)


def _elsewhere(name: str) -> str:
    raise TemplateError("it reads another template (include, import, extends), and a chat template is one text")


@lru_cache(maxsize=32)
def compiled(text: str) -> Template:
    if len(text) > LONGEST:
        raise TemplateSyntaxError(f"it has {len(text):,} characters; a template may have {LONGEST:,}. Shorten it.", 1)
    try:
        return environment().from_string(text)
    except (SyntaxError, RecursionError, ValueError, OverflowError) as error:
        # Python's own word on what Jinja made of it: too many nested blocks, a number of thousands of digits.
        reason = str(error).partition(" (")[0] or type(error).__name__
        raise TemplateSyntaxError(f"it cannot be compiled ({reason}): nest less, write shorter numbers", 1) from None


def render(text: str, names: dict[str, Any], date: str) -> str:
    """Return what the template writes; `date` ("2024-07-26") is every day's for `strftime_now`."""
    written = compiled(text).render(**names, strftime_now=datetime.fromisoformat(date).strftime)
    if len(written) > LONGEST_TEXT:
        raise SecurityError(f"it writes {len(written):,} characters; a row may become {LONGEST_TEXT:,}")
    return written


def answer(
    text: str,
    names: dict[str, Any] | None = None,
    date: str = "",
    messages: Messages = (),
    behind: Sequence[Messages] = (),
) -> dict[str, Any]:
    """Return {"texts"}, one for `messages` with each of `behind` after them (nothing asks for the prompt).

    Without `names` {"names"} that the template reads; of a refusal {"reason", "line"}.
    """
    try:
        if names is not None:
            asked = [{"messages": [*messages, *last], "add_generation_prompt": not last} for last in behind]
            return {"texts": [render(text, names | one, date) for one in asked]}
        compiled(text)
        return {"names": sorted(meta.find_undeclared_variables(environment().parse(text)))}
    except TemplateSyntaxError as error:
        return {"reason": (error.message or "no Jinja").rstrip(".")[:LONGEST_REASON], "line": error.lineno}
    except Exception as error:  # whatever a template raises is the template's fault or the row's
        lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == "<template>"]
        reason = REASONS.get(type(error)) or str(error) or type(error).__name__
        return {"reason": reason.rstrip(".")[:LONGEST_REASON], "line": lines[-1] if lines else None}


def serve(most_bytes: int, most_seconds: float) -> None:
    """Answer each line of standard input until it ends; the system ends the process that takes more time for one."""
    _limit_memory(most_bytes)
    clock = getattr(signal, "setitimer", lambda *_: None)  # Windows has none
    timer = getattr(signal, "ITIMER_PROF", None)
    for line in sys.stdin:
        clock(timer, most_seconds)
        reply = json.dumps(answer(**json.loads(line)))
        clock(timer, 0)
        print(reply, flush=True)


def _limit_memory(most_bytes: int) -> None:
    with suppress(ImportError, ValueError, OSError):  # Windows has no limits, and some systems refuse this one
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))


if __name__ == "__main__":
    serve(int(sys.argv[1]), float(sys.argv[2]))
