"""Say the two verdicts in English and Japanese, in words that a statistician would sign."""

from collections.abc import Mapping, Sequence
from typing import Any

from iikata.compare.metric import MetricInfo
from iikata.compare.phrases import PHRASES, SHAPES
from iikata.compare.verdict import lora_needed, template_matters
from iikata.records import Comparison

LANGUAGES = ("en", "ja")


def sentences(comparisons: Sequence[Comparison], info: MetricInfo, margin: float | None) -> dict[str, Any]:
    """Return the verdict of the primary metric's comparisons, with what it is about."""
    matched = [c for c in comparisons if c.question == "matched"]
    best = [c for c in comparisons if c.question == "tuned_vs_best_base" and c.detail["best_on_choosing"]]
    matters = template_matters([c.verdict for c in matched])
    needed = lora_needed(best[0].verdict, _improved(best[0])) if best else "NOT_ASSESSABLE"
    about_template, about_lora = _decisive(matched, matters), best[0] if best else None
    result: dict[str, Any] = {"template_matters": matters, "lora_needed": needed}
    for language in LANGUAGES:
        parts = [
            *_template(matched, matters, about_template, info, margin, language),
            *_lora(about_lora, needed, info, margin, language),
        ]
        result[f"sentence_{language}"] = ("" if language == "ja" else " ").join(parts)
    return {
        **result,
        "metric": info.name,
        "margin": margin,
        "template_pair": None if about_template is None else _pair_names(about_template),
        "lora_template": None if about_lora is None else about_lora.treatment["trained_on"],
        "base_template": None if about_lora is None else about_lora.control["prompted_with"],
    }


def _improved(c: Comparison) -> bool:
    return (c.difference or 0.0) > 0 if c.detail["better"] == "higher" else (c.difference or 0.0) < 0


def _pair_names(c: Comparison) -> list[str]:
    return [c.treatment["trained_on"], c.control["trained_on"]]


def _decisive(matched: Sequence[Comparison], verdict: str) -> Comparison | None:
    """Return the pair that the sentence shows: the largest difference of those that gave the verdict.

    For INCONCLUSIVE and EQUIVALENT the pair whose interval reaches farthest from 0: the rest is better settled.
    """
    of = [c for c in matched if c.verdict == verdict]
    if verdict in ("INCONCLUSIVE", "EQUIVALENT"):
        return max(of, key=_reach, default=None)
    return max(of, key=lambda c: abs(c.difference or 0.0), default=None)


def _reach(c: Comparison) -> float:
    return max(map(abs, c.interval_90)) if c.interval_90 else float("inf")


def _template(
    matched: Sequence[Comparison],
    verdict: str,
    c: Comparison | None,
    info: MetricInfo,
    margin: float | None,
    language: str,
) -> list[str]:
    words = PHRASES[language]
    if c is None:
        return [words["template_NONE"].format(metric=info.name)]
    fields = _fields(c, info, margin, language)
    fields |= {"n": len(matched), "k": sum(m.verdict == verdict for m in matched)}
    parts = [words[_key(f"template_{verdict}", c, margin)].format(**fields)]
    if len(matched) > 1 and verdict in ("MATTERS", "NOT_ASSESSABLE", "INCONCLUSIVE", "SMALL"):
        parts.append(words["of_pairs"].format(**fields))
    return parts + _after(c, fields, verdict, margin, language)


def _lora(c: Comparison | None, needed: str, info: MetricInfo, margin: float | None, language: str) -> list[str]:
    words = PHRASES[language]
    if c is None:
        return [words["lora_NONE"].format(metric=info.name)]
    fields = _fields(c, info, margin, language)
    return [
        words[_key(f"lora_{needed}", c, margin)].format(**fields),
        *_after(c, fields, str(c.verdict), margin, language),
    ]


def _key(key: str, c: Comparison, margin: float | None) -> str:
    """Return the phrase's key: an open verdict reads otherwise without a margin or without an interval."""
    if not key.endswith("INCONCLUSIVE"):
        return key
    if c.interval is None:
        return "no_interval"
    return key if margin is not None else f"{key}_no_margin"


