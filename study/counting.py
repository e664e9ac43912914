"""What the study's pages count, and how they write ranges: so their words are true whatever the numbers are."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scores import shots_of

from iikata.metrics import METRICS
from iikata.report import figures

KINDS = {"EQUIVALENT": "equal", "SMALL": "equal", "INCONCLUSIVE": "open", "NOT_ASSESSABLE": "unknown"}


def ends(values: Iterable[float], metric: str) -> tuple[str, str]:
    """Return the lowest and the highest of some levels, as text."""
    known = list(values)
    low, high = (figures.value(end(known), METRICS[metric]) for end in (min, max))
    return low, high


def changed(values: Iterable[float | None], metric: str) -> tuple[str, str]:
    """Return the lowest and the highest of some differences, with their signs."""
    known = [one for one in values if one is not None] or [None]
    low, high = (figures.difference(end(known), METRICS[metric]) for end in (min, max))  # type: ignore[type-var]
    return low, high


def sized(values: Iterable[float | None], metric: str) -> tuple[str, ...]:
    """Return the smallest and the largest of some differences, without a sign."""
    return tuple(one.lstrip("+") for one in changed([abs(one) for one in values if one is not None], metric))


def joined(texts: Iterable[str], to: str) -> str:
    """Return `0.1 to 0.3`, or one of the two where they are the same."""
    return to.join(dict.fromkeys(texts))


def tally(rows: Sequence[Mapping[str, Any]], signed: bool = False) -> dict[str, int]:
    """Return how many comparisons have which verdict: `differ`, or `better` and `worse` where they are signed."""
    made: dict[str, int] = {}
    for one in rows:
        kind = KINDS.get(one["verdict"]) or (_side(one, one["difference"]) if signed else "differ")
        made[kind] = made.get(kind, 0) + 1
    order = ("differ", "better", "worse", *KINDS.values())
    return {kind: made[kind] for kind in order if kind in made}


def signs(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return of how many differences the 95% interval shows a change for the worse, for the better, or neither."""
    made = {"worse": 0, "better": 0, "neither": 0}
    for one in rows:
        low, high = one["interval"] or (-1, 1)
        made["neither" if low <= 0 <= high else _side(one, low)] += 1
    return made


