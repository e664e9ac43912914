"""What every metric declares, and the three forms a metric has."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from iikata.core.records import Answer, Probe


@dataclass(frozen=True)
class Context:
    """What a metric may need besides the answer and its probe."""

    template_literals: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Template name -> the literal lines that this template writes around a row."""


class Metric:
    """A number's declaration, made before anything is scored."""

    name: str
    better: str
    """"higher", "lower", or "none" for one that is described and decides nothing."""
    bounds: tuple[float, float] | None
    """Smallest and largest score of one answer."""
    unit: str
    category: str
    """"content" (is it right), "form" (does it end, leak, repeat) or "likelihood"."""
    signature: str
    """All that the number depends on; two scores may be compared only where it is the same."""


class AnswerMetric(Metric, ABC):
    """Scores one answer by itself."""

    @abstractmethod
    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return the score; NaN where the answer cannot be scored."""


class CellMetric(Metric, ABC):
    """Scores all samples of one cell to one probe together, once; its score line has sample 0."""

    @abstractmethod
    def score_group(self, answers: Sequence[Answer], probe: Probe, context: Context) -> float:
        """Return the score; NaN where the samples cannot be scored."""


class LikelihoodMetric(Metric):
    """Computed by the score room with the model, on held-out rows; only declared here."""

    likelihood: ClassVar[bool] = True
