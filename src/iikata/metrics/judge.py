"""judge: which of two answers does a model behind an OpenAI-compatible endpoint find better?"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from iikata.core.errors import IikataError
from iikata.core.records import Answer, Probe, Score
from iikata.metrics.endpoint import Endpoint
from iikata.metrics.leakage import without_leaks
from iikata.metrics.metric import Context
from iikata.metrics.rated import RatedBase

ASKED = """Two answers to one question follow. Say which is better: right first, then to the point.
Length, style and order do not count.

[Question]
{question}

[Answer 1]
{first}

[Answer 2]
{second}

Reply with this JSON and nothing else: {{"winner": "1"}} or {{"winner": "2"}} or {{"winner": "tie"}}"""
SAID = re.compile(r'"winner"\s*:\s*"?(1|2|tie)\b')
AGREED = {("1", "2"): "a", ("2", "1"): "b"}
VALUES = {"a": 1.0, "tie": 0.5, "b": 0.0, None: math.nan}


@dataclass(frozen=True)
class Judgement:
    """What two calls with the answers in both orders came to."""

    winner: str | None
    """"a" or "b" where both orders say so, else "tie"; None where a reply could not be read."""
    flipped: bool | None
    """Whether the orders disagree; None where a reply could not be read or none was needed."""


@dataclass(frozen=True)
class Judged:
    """Scores, and how far to believe them."""

    scores: tuple[Score, ...]
    flip_rate: float | None
    """Share of the judged pairs whose orders disagree; above 0.3 the order is judged. None where none was judged."""
    unread: int
    """Pairs scored NaN because a reply could not be read."""


class Judge(RatedBase):
    """Win share over the untuned base's answer under the same template: 1 a win, 0.5 a tie, 0 a loss."""

    name = "judge"

    def __init__(
        self, url: str, model: str, cache_path: Path, api_key: str | None = None, timeout: float = 60.0
    ) -> None:
        """Judge by `model` at `url`, up to and with the version (`http://127.0.0.1:8000/v1`), replies kept in
        `cache_path`."""
        self.endpoint = Endpoint(url, model, cache_path, api_key, timeout)
        asked = hashlib.sha256(ASKED.encode()).hexdigest()[:8]
        self.signature = f"judge|model:{model}|t:0|orders:2|leaks:stripped|prompt:{asked}|v:1"

    def compare_answers(self, probe: Probe, answer_a: str, answer_b: str, context: Context | None = None) -> Judgement:
        """Return the judgement on two answers, template texts stripped; equal answers are a tie, unasked.

        Raises IikataError where the endpoint cannot be reached or refuses.
        """
        a, b = (without_leaks(answer, context or Context()) for answer in (answer_a, answer_b))
        if a == b:
            return Judgement("tie", None)
        forth, back = self._winner(probe, a, b), self._winner(probe, b, a)
        if forth is None or back is None:
            return Judgement(None, None)
        # A win only where both orders agree: a judge's taste for the first place must not count.
        return Judgement(AGREED.get((forth, back), "tie"), (forth, back) not in {*AGREED, ("tie", "tie")})

    def against_base(self, answers: Sequence[Answer], probes: Mapping[str, Probe], context: Context) -> Judged:
        """Return a score of each answer against the base's of the same template, probe and sample.

        The base's own score is 0.5, a tie with itself, so tuned less base is the win share above one half.
        This holds under one template only: scores against different bases must not be compared.
        """
        bases = {_place(answer): answer for answer in answers if answer.trained_on is None}
        missing = next((answer for answer in answers if _place(answer) not in bases), None)
        if missing:
            raise IikataError(
                f"judge: {missing.cell} answered probe {missing.probe}, sample {missing.sample}; the base "
                f"has no such answer under {missing.prompted_with}. Let the base answer all that the arms answer."
            )
        judged = [
            self.compare_answers(probes[one.probe], one.text, bases[_place(one)].text, context) for one in answers
        ]
        scores = [self._score(one, probes[one.probe], won) for one, won in zip(answers, judged, strict=True)]
        flips = [judgement.flipped for judgement in judged if judgement.flipped is not None]
        unread = sum(judgement.winner is None for judgement in judged)
        return Judged(tuple(scores), sum(flips) / len(flips) if flips else None, unread)

    def _score(self, answer: Answer, probe: Probe, judgement: Judgement) -> Score:
        where = (answer.trained_on, answer.seed, answer.prompted_with, probe.id, probe.cluster or probe.id)
        return Score(*where, answer.sample, self.name, VALUES[judgement.winner], self.signature)

    def _winner(self, probe: Probe, first: str, second: str) -> str | None:
        said = SAID.findall(self.endpoint.reply(ASKED.format(question=probe.question, first=first, second=second)))
        return said[-1] if said else None


def _place(answer: Answer) -> tuple[str, str, int]:
    return answer.prompted_with, answer.probe, answer.sample
