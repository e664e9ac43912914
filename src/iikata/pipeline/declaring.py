"""What was declared before scores existed, and what was changed after: signed with the run, and shown with the verdict.

`signature.json` holds the history under "declared": the last declaration before any score, then every later one. The
time of a first declaration is that of the first line of timing.jsonl, since equal runs have equal signatures.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from iikata.config import Experiment, template_name
from iikata.core.records import Comparison, Gate, Score
from iikata.metrics import HELD_OUT, Metric
from iikata.stats import Result, ScoreTable, compare
from iikata.stats.phrases import PHRASES

LISTS = {"train.seeds": "seeds", "templates": "templates", "prompt_only": "prompted"}
"""Settings whose entries may be added, which lets a run grow, but not taken out unseen."""
NOTHING = "none"


def declaration(experiment: Experiment, signed: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that decides a verdict and is not trained: changed after a look, it could choose the verdict."""
    return {
        "primary": experiment.score.primary,
        "margins": experiment.margins,
        "alpha": experiment.compare.alpha,
        "looks": experiment.compare.looks,
        "factor": experiment.compare.factor,
        "others": experiment.compare.others,
        "choosing_seeds": list(experiment.compare.choosing_seeds),
        "metrics": list(experiment.score.names),
        "seeds": list(experiment.train.seeds),
        "templates": list(experiment.recipes),
        "prompted": [template_name(spec) for spec in experiment.prompt_only],
        "probes": dict(signed["probes"]),
        "generate": dict(signed["generate"]),
    }


def compared(
    declared: Mapping[str, Any], scores: ScoreTable | list[Score], names: Sequence[str], metrics: Mapping[str, Metric],
    gates: Sequence[Gate], content: str,
) -> Result:  # fmt: skip
    """Return the comparisons of the scores of metrics `names` under what was declared, a look at its part of alpha."""
    margins = {name: margin for name, margin in declared["margins"].items() if name in names}
    asked = {key: declared[key] for key in ("factor", "others", "choosing_seeds")}
    alpha = declared["alpha"] / declared["looks"]
    return compare(scores, metrics, declared["primary"], margins, alpha, gates, content=content, **asked)


