"""choice and choice_norm: of the answers that a probe lists, does the model find the right one the likeliest?"""

import re
from collections.abc import Sequence

from iikata.core.records import Probe
from iikata.metrics.metric import Rate


class Choice(Rate):
    """1 where the right choice has the largest sum of log-likelihoods over its tokens, the end token not counted.

    As lm-eval's acc.
    """

    name = "choice"
    scope = "choice"
    needs_model = True
    signature = "choice|sum-logprob|end:left-out|template:left-out|as:lm-eval-0.4.13-acc|v:1"


class ChoiceNorm(Choice):
    """The same with each sum divided by the choice's length in characters, as lm-eval's acc_norm."""

    name = "choice_norm"
    signature = "choice_norm|sum-logprob/characters|end:left-out|template:left-out|as:lm-eval-0.4.13-acc_norm|v:1"


def with_chance(signature: str, probes: Sequence[Probe]) -> str:
    """Return a signature that says what guessing comes to on these probes, so that scores alone tell it too."""
    counts = [len(probe.choices) for probe in probes if probe.choices]
    return f"{signature}|chance:{sum(1 / n for n in counts) / len(counts):.6g}" if counts else signature


def chance_of(signatures: Sequence[str]) -> float | None:
    """Return what guessing comes to, as the scores' signatures say; None where they do not."""
    found = [match for one in signatures if (match := re.search(r"\|chance:(0?\.\d+|\d(?:\.\d+)?(?:e-\d+)?)$", one))]
    return float(found[0][1]) if found else None
