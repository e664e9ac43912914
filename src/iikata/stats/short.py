"""Answer each question of the primary metric in at most 140 characters."""

import re
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from iikata.core.records import Comparison
from iikata.metrics import Metric
from iikata.stats.phrases import factor_named
from iikata.stats.sentence import Speaker, against_best_base, improved, limited, most_telling, reason, size_interval
from iikata.stats.short_phrases import GATES_SHORT, LANGUAGES, QUESTIONS, SHORT

MOST_CHARACTERS = 140
LONGEST_FACTOR = 40
BRACKET = re.compile(r" ?\([^()]*\)|（[^（）]*）")
SAID = {f"{part}_{language}" for part in ("sentence", "advice", "short") for language in LANGUAGES}
"""What a verdict says, in both languages."""


class ShortAnswers:
    """Says comparisons of one metric in one language; `verdict` holds what sentences() and advised() found."""

    def __init__(
        self, comparisons: Sequence[Comparison], info: Metric, verdict: Mapping[str, Any], language: str
    ) -> None:
        self.verdict, self.language, self.words = verdict, language, SHORT[language]
        self.speaker = Speaker(info, verdict["margin"], language, verdict["factor"])
        self.matched = [c for c in comparisons if c.question == "matched"]
        self.mismatch = [c for c in comparisons if c.question == "mismatch"]
        self.best = against_best_base(comparisons)

    @property
    def explored(self) -> bool:
        """Whether each of the other settings has comparisons of its own, which nothing sums up."""
        return any("others" in c.detail for c in self.matched)

    def answers(self) -> list[str]:
        """Return an answer to each question: does the factor matter, must the prompt match, was LoRA needed."""
        return [self._factor(), self._match(), self._lora()]

    def _factor(self) -> str:
        factor = shortened(self.speaker.factor, LONGEST_FACTOR)
        if self.explored:
            return self.words["factor_EACH"].format(n=len(self.matched), factor=factor)
        shown = most_telling(self.matched, self.verdict["factor_matters"])
        if shown is None:
            return self.words["factor_NONE"].format(factor=factor)
        return self._fitted("factor", self.verdict["factor_matters"], shown)

    def _match(self) -> str:
        verdict = self.verdict["prompt_must_match"]
        if not self.mismatch:
            return self.words["match_NONE"]
        costly = [c for c in self.mismatch if not gains(c)]
        shown = most_telling(costly, verdict) or max(self.mismatch, key=lambda c: abs(c.difference or 0.0))
        return self._fitted("match", verdict if costly else "GAIN", shown)

    def _lora(self) -> str:
        verdict = self.verdict["lora_needed"]
        return self._fitted("lora", verdict, self.best) if self.best else self.words["lora_NONE"]

    def limit(self, c: Comparison) -> str:
        """Return what an answer is about where it does not speak about training again on other probes."""
        words = self.words["rows_only" if c.scope == "these_probes" else "adapters_only"]
        return words.format(**self._fields(c, 0)) if limited(c) else ""

    def _fitted(self, asked: str, verdict: str, c: Comparison) -> str:
        """Return the answer; where it is too long its end goes, names and the unit are cut, and at last brackets go."""
        head, _, text = self.words[self._key(asked, verdict, c)].rpartition("|")
        (text, _, end), limit = text.partition("~"), self.limit(c)
        start = limit or head
        phrases = [f"{start}|{text}"]
        for bracket in BRACKET.findall(text) + BRACKET.findall(start):
            phrases.append(phrases[-1].replace(bracket, "", 1))
        tries = [(phrase, n) for phrase in phrases for n in (100, 60, 40, 30, 20, 14, 10, 6)]
        for phrase, longest in [(phrases[0] + end, 30), *tries, (phrases[-1], 3)]:
            start, _, said = phrase.format(**self._fields(c, longest)).partition("|")
            if limit and text.startswith(("{use}", "N")):  # no name, which keeps its letters
                said = said[0].lower() + said[1:]
            if len(start + said) <= MOST_CHARACTERS:
                break
        return start + said

    def _key(self, asked: str, verdict: str, c: Comparison) -> str:
        if verdict != "INCONCLUSIVE":
            return "failed" if verdict == "NOT_ASSESSABLE" else f"{asked}_{verdict}"
        if c.interval is None:
            return "no_interval"
        why = reason(c, self.speaker.margin)
        return "likely" if why == "too_few" and not c.interval[0] <= 0 <= c.interval[1] else why

    def _fields(self, c: Comparison, longest: int) -> dict[str, Any]:
        """Return what a phrase may name; the unit stands once, at the first number."""
        speaker = copy(self.speaker)
        speaker.unit = shortened(speaker.unit, 3 * longest)
        worse = 1 if speaker.info.better == "lower" else -1
        names = self._names(c)
        better, other = names if improved(c) else names[::-1]
        low_90, high_90 = c.interval_90 or (0.0, 0.0)
        costs = worse * low_90, worse * high_90
        cut = {"a": names[0], "b": names[1], "better": better, "worse": other, "arm": c.treatment["trained_on"]}
        cut |= {"other": c.treatment["prompted_with"], "untuned": c.control["prompted_with"]}
        trained = {side["trained_on"] for of in self.matched for side in (of.treatment, of.control)}
        beyond, margin = self.words["beyond" if c.beyond_margin else "beyond_open"], speaker.margin or 0.0
        return {
            **speaker.fields(c),
            **{key: shortened(str(name), longest) for key, name in cut.items()},
            "size_interval": speaker.span(*size_interval(c)),
            "interval": speaker.span(*(c.interval or (0.0, 0.0))),
            "interval_90": speaker.span(low_90, high_90),
            "cost": speaker.number(worse * (c.difference or 0.0)),
            "cost_interval_90": speaker.span(min(costs), max(costs)),
            "margin": speaker.digits(margin),
            "margin_unit": speaker.number(margin),
            "beyond": "" if speaker.margin is None else beyond.format(margin=speaker.digits(margin)),
            "use": self.words["two" if len(trained) == 2 else "many"],
            "gate": self._gate(c, longest),
        }

    def _names(self, c: Comparison) -> tuple[str, str]:
        asked = f"@{c.treatment['prompted_with']}" if c.question == "mismatch" else ""
        trained_on, prompted_with = c.control["trained_on"], c.control["prompted_with"]
        return f"{c.treatment['trained_on']}{asked}", str(trained_on or f"base@{prompted_with}")

    def _gate(self, c: Comparison, longest: int) -> str:
        if not c.gates:
            return ""
        name, subject = c.gates[0]["name"], c.gates[0]["subject"]
        said = GATES_SHORT.get(name, (name, name))[LANGUAGES.index(self.language)]
        return self.words["of"].format(said=said, subject=shortened(subject, longest)) if subject else said


def questions(verdict: Mapping[str, Any], language: str) -> list[tuple[str, str]]:
    """Return each question with its short answer."""
    factor, _ = factor_named(verdict["factor"], language)
    asked = [question.format(factor=factor) for question in QUESTIONS[language]]
    return list(zip(asked, verdict[f"short_{language}"].split("\n"), strict=True))


def first_lines(verdict: Mapping[str, Any], language: str) -> list[str]:
    """Return what a reader needs first: each question with its short answer, and the advice."""
    answers = [f"{question} {answer}" for question, answer in questions(verdict, language)]
    return [*answers, str(verdict[f"advice_{language}"])]


def gains(c: Comparison) -> bool:
    """Return whether another template did better, beyond doubt: no reason to prompt as was trained."""
    return c.verdict == "MATTERS" and improved(c)


def shortened(name: str, longest: int) -> str:
    """Return the name with its middle left out where it is longer."""
    if len(name) <= longest or not longest:
        return name
    head = (longest - 1) // 2
    return f"{name[:head].rstrip()}…{name[head + 1 - longest :].lstrip()}"