def declared(history: Sequence[Mapping[str, Any]], now: Mapping[str, Any], scored: bool) -> list[dict[str, Any]]:
    """Return the history with the declaration of now; `scored`: there are, or were, scores.

    Before there are any, a change is simply the new declaration.
    """
    if not history:
        return [{**now, "after_scores": scored}]
    first = history[0]  # with what has been added since: a run may grow
    lists = {key: list(dict.fromkeys((*first[key], *now[key]))) for key in LISTS.values()}
    kept = [{**first, **lists, "probes": {**now["probes"], **first["probes"]}}, *map(dict, history[1:])]
    if not list(changes(kept[-1], now)):
        return kept
    at = {"at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "after_scores": scored}
    return [*kept, {**now, **at}] if scored else [{**now, **at}]


def changes(first: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield what of `first` is otherwise now: {"setting", "first", "now"}, each as text."""
    pairs: list[tuple[str, Any, Any]] = [("score.primary", first["primary"], now["primary"])]
    both = [name for name in first["metrics"] if name in now["metrics"]]
    pairs += [(f"compare.margin.{m}", first["margins"].get(m), now["margins"].get(m)) for m in both]
    pairs += [("compare.alpha", first["alpha"], now["alpha"]), ("score.metrics", first["metrics"], now["metrics"])]
    asked = ("looks", "factor", "others", "choosing_seeds")
    pairs += [(f"compare.{key}", first[key] or None, now[key] or None) for key in asked]
    pairs += [(name, first[key], now[key]) for name, key in LISTS.items() if set(first[key]) - set(now[key])]
    for id, content in first["probes"].items():
        there = now["probes"].get(id)
        pairs += [(f"probe {id}", "", "edited" if there else "removed")] if there != content else []
    keys = dict.fromkeys((*first["generate"], *now["generate"]))
    pairs += [(f"generate.{key}", first["generate"].get(key), now["generate"].get(key)) for key in keys]
    for setting, before, after in pairs:
        if before != after:
            yield {"setting": setting, "first": _text(before), "now": _text(after)}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or NOTHING
    return NOTHING if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def bears_on(change: Mapping[str, str], metric: str, primaries: Sequence[str]) -> bool:
    """Return whether a change could move the verdicts on `metric`; `primaries`: those declared first and now."""
    setting = change["setting"]
    if setting == "score.primary":
        return metric in primaries
    if setting == "score.metrics":
        return metric not in primaries  # those that explore are tested together
    if setting.startswith("compare.margin."):
        return setting == f"compare.margin.{metric}"
    return metric not in HELD_OUT or not setting.startswith(("probe ", "generate."))


def recomputable(found: Sequence[Mapping[str, str]]) -> bool:
    """Return whether the scores that are there are those of the first declaration."""
    return all(one["setting"].startswith(("score.", "compare.")) for one in found)


def shown(result: Result, first: Mapping[str, Any] | None, at: str, found: Sequence[Mapping[str, str]]) -> Result:
    """Return the result with every change said and the first declaration's verdict beside.

    `first` is the result's JSON under the first declaration; None where it is not known any more.
    """
    metric = result.verdict["metric"]
    primaries = (metric, first["verdict"]["metric"] if first else metric)
    bearing = [one for one in found if bears_on(one, metric, primaries)]
    verdict = {**result.verdict, "changed": [{**one, "at": at} for one in bearing]}
    if bearing:
        verdict["first"] = first and {key: first["verdict"][key] for key in FIRST if key in first["verdict"]}
        for language, words in PHRASES.items():
            then = words["first"].format(sentence=first["verdict"][f"sentence_{language}"]) if first else ""
            said = words["changed"].format(changes=told(bearing, language), at=at), then or words["first_lost"]
            join = " " if language == "en" else ""
            now = result.verdict[f"sentence_{language}"]
            if {"score.primary", f"compare.margin.{metric}"} & {one["setting"] for one in bearing}:
                # This margin was not declared beforehand, so the sentence may not call it so.
                now = now.replace(*words["margin_changed"].split("|"))
            verdict[f"sentence_{language}"] = join.join([*said, words["now"].format(sentence=now)])
            verdict[f"advice_{language}"] = join.join([said[0], result.verdict[f"advice_{language}"]])
    before = {_of(one): one["verdict"] for one in first["comparisons"]} if first else {}
    comparisons = []
    for one in result.comparisons:
        mine = [change for change in found if bears_on(change, one.metric, primaries)]
        more = {"changed": [told([change]) for change in mine], "first_verdict": before.get(_of(one))} if mine else {}
        comparisons.append(replace(one, detail={**one.detail, **more}))
    warnings = [f"changed after scores existed ({at}): {told(found)}", *result.warnings]
    return replace(result, comparisons=comparisons, verdict=verdict, warnings=warnings)


def late(result: Result) -> Result:
    """Return the result with it said that nothing was declared before scores existed."""
    said = {
        f"sentence_{language}": result.verdict[f"sentence_{language}"].replace(*words["margin_late"].split("|"))
        for language, words in PHRASES.items()
    }
    warnings = ["what is declared was declared after scores existed", *result.warnings]
    return replace(result, verdict={**result.verdict, **said}, warnings=warnings)


FIRST = (
    *("template_matters", "factor_matters", "prompt_must_match", "lora_needed", "metric", "margin"),
    *("sentence_en", "sentence_ja", "advice_en", "advice_ja", "short_en", "short_ja"),
)


def told(found: Sequence[Mapping[str, str]], language: str = "en", most: int = 8) -> str:
    """Return the changes as one text, the first of many."""
    words = PHRASES[language]
    parts = [words["change" if one["first"] else "change_of_probe"].format(**one) for one in found[:most]]
    parts += [words["more"].format(n=len(found) - most)] if len(found) > most else []
    return ("; " if language == "en" else "、").join(parts)


def _of(one: Comparison | Mapping[str, Any]) -> tuple[Any, ...]:
    record = one if isinstance(one, Mapping) else vars(one)
    sides = [(side["trained_on"], side["prompted_with"]) for side in (record["treatment"], record["control"])]
    return record["question"], record["metric"], *sides
