"""Say the two verdicts in English and Japanese, in words that a statistician would sign."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from iikata.core.records import Comparison
from iikata.metrics import Metric
from iikata.stats.margins import Gain
from iikata.stats.phrases import COUNTED, GATES_JA, PHRASES, SHAPES, UNITS_JA, factor_named
from iikata.stats.replicates import named
from iikata.stats.verdict import lora_needed, template_matters

JAPANESE = "\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef"
JOIN = {"en": " ", "ja": ""}
SUPERFLUOUS_GAP = re.compile(f"(?<=[{JAPANESE}]) (?=[{JAPANESE}])")


def sentences(
    comparisons: Sequence[Comparison],
    info: Metric,
    margin: float | None,
    factor: str = "template",
    summary: bool = True,
    gain: Gain | None = None,
) -> dict[str, Any]:
    """Return the verdict of the primary metric's comparisons, with what it is about.

    Without `summary` the factor is explored level by level, and whether it matters is not said. `gain` is what the
    margin was measured from, where it is a share of that.
    """
    matched = [c for c in comparisons if c.question == "matched"]
    best = against_best_base(comparisons)
    matters = template_matters([c.verdict for c in matched] if summary else [])
    lora = lora_needed(best.verdict, improved(best)) if best else lora_needed(None, False)
    shown = most_telling(matched, matters) if summary else None
    said = {}
    for language in PHRASES:
        speaker = Speaker(info, margin, language, factor)
        parts = speaker.template(matched, matters, shown) + speaker.lora(best, lora) + speaker.gain(gain)
        said[f"sentence_{language}"] = SUPERFLUOUS_GAP.sub("", JOIN[language].join(parts))
    return {
        "template_matters": matters if factor == "template" else "NOT_ASSESSABLE",
        "factor": factor,
        "factor_matters": matters,
        "lora_needed": lora,
        **said,
        "metric": info.name,
        "margin": margin,
        "template_pair": [shown.treatment["trained_on"], shown.control["trained_on"]] if shown else None,
        "lora_template": best.treatment["trained_on"] if best else None,
        "base_template": best.control["prompted_with"] if best else None,
    }


def against_best_base(comparisons: Sequence[Comparison]) -> Comparison | None:
    """Return the comparison that the verdict on LoRA rests on: of what did best on the choosing clusters."""
    asked = (c for c in comparisons if c.question == "tuned_vs_best_base")
    return next((c for c in asked if c.detail["best_on_choosing"]), None)


def limited(c: Comparison) -> bool:
    """Return whether what is said of it does not hold for training again on other probes."""
    return c.scope != "recipe" and not c.detail["both_few"] and c.verdict != "NOT_ASSESSABLE"


def reason(c: Comparison, margin: float | None) -> str:
    """Return the phrase for why nothing is settled: too little to say anything, else what the numbers leave open."""
    if c.interval is None:
        return "too_few_no_interval" if c.detail["both_few"] else "no_interval"
    if c.detail["both_few"]:
        return "too_few"
    if not c.interval[0] <= 0 <= c.interval[1]:
        return "alone"
    return "neither_no_margin" if margin is None else "neither"


def improved(c: Comparison) -> bool:
    return (c.difference or 0.0) > 0 if c.detail["better"] == "higher" else (c.difference or 0.0) < 0


def most_telling(comparisons: Sequence[Comparison], verdict: str) -> Comparison | None:
    """Return the one to show of those with the verdict: the largest difference.

    For INCONCLUSIVE and EQUIVALENT the one whose interval reaches farthest from 0: the others are better settled.
    """
    of = [c for c in comparisons if c.verdict == verdict]
    if verdict in ("INCONCLUSIVE", "EQUIVALENT"):
        return max(of, key=lambda c: max(map(abs, c.interval_90)) if c.interval_90 else float("inf"), default=None)
    return max(of, key=lambda c: abs(c.difference or 0.0), default=None)


def size_interval(c: Comparison) -> tuple[float, float]:
    """Return the interval turned so that the difference is positive."""
    low, high = c.interval or (0.0, 0.0)
    return (low, high) if (c.difference or 0.0) >= 0 else (-high, -low)


class Speaker:
    """Says comparisons of one metric in one language."""

    def __init__(self, info: Metric, margin: float | None, language: str, factor: str = "template"):
        self.info, self.margin, self.language = info, margin, language
        self.words = PHRASES[language]
        self.factor, self.factors = factor_named(factor, language)
        self.metric = f"「{info.name}」" if language == "ja" else f'"{info.name}"'
        self.scale = 100 if info.is_share else 1
        unit = "points" if info.is_share else info.unit
        gap = " " if language == "en" and unit else ""
        self.unit = gap + (UNITS_JA.get(unit, f" {unit}") if language == "ja" and unit else unit)

    @property
    def about(self) -> dict[str, str]:
        """What the factor is called in a phrase."""
        known = self.factor[0].upper() + self.factor[1:] if self.factor.startswith("the ") else self.factor
        return {"factor": self.factor, "Factor": known, "factors": self.factors}

    def template(self, matched: Sequence[Comparison], verdict: str, c: Comparison | None) -> list[str]:
        """Say whether the template matters, shown on the pair c; None where no pair stands for all."""
        if c is None:
            key = "factor_EACH" if matched else "factor_NONE"
            return [self.words[key].format(metric=self.metric, n=len(matched), **self.about)]
        fields = {**self.fields(c), "n": len(matched), "k": sum(m.verdict == verdict for m in matched)}
        parts = [self._verdict("factor", verdict, c, fields)]
        if len(matched) > 1 and verdict != "EQUIVALENT":
            parts.append(self.words["of_pairs"].format(**fields))
        return parts + self._after(c, fields)

    def lora(self, c: Comparison | None, verdict: str) -> list[str]:
        """Say whether LoRA was needed; None where tuned and untuned cannot be compared."""
        if c is None:
            return [self.words["lora_NONE"].format(metric=self.metric)]
        fields = self.fields(c)
        return [self._verdict("lora", verdict, c, fields), *self._after(c, fields)]

    def gain(self, of: Gain | None) -> list[str]:
        """Say where the margin comes from, or why there is none; nothing of one that was declared as a number."""
        if of is None:
            return []
        key = "gain_margin" if of.margin is not None else "gain_unclear" if of.interval else "gain_unknown"
        low, high = of.interval or (0.0, 0.0)
        fields = {"share": f"{100 * of.share:g}%", "gain": self.number(of.gain), "n": of.clusters}
        return [self.words[key].format(**fields, metric=self.metric, interval=self.interval(low, high, sign=False))]

    def _verdict(self, asked: str, verdict: str, c: Comparison, fields: Mapping[str, Any]) -> str:
        """Say the verdict, and before it what it is limited to: the interval would be read as the recipe's."""
        if c.verdict == "INCONCLUSIVE":
            said = self.words[f"{asked}_open"] + self.words[reason(c, self.margin)]
        else:
            alone = c.verdict == "SMALL" and c.p_holm is not None and c.p_holm >= 1 - c.level
            said = self.words[f"{asked}_{verdict}{'_alone' if alone else ''}"]
        if not limited(c):
            return said.format(**fields)
        if self.language == "en" and not said.startswith("LoRA"):
            said = said[0].lower() + said[1:]
        return (self.words[c.scope] + said).format(**fields)

    def _after(self, c: Comparison, fields: Mapping[str, Any]) -> list[str]:
        """Say what must stand behind an effect: margin, what it would take, scope, noise floor, shape."""
        keys: list[str] = []
        if c.verdict == "MATTERS":
            keys.append("no_margin" if self.margin is None else "beyond" if c.beyond_margin else "beyond_open")
        if c.verdict == "INCONCLUSIVE" and c.interval is not None:
            keys += self._outlook(c)
        if c.verdict != "NOT_ASSESSABLE":
            keys += ["recipe"] if c.scope == "recipe" else []
            keys += ["noise"] if c.question == "matched" and c.detail["noise_floor"] is not None else []
        parts = [self.words[key].format(**fields) for key in keys]
        return parts + [SHAPES[self.language][shape].format(**fields) for shape in c.detail["shapes"] if keys]

    def _outlook(self, c: Comparison) -> list[str]:
        keys = []
        if c.mde is not None and not c.detail["both_few"]:
            keys.append("mde_none" if self.info.span is not None and c.mde > self.info.span else "mde")
        if c.needed and c.needed["seeds"]:
            keys.append("needed_at_least" if c.needed["lower_bound"] else "needed")
        elif c.difference or self.margin is not None:
            keys.append("out_of_reach")
        return keys

    def fields(self, c: Comparison) -> dict[str, Any]:
        """Return what a phrase may name; size and size_interval are turned so that the size is positive."""
        difference = c.difference or 0.0
        sides = [self._side(c, side) for side in (c.treatment, c.control)]
        better, worse = sides if improved(c) else sides[::-1]
        need, choosing = c.needed or {}, c.detail.get("choosing_clusters")
        aside = c.detail["clusters_aside"]
        counted = COUNTED[self.language]
        kind = "probes" if not self.info.on_rows else "rows" if c.n_probes == c.n_clusters else "documents"
        one, many = counted[kind]
        return {
            "metric": self.metric,
            **self.about,
            "a": sides[0],
            "b": sides[1],
            "better": better,
            "worse": worse,
            "difference": self.number(difference, sign=True),
            "interval": self.interval(*(c.interval or (0.0, 0.0))),
            "interval_90": self.interval(*(c.interval_90 or (0.0, 0.0))),
            "size": self.number(abs(difference)),
            "size_interval": self.interval(*size_interval(c), sign=False),
            "level": f"{100 * c.level:.3g}%",
            "level_90": f"{100 * (2 * c.level - 1):.3g}%",
            "p": "p < 0.001" if (c.p_holm or 0.0) < 0.001 else f"p = {c.p_holm:.2g}",
            "margin": self.number(self.margin or 0.0),
            "goal": self.number(abs(difference) if self.margin is None else self.margin),
            "mde": self.number(c.mde or 0.0),
            "noise": self.number(c.detail["noise_floor"] or 0.0),
            **named(c.detail.get("replicates") or {"seeds": c.n_seeds}, self.language),
            "n_clusters": f"{c.n_clusters} {one if c.n_clusters == 1 else many}",
            "things": many,
            "units": many if self.info.on_rows else counted["unit"],
            "with_choosing": self.words["with_choosing"] if aside else "",
            "need_seeds": need.get("seeds"),
            "need_probes": need.get("probes"),
            "of_these": self.words["of_these"].format(need_tested=need.get("tested"), things=many) if aside else "",
            "choosing": choosing,
            "gates": self._gates(c),
        }

    def _side(self, c: Comparison, side: Mapping[str, Any]) -> str:
        trained_on = side["trained_on"] or "base"
        return trained_on if c.question == "matched" else f"{trained_on}@{side['prompted_with']}"

    def _gates(self, c: Comparison) -> str:
        names = [f"{gate['name']} {gate['subject']}".strip() for gate in c.gates]
        if self.language == "ja":
            told = zip(names, c.gates, strict=True)
            return "、".join(GATES_JA.get(name) or f"{name}：{gate['detail_ja']}" for name, gate in told)
        return "; ".join(f"{name}: {gate['detail']}" for name, gate in zip(names, c.gates, strict=True))

    def number(self, value: float, sign: bool = False) -> str:
        """Return a number with its unit; a rate in percentage points."""
        return self.digits(value, sign) + self.unit

    def interval(self, low: float, high: float, sign: bool = True) -> str:
        """Return an interval with its unit."""
        return self.span(low, high, sign) + self.unit

    def span(self, low: float, high: float, sign: bool = False) -> str:
        """Return an interval without its unit."""
        return self.digits(low, sign) + ("〜" if self.language == "ja" else " to ") + self.digits(high, sign)

    def digits(self, value: float, sign: bool = False) -> str:
        """Return a number without its unit."""
        return f"{value * self.scale:{'+' if sign else ''}.3g}".replace("-", "−")
