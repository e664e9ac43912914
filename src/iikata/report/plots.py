"""The report's plots by themselves, as SVG, of comparisons that need not be one run's."""

from collections.abc import Mapping, Sequence
from typing import Any

from iikata.core.records import Variant
from iikata.report.effects import groups
from iikata.report.pages import shelf
from iikata.report.profile import profile
from iikata.report.variants import Variants


def forest(comparisons: Sequence[Mapping[str, Any]], metric: Any, margin: float | None) -> str:
    """Return the forest plots of a metric's comparisons (as comparisons.json has them), one a question."""
    found = groups(comparisons, metric.name, margin)
    made: Any = shelf().get_template("figure.svg.jinja").module
    return f"{made.forest(found, metric).strip()}\n"


def along(record: Mapping[str, Any], variants: Sequence[Variant], metric: Any) -> str:
    """Return a profile (as comparisons.json has it) with the names of its curves below."""
    laid = profile(record, Variants({one.name: one for one in variants}))
    made: Any = shelf().get_template("figure.svg.jinja").module
    return f"{made.along(laid, metric).strip()}\n"