def _after(c: Comparison, fields: Mapping[str, Any], verdict: str, margin: float | None, language: str) -> list[str]:
    """Return what must stand behind an effect: the margin, what it would take, the scope, the noise, the shape."""
    words = PHRASES[language]
    parts = []
    if verdict == "MATTERS":
        key = "no_margin" if margin is None else "beyond" if c.beyond_margin else "beyond_open"
        parts.append(words[key].format(**fields))
    if verdict == "INCONCLUSIVE":
        parts += _outlook(c, fields, words)
    if verdict != "NOT_ASSESSABLE":
        parts.append(words["both_few" if c.detail["both_few"] else c.scope].format(**fields))
        if c.question == "matched" and c.detail["noise_floor"] is not None:
            parts.append(words["noise"].format(**fields))
        parts += [SHAPES[language][shape] for shape in c.detail["shapes"]]
    return parts


def _outlook(c: Comparison, fields: Mapping[str, Any], words: Mapping[str, str]) -> list[str]:
    parts = [words["mde"].format(**fields)] if c.mde is not None else []
    need = c.needed or {}
    if need.get("seeds"):
        key = "needed_at_least" if need["lower_bound"] else "needed"
        parts.append(words[key].format(need_seeds=need["seeds"], need_probes=need["probes"]))
    elif c.interval is not None:
        parts.append(words["out_of_reach"])
    return parts


def _fields(c: Comparison, info: MetricInfo, margin: float | None, language: str) -> dict[str, Any]:
    """Return what a phrase may name; `low`..`high` are of treatment - control, `size_*` of better over worse."""
    show = Numbers(info, language)
    low, high = c.interval or (float("nan"),) * 2
    low_90, high_90 = c.interval_90 or (float("nan"),) * 2
    difference = c.difference if c.difference is not None else float("nan")
    size_low, size_high = (low, high) if difference >= 0 else (-high, -low)
    sides = [_name(c, side) for side in (c.treatment, c.control)]
    better, worse = sides if _improved(c) else sides[::-1]
    return {
        "metric": info.name,
        "a": sides[0],
        "b": sides[1],
        "t": c.treatment["trained_on"],
        "base_t": c.control["prompted_with"],
        "better": better,
        "worse": worse,
        "difference": show(difference, sign=True),
        "size": show(abs(difference)),
        "interval": show.interval(low, high),
        "interval_90": show.interval(low_90, high_90),
        "size_interval": show.interval(size_low, size_high),
        "level": f"{c.level:.0%}",
        "level_90": f"{2 * c.level - 1:.0%}",
        "p": "p < 0.001" if (c.p_holm or 0) < 0.001 else f"p = {c.p_holm:.2g}",
        "margin": show(margin) if margin is not None else "",
        "mde": show(c.mde) if c.mde is not None else "",
        "noise": show(c.detail["noise_floor"]) if c.detail["noise_floor"] is not None else "",
        "seeds": c.n_seeds,
        "clusters": c.n_clusters,
        "choosing": c.detail.get("choosing_clusters"),
        "gate": "; ".join(f"{g['name']}: {g['detail']}" for g in c.gates),
    }


def _name(c: Comparison, side: Mapping[str, Any]) -> str:
    return (
        str(side["trained_on"])
        if c.question == "matched"
        else f"{side['trained_on'] or 'base'}@{side['prompted_with']}"
    )


class Numbers:
    """Write numbers in the metric's unit; rates in percentage points."""

    def __init__(self, info: MetricInfo, language: str):
        self.scale = 100 if info.is_rate else 1
        points = "ポイント" if language == "ja" else " points"
        self.unit = points if info.is_rate else f" {info.unit}" if info.unit else ""
        self.to = "〜" if language == "ja" else " to "

    def __call__(self, value: float, sign: bool = False) -> str:
        return self.bare(value, sign) + self.unit

    def bare(self, value: float, sign: bool = True) -> str:
        text = f"{value * self.scale:{'+' if sign else ''}.3g}"
        return text.replace("-", "−")

    def interval(self, low: float, high: float) -> str:
        return f"{self.bare(low)}{self.to}{self.bare(high)}{self.unit}"