def shown_worst(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the largest of the changes for the worse that the 95% interval shows, None where it shows none."""
    return farthest(one for one in rows if signs([one])["worse"])


def _side(one: Mapping[str, Any], difference: float) -> str:
    return "better" if (difference < 0) == (METRICS[one["metric"]].better == "lower") else "worse"


def farthest(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    known = [one for one in rows if one["difference"] is not None]
    return max(known, key=lambda one: abs(one["difference"])) if known else None


def best_first(names: Iterable[str], matrix: Mapping[str, Mapping[str, float]], metric: str) -> list[str]:
    """Return templates by what their adapters reach under the own template."""
    return sorted(names, key=lambda name: matrix[name][name], reverse=METRICS[metric].better == "higher")


def whole(ranking: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return the rates at which every template has a sound mean, with its ranking."""
    most = max(map(len, ranking.values()))
    return {rate: order for rate, order in ranking.items() if len(order) == most}


def apart(rates: Mapping[str, Any], at: str | Mapping[str, str]) -> float:
    """Return how far the templates lie apart on the pilot's rows: all at one rate, or each at one of its own."""
    means = [own[at if isinstance(at, str) else at[name]] for name, own in rates["means"].items()]
    return max(means) - min(means)


def open_answers(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the questions and metrics that are open."""
    answers = found["answers"]
    return [(question, metric) for question in answers for metric, one in answers[question].items() if one == "open"]


def prices(found: Mapping[str, Any]) -> list[float]:
    """Return what prompting with another of the four templates does to the loss."""
    return [one["difference"] for one in _of_four(found)]


def all_worse(found: Mapping[str, Any]) -> bool:
    """Return whether each of those ways is shown to be worse."""
    return signs(_of_four(found))["worse"] == len(_of_four(found))


def asking_costs_more(done: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether, in every model, each other template is shown to cost more than any two templates lie apart."""

    def widest(found: Mapping[str, Any]) -> float:
        return max(abs(one["difference"] or 0.0) for one in found["pairs"] if one["metric"] == "nll")

    return all(all_worse(found) and min(prices(found)) > widest(found) for found in done.values())


def _of_four(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in found["price"] if one["metric"] == "nll" and one["prompted_with"] != found["asked"]]


def all_open(found: Mapping[str, Any]) -> bool:
    return len(open_answers(found)) == 4


def doubted(found: Mapping[str, Any], *questions: str) -> list[str]:
    """Return the kinds of doubt that PLAN.md asks to be said in the sentence that answers these questions."""
    again = found["reanalysis"]
    kinds = {"disagrees"} if again and again["agree"] < again["contrasts"] else set()
    every = (doubt for question in questions for doubt in found["doubts"][question].values())
    return sorted(kinds.union(kind for doubt in every for kind, what in doubt.items() if what))


def turned(seeds: Mapping[str, str]) -> dict[str, list[str]]:
    """Return what an answer turns to -> the seeds without each of which it does."""
    return {other: [seed for seed, one in seeds.items() if one == other] for other in dict.fromkeys(seeds.values())}


def no_more(needed: Sequence[Mapping[str, Any]], able: Mapping[str, Any]) -> bool:
    """Return whether each number that would settle a comparison is one that was run."""
    return all(one["seeds"] <= able["seeds"] and one["tested"] <= able["clusters"] for one in needed)


def margins_shown(found: Mapping[str, Any], question: str, metric: str) -> float | None:
    """Return within how many margins equality could be shown, where the templates are open and it is more than one."""
    margin, shown = found["margins"][metric], found["power"][metric]["equivalent_margin"]
    if question != "template" or found["answers"][question][metric] != "open" or not margin or shown is None:
        return None
    times: float = round(shown / margin, 1)
    return times if times > 1 else None


def within_margin(found: Mapping[str, Any], metric: str) -> bool:
    """Return whether the templates matter by this metric, and no pair is shown to differ by more than the margin."""
    rows = [one for one in found["pairs"] if one["metric"] == metric]
    yes, margin = found["answers"]["template"][metric] == "yes", found["margins"][metric]
    return bool(yes and margin and not any(one["beyond_margin"] for one in rows))


def answered(done: Mapping[str, Mapping[str, Any]], *words: str) -> bool:
    """Return whether any answer is one of these."""
    return any(one in words for found in done.values() for own in found["answers"].values() for one in own.values())


FILTERS = {
    "shown_worst": shown_worst,
    "answered": answered,
    "margins_shown": margins_shown,
    "within_margin": within_margin,
    "no_more": no_more,
    "turned": turned,
    "prices": prices,
    "all_worse": all_worse,
    "all_open": all_open,
    "asking_costs_more": asking_costs_more,
    "doubted": doubted,
    "farthest": farthest,
    "best_first": best_first,
    "whole": whole,
    "apart": apart,
    "open_answers": open_answers,
    "lookup": lambda key, of: of[key],
    "pair_of": lambda one: " − ".join(one[side].split("@")[0] for side in ("treatment", "control")),
    "least": lambda of: min(of.values()),
    "own": lambda name, matrix: matrix[name][name],
    "own_template": lambda rows: [one for one in rows if one["prompted_with"] == one["template"]],
    "bare": lambda of: [value for prompt, value in of.items() if not shots_of(prompt)],
    "shots": lambda of: [value for prompt, value in of.items() if shots_of(prompt)],
}


def written(to: str) -> dict[str, Any]:
    """Return what writes numbers, with this word between the two ends of a range."""
    return {
        "v": lambda x, metric: figures.value(x, METRICS[metric]),
        "d": lambda x, metric: figures.difference(x, METRICS[metric]),
        "size": lambda x, metric: figures.difference(abs(x), METRICS[metric])[1:],
        "i": lambda given, metric: to.join(figures.difference(end, METRICS[metric]) for end in given or (None, None)),
        "p": figures.p_value,
        "ends": ends,
        "span": lambda values, metric: joined(ends(values, metric), to),
        "sizes": lambda values, metric: joined(sized(values, metric), to),
        "changes": lambda values, metric: joined(changed(values, metric), to),
        "whole_span": lambda rows, field: joined((f"{end(one[field] for one in rows):,}" for end in (min, max)), to),
        "tally": tally,
        "signs": signs,
    }
