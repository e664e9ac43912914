"""Say what to train and prompt with, what LoRA taught and what is open; what is open is never advised."""

from collections.abc import Mapping, Sequence
from typing import Any

from iikata.core.records import Comparison
from iikata.metrics import Metric
from iikata.stats.pairing import best_of
from iikata.stats.sentence import Speaker, improved, most_telling
from iikata.stats.short import ShortAnswers, gains
from iikata.stats.short_phrases import ADVICE, LANGUAGES
from iikata.stats.verdict import prompt_must_match

GROUPS = {
    "worse": ("MATTERS",),
    "same": ("EQUIVALENT", "SMALL"),
    "open": ("INCONCLUSIVE",),
    "failed": ("NOT_ASSESSABLE",),
}


def advised(
    comparisons: Sequence[Comparison],
    infos: Mapping[str, Metric],
    verdict: Mapping[str, Any],
    content: str | None,
) -> dict[str, Any]:
    """Return what `verdict` gains: prompt_must_match, recommended, and short and advice in both languages.

    `comparisons` are those of all metrics; `content` is the metric of right answers that the advice names beside the
    primary, None where there is none. A short text has a line a question. `recommended` is a cell, its seed the first
    of those tested, since none is better than another beyond chance; None where the advice names nothing to train.
    """
    primary = [c for c in comparisons if c.metric == verdict["metric"]]
    must_match = prompt_must_match([(c.verdict, gains(c)) for c in primary if c.question == "mismatch"])
    more: dict[str, Any] = {"prompt_must_match": must_match, "recommended": None}
    for language in LANGUAGES:
        said = _Adviser(primary, infos, {**verdict, **more}, language, comparisons, content)
        more |= {f"short_{language}": "\n".join(said.answers()), f"advice_{language}": said.text()}
        more["recommended"] = said.recommended()
    return more


