"""The shelf of metrics: one number for one answer, with the signature that says how it was made."""

import re
from typing import Annotated

from iikata.core.errors import IikataError
from iikata.core.io import fits
from iikata.core.registry import Shelf
from iikata.metrics.choice import Choice, ChoiceNorm
from iikata.metrics.chrf import Chrf
from iikata.metrics.contains import Contains
from iikata.metrics.distinct import Distinct
from iikata.metrics.exact import Exact
from iikata.metrics.finish import Finish
from iikata.metrics.leakage import Leakage
from iikata.metrics.length import Length
from iikata.metrics.metric import Context, Metric
from iikata.metrics.nll import Nll, NllEnd, NllReference, NllTemplate
from iikata.metrics.numeric import Numeric
from iikata.metrics.pattern import Pattern
from iikata.metrics.rated import Rated, RatedBase
from iikata.metrics.repetition import Repetition
from iikata.metrics.rouge_l import RougeL
from iikata.metrics.script import Script

__all__ = ["CHOICE", "HELD_OUT", "METRICS", "RATED", "Context", "Metric", "get"]

METRICS: Shelf[Metric] = Shelf(
    "metric",
    {
        "nll": Nll(),
        "nll_end": NllEnd(),
        "nll_template": NllTemplate(),
        "nll_reference": NllReference(),
        "choice": Choice(),
        "choice_norm": ChoiceNorm(),
        "contains": Contains(),
        "exact": Exact(),
        "pattern": Pattern(),
        "numeric": Numeric(),
        "chrf": Chrf(),
        "rouge_l": RougeL(),
        "finish": Finish(),
        "leakage": Leakage(),
        "script": Script(),
        "repetition": Repetition(),
        "length": Length(),
        "distinct": Distinct(),
        "distinct_2": Distinct(2),
        "rated": Rated(),
        "rated_base": RatedBase(),
    },
    lambda item: isinstance(item, Metric) or (isinstance(item, type) and issubclass(item, Metric)),
    "a metric: its class must derive from iikata.metrics.Metric",
)

CHOICE = ("choice", "choice_norm")
"""Of the answers that a probe lists."""

HELD_OUT = tuple(name for name, metric in METRICS.items() if metric.on_rows)
"""Measured on the held-out rows, each its own cluster; all others are measured on the probes."""

RATED = ("rated", "rated_base")
"""Made of what people chose between two answers: the score stage makes them of the ratings."""

ELSEWHERE = {"bleu": "chrf", "rouge": "rouge_l", "f1": "rouge_l", "perplexity": "nll", "ppl": "nll", "loss": "nll"} | (
    {"em": "exact", "exact_match": "exact", "accuracy": "contains", "acc": "choice", "acc_norm": "choice_norm"}
)
"""What people ask for by names that no metric here has -> what comes nearest."""

ALLOWED = {
    "better": ("higher", "lower", "none"),
    "category": ("content", "form", "likelihood"),
    "scope": ("answer", "group"),
}
"""Of a metric from elsewhere."""
TYPES = {str: "a text", bool: "True or False", tuple[float, float] | None: "a pair as (0.0, 1.0), or None"}


def get(name: str) -> Metric:
    """Return the metric called `name`, or the one at `package.module:name`: an object, or a class to be made.

    Raises IikataError where there is none, or where what was found does not declare what a metric must.
    """
    if near := ELSEWHERE.get(name.lower()):
        known = ", ".join(METRICS)
        raise IikataError(f'metric "{name}" is unknown; what comes nearest here is "{near}". Known: {known}.')
    metric = METRICS.find(name)
    if isinstance(metric, type):
        try:
            metric = metric()
        except Exception as error:
            why = f"cannot be made ({type(error).__name__}: {error!s:.300})"
            raise METRICS.refused(name, why, "Its class must need no argument") from None
    if name not in METRICS:
        _check_declaration(name, metric)
    return metric


def _check_declaration(name: str, metric: Metric) -> None:
    from pydantic import Strict

    if missing := [part for part in Metric.__annotations__ if not hasattr(metric, part)]:
        needed = ", ".join(part for part in Metric.__annotations__ if not hasattr(Metric, part))
        raise METRICS.refused(name, f"declares no {', '.join(missing)}", f"A metric declares {needed}")
    for part, kind in Metric.__annotations__.items():
        if not fits(value := getattr(metric, part), Annotated[kind, Strict()]):
            raise METRICS.refused(name, f"has as {part} {value!r:.100}", f"It must be {TYPES[kind]}")
    for part, allowed in ALLOWED.items():
        if getattr(metric, part) not in allowed:
            raise IikataError(f'metric "{name}": {part} "{getattr(metric, part)}" is none of {", ".join(allowed)}.')
    # The name becomes a file's name in the run folder.
    if metric.name in METRICS or not re.fullmatch(r"[A-Za-z0-9][\w.-]*", metric.name, re.ASCII):
        raise IikataError(
            f'metric "{name}" calls itself "{metric.name}". Give it a name of ASCII letters, digits, _ . - '
            "that no built-in metric has."
        )
    method = "__call__" if metric.scope == "answer" else "score_group"
    if getattr(type(metric), method) is getattr(Metric, method):
        raise IikataError(f'metric "{name}" scores nothing: with the scope {metric.scope} it needs {method}.')
