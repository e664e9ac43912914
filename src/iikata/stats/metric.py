"""What a comparison must know of a metric."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from iikata.core.errors import IikataError

BETTER = ("higher", "lower", "none")
CATEGORIES = ("content", "form", "likelihood")


@dataclass(frozen=True)
class MetricInfo:
    """A metric's direction, range and unit, declared beforehand."""

    name: str
    better: str
    """"higher", "lower", or "none" for one that is described but decides nothing (length)."""
    bounds: tuple[float, float] | None
    """Smallest and largest value of one answer's score; None where there is no bound."""
    unit: str
    """What `difference` is counted in; "rate" for a share of answers."""
    category: str
    """"content" (is it right), "form" (does it end, leak, repeat) or "likelihood" (bits per byte)."""
    within_template: bool = False
    """True where scores under different prompt templates have different zeros (judge: against that template's base),
    so that nothing but tuned_vs_base is asked."""
    on_rows: bool = False
    """True where the clusters are held-out rows, not the probes'."""

    @classmethod
    def of(cls, metric: Any) -> "MetricInfo":
        """Return what a metric of the shelf declares."""
        from iikata.metrics import HELD_OUT

        alike = getattr(metric, "within_template", False)
        declared = metric.name, metric.better, metric.bounds, metric.unit, metric.category
        return cls(*declared, within_template=alike, on_rows=metric.name in HELD_OUT)

    def __post_init__(self) -> None:
        for field, value, allowed in (("better", self.better, BETTER), ("category", self.category, CATEGORIES)):
            if value not in allowed:
                raise IikataError(f'metric "{self.name}": {field} "{value}" is none of {", ".join(allowed)}.')

    def to_json(self) -> dict[str, Any]:
        """Return what comparisons.json holds of it."""
        names = {"name": "name", "better": "better", "bounds": "bounds", "unit": "unit", "kind": "category"}
        names |= {"within_template": "within_template", "on_rows": "on_rows"}
        return {key: getattr(self, name) for key, name in names.items()}

    @property
    def span(self) -> float | None:
        """Upper bound less lower bound."""
        return None if self.bounds is None else self.bounds[1] - self.bounds[0]

    @property
    def is_share(self) -> bool:
        """True for what runs from 0 to 1; told in percentage points."""
        return self.bounds == (0.0, 1.0)

    @property
    def is_rate(self) -> bool:
        """True for a share of answers (right, finished, leaking), not for a share of an answer's text."""
        return self.is_share and (not self.unit.startswith("share of ") or self.unit == "share of answers")


def assumed_metric(name: str, values: np.ndarray, better: str | None = None) -> tuple[MetricInfo, str]:
    """Return a metric that nobody declared, and a sentence that says what was assumed of it.

    Higher is better unless told; values that all lie in 0..1 are a rate with these bounds.
    """
    known = values[np.isfinite(values)]
    rate = bool(len(known)) and bool(((known >= 0) & (known <= 1)).all())
    info = MetricInfo(name, better or "higher", (0.0, 1.0) if rate else None, "rate" if rate else "", "content")
    direction = "" if better else f"{info.better} is better, "
    bounds = "bounds 0 and 1 (all values lie there)" if rate else "no bounds"
    return info, f"metric {name} is not declared; assumed: {direction}{bounds}, kind content."
