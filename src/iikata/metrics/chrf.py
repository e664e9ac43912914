"""chrf: how many character n-grams of a reference has the answer? (Popović 2015, by sacrebleu)"""

import math
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from iikata.core.records import Answer, Probe
from iikata.metrics.metric import Context, Metric
from iikata.metrics.normal import folded


class Chrf(Metric):
    """sacrebleu's sentence chrF2, 0 to 100, against the best of the references; needs no tokenizer.

    It falls with length: the gold word alone inside a long, right sentence scores below 50.
    """

    name = "chrf"
    better = "higher"
    bounds = (0.0, 100.0)
    unit = "chrF points"
    category = "content"

    def __init__(self) -> None:
        self.signature = f"chrf|nfkc|nc:6|nw:0|beta:2|case:mixed|refs:best|sacrebleu:{version('sacrebleu')}|v:1"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return chrF2; NaN for a probe without references."""
        scorer = _scorer(probe.references)
        if scorer is None:
            return math.nan
        # Rounding may carry a perfect score a hair above its bound.
        return min(100.0, scorer.corpus_score([folded(answer.text)], None).score)


@lru_cache(maxsize=4096)
def _scorer(references: tuple[str, ...]) -> Any:
    """Return what knows the references' n-grams; None where there are none."""
    from sacrebleu.metrics import CHRF

    given = [[form] for reference in references if (form := folded(reference).strip())]
    return CHRF(char_order=6, word_order=0, beta=2, references=given) if given else None