class _Adviser(ShortAnswers):
    """Puts the advice together beside the short answers."""

    def __init__(
        self,
        primary: Sequence[Comparison],
        infos: Mapping[str, Metric],
        verdict: Mapping[str, Any],
        language: str,
        comparisons: Sequence[Comparison],
        content: str | None,
    ) -> None:
        super().__init__(primary, infos[verdict["metric"]], verdict, language)
        self.infos, self.content, self.advice = infos, content, ADVICE[language]
        against_base = (c for c in comparisons if c.question == "tuned_vs_best_base")
        self.beside = {(c.metric, c.treatment["trained_on"]): c for c in against_base}

    def text(self) -> str:
        """Return the parts; what limits them is said once, where it begins."""
        best = [self.best] if self.best else []
        told, before = [], ""
        for about, say in ((self.matched, self._train), (self.mismatch, self._prompt), (best, self._taught)):
            if not (text := say() if about else ""):
                continue
            kind = next(filter(None, map(self.limit, about)), "")
            if kind and about[0].scope != before:
                text = kind + (text[0].lower() + text[1:] if not text.startswith("LoRA") else text)
            before = about[0].scope if kind else ""
            told.append(text + self.advice["end"])
        return self.advice["join"].join(told)

    def _train(self) -> str:
        """Hold every level against the best; where all do harm, none is advised."""
        if self.verdict["lora_needed"] == "HARMED":
            return ""
        if self.explored:
            return self.advice["each"].format(factor=self.speaker.factor)
        best, against, groups = self._groups()
        names = {key: self.advice["comma"].join(group) for key, group in groups.items()}
        every = self.advice["comma"].join((best, *against))
        if len(groups["same"]) == len(against):
            return self.advice["any"].format(same=every)
        if not (groups["worse"] or groups["same"]):
            if groups["open"]:
                return self.advice["none"].format(open=every) + self._enough()
            return self.advice["judge_none"].format(failed=every)
        said = self.advice["train"].format(best=best) + (self.advice["over"].format(**names) if groups["worse"] else "")
        return said + "".join(self.advice[key].format(**names) for key in ("same", "open", "failed") if groups[key])

    def _groups(self) -> tuple[str, dict[str, str], dict[str, list[str]]]:
        """Return the best level, what was found of every other against it, and these by what that means."""
        best, against = _against_best(self.matched, self.speaker.info)
        groups = {key: [name for name, said in against.items() if said in words] for key, words in GROUPS.items()}
        return best, against, groups

    def recommended(self) -> dict[str, Any] | None:
        """Return the cell that the advice says to train and use; None where it names none, or no single variant."""
        if self.verdict["lora_needed"] in ("NO", "HARMED") or self.explored:
            return None
        if self.matched:
            best, _, groups = self._groups()
            sides = [side for c in self.matched for side in (c.treatment, c.control)]
            found = [s for s in sides if s["trained_on"] == best] if groups["worse"] or groups["same"] else []
        else:
            needed = self.best and self.verdict["lora_needed"] in ("YES", "SMALL")
            found = [self.best.treatment] if self.best and needed else []
        side = found[0] if found else {}
        seed = next(iter(side.get("seeds", ())), None)
        if seed is None or side.get("variant", side["trained_on"]) is None:
            return None
        return {"trained_on": side["trained_on"], "seed": seed, "prompted_with": side["prompted_with"]}

    def _enough(self) -> str:
        """Return how large an experiment would settle it."""
        shown = most_telling(self.matched, "INCONCLUSIVE")
        if shown is None or not shown.needed or not shown.needed["seeds"]:
            return ""
        return self.advice["enough"].format(**self.speaker.fields(shown))

    def _prompt(self) -> str:
        verdict, speaker = self.verdict["prompt_must_match"], self.speaker
        costly = [c for c in self.mismatch if c.verdict == "MATTERS" and not gains(c)]
        sizes = sorted(abs(c.difference or 0.0) for c in costly)
        cost = speaker.number(sizes[-1]) if sizes else ""
        if len(sizes) > 1:
            cost = self.advice["range"].format(low=speaker.digits(sizes[0]), high=cost)
        return self.advice[f"match_{verdict}"].format(cost=cost)

    def _taught(self) -> str:
        """Say what LoRA taught, and beside it what it did for the metric of right answers."""
        best, verdict = self.best, self.verdict["lora_needed"]
        assert best is not None
        if verdict == "NOT_ASSESSABLE":
            return self.advice["lora_NOT_ASSESSABLE"]
        info, finish = self.speaker.info, self.beside.get(("finish", best.treatment["trained_on"]))
        ends = ""
        if finish is not None and finish.verdict == "MATTERS" and improved(finish):
            ends = self.advice["finish"].format(means=self._means(finish))
        taught = self.advice["style" if info.category == "likelihood" else "other"]
        taught = taught.format(metric=info.name, means=self._means(best), finish=ends)
        said = self.advice[f"lora_{verdict}"].format(taught=taught)
        return said if self.content in (None, info.name) else said + self._right_answers(best)

    def _right_answers(self, best: Comparison) -> str:
        c = self.beside.get((str(self.content), best.treatment["trained_on"]))
        if c is None or c.difference is None:
            return self.advice["right_none"]
        word = "OPEN"
        if c.scope == "recipe" and c.verdict in ("SMALL", "EQUIVALENT"):
            word = "SAME"
        elif c.scope == "recipe" and c.verdict == "MATTERS":
            word = "BETTER" if improved(c) else "WORSE"
        return self.advice["right"].format(word=self.advice[word], metric=c.metric, means=self._means(c))

    def _means(self, c: Comparison) -> str:
        """Return the untuned and the tuned mean of a comparison that has both."""
        speaker = Speaker(self.infos[c.metric], None, self.language)
        before, after = c.control["mean"], c.treatment["mean"]
        arrow = self.advice["arrow"]
        if speaker.info.is_share:
            return f"{100 * before:.0f}{arrow}{100 * after:.0f}%"
        return speaker.digits(before) + arrow + speaker.number(after)


def _against_best(matched: Sequence[Comparison], info: Metric) -> tuple[str, dict[str, str]]:
    """Return the level with the best mean, and what was found of every other against it."""
    sides = [side for c in matched for side in (c.treatment, c.control)]
    means = {side["trained_on"]: side["mean"] for side in sides if side["mean"] is not None}
    names = list(dict.fromkeys(str(side["trained_on"]) for side in sides))
    best = best_of(means or dict.fromkeys(names, 0.0), info)
    pairs = {frozenset((c.treatment["trained_on"], c.control["trained_on"])): str(c.verdict) for c in matched}
    return best, {name: pairs[frozenset((best, name))] for name in names if name != best}
