"""What every metric declares, and how one scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from iikata.core.records import Answer, Probe


@dataclass(frozen=True)
class Context:
    """What a metric may need besides the answer and its probe."""

    template_literals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Template name -> the literal lines that this template writes around a row."""


class Metric:
    """A number's declaration, made before anything is scored, and for the scopes answer and group how it is made."""

    name: str
    better: str
    """"higher", "lower", or "none" for one that is described and decides nothing."""
    bounds: tuple[float, float] | None
    """Smallest and largest score of one answer; None where there is no bound."""
    unit: str
    """What a difference is counted in."""
    category: str
    """"content" (is it right), "form" (does it end, leak, repeat) or "likelihood"."""
    signature: str
    """All that the number depends on; two scores may be compared only where it is the same."""
    scope: str = "answer"
    """What is scored: one "answer" by itself; the "group" of all samples of one cell to one probe, once (sample 0); a
    given "text", by the model; a "choice" among given texts, by the model; a "pair" of answers, by somebody who
    chooses."""
    needs_model: bool = False
    on_rows: bool = False
    """True where the clusters are held-out rows, each its own, not the probes'."""
    within_template: bool = False
    """True where scores under different prompt templates have different zeros (each its own base), so that nothing but
    tuned_vs_base is asked."""

    @classmethod
    def declared(
        cls, name: str, better: str, bounds: tuple[float, float] | None, unit: str, category: str, **more: Any
    ) -> "Metric":
        """Return a metric that was scored elsewhere."""
        made = cls()
        vars(made).update(name=name, better=better, bounds=bounds, unit=unit, category=category, **more)
        return made

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return one answer's score; NaN where it cannot be scored. Of the scope answer."""
        raise NotImplementedError

    def score_group(self, answers: Sequence[Answer], probe: Probe, context: Context) -> float:
        """Return the samples' score; NaN where they cannot be scored. Of the scope group."""
        raise NotImplementedError

    def remarks(self) -> list[str]:
        """Return what a reader should know of the last scoring, a sentence each."""
        return []

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

    def to_json(self) -> dict[str, Any]:
        """Return what comparisons.json holds of it; there `category` is `kind`."""
        names = ("name", "better", "bounds", "unit", "category", "within_template", "on_rows")
        return {"kind" if name == "category" else name: getattr(self, name) for name in names}


class Rate(Metric):
    """1 or 0 for each answer, told as a share of answers; more is better."""

    better = "higher"
    bounds = (0.0, 1.0)
    unit = "share of answers"
    category = "content"
