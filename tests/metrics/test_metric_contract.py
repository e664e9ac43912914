"""What every metric on the shelf keeps to."""

import math
import re
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from said import asked, said

from iikata.core.errors import IikataError
from iikata.core.records import Answer, Probe
from iikata.metrics import ALLOWED, METRICS, Context, Metric, get

CONTEXT = Context({"alpaca": ("### Instruction:",)})
# Letters of several scripts, digits, numerals, punctuation and template text more often than chance would.
texts = st.one_of(st.text(max_size=60), st.text("aA1９九十万ぁア富士。、,.-−〜～ \n<NL>#:ユーザー指示", max_size=60))


def value_of(metric: Metric, answer: Answer, probe: Probe) -> float:
    if metric.scope == "group":
        return metric.score_group([answer, said("x")], probe, CONTEXT)
    return metric(answer, probe, CONTEXT)


scoring = pytest.mark.parametrize(
    "metric", [metric for metric in METRICS.values() if metric.scope in ("answer", "group")], ids=lambda m: m.name
)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_declares_itself_under_its_own_name(name: str) -> None:
    metric = get(name)
    assert metric.better in ALLOWED["better"]
    assert metric.category in ALLOWED["category"]
    assert metric.needs_model == (metric.scope in ("text", "choice"))
    assert (metric.scope == "text") == (metric.category == "likelihood")
    assert metric.name == name
    assert metric.unit
    assert metric.signature.startswith(f"{name}|")
    assert re.search(r"\|v:[1-9]\d*$", metric.signature)


def test_signatures_are_unique() -> None:
    assert len({metric.signature for metric in METRICS.values()}) == len(METRICS)


@scoring
@given(text=texts, reference=texts)
@settings(max_examples=60, deadline=None)
def test_a_score_is_within_bounds_or_nan_and_the_same_each_time(metric: Metric, text: str, reference: str) -> None:
    probe = asked(reference, "日本")
    value = value_of(metric, said(text), probe)
    assert isinstance(value, float)
    assert value == value_of(metric, said(text), probe) or math.isnan(value)
    low, high = metric.bounds or (0.0, math.inf)
    assert low <= value <= high or math.isnan(value)


@scoring
def test_only_content_is_nan_for_a_probe_that_names_no_right_answer(metric: Metric) -> None:
    text = "This answer is long enough to be scored for its form."
    assert math.isnan(value_of(metric, said(text), asked())) == (metric.category == "content")


@scoring
def test_content_is_never_below_its_best_for_the_reference_itself(metric: Metric) -> None:
    if metric.category == "content":
        right = "富士山は3776メートルです"
        value = value_of(metric, said(right), asked(right, "Mt. Fuji", pattern="富士山"))
        assert metric.bounds is not None
        assert value == pytest.approx(metric.bounds[1])


class Mine(Metric):
    name, better, bounds, unit, category, signature = "mine", "higher", None, "x", "form", "mine|v:1"
    scope = "group"

    def score_group(self, answers: object, probe: object, context: object) -> float:
        return 1.0


def someone_elses(monkeypatch: pytest.MonkeyPatch, metric: object) -> None:
    monkeypatch.setitem(sys.modules, "someone", SimpleNamespace(metric=metric))  # type: ignore[arg-type]


@pytest.mark.parametrize("metric", [Mine, Mine()])
def test_a_metric_of_another_package_is_an_object_or_a_class(metric: object, monkeypatch: pytest.MonkeyPatch) -> None:
    someone_elses(monkeypatch, metric)
    assert get("someone:metric").score_group([], asked(), CONTEXT) == 1.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"better": "up"}, "none of higher, lower, none"),
        ({"category": "feeling"}, "none of content, form, likelihood"),
        ({"scope": "text"}, "none of answer, group"),
        ({"name": "nll"}, "no built-in metric has"),
        ({"name": "../mine"}, "ASCII letters"),
        ({"scope": "answer"}, "needs __call__"),
        ({"score_group": Metric.score_group}, "needs score_group"),
    ],
)
def test_a_metric_that_does_not_declare_itself_is_refused(
    changed: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    someone_elses(monkeypatch, type("Changed", (Mine,), changed))
    with pytest.raises(IikataError, match=message):
        get("someone:metric")


@pytest.mark.parametrize(
    ("metric", "message"),
    [(type("Unsigned", (Metric,), {"name": "mine"}), "declares no better"), (print, "must derive from")],
)
def test_what_is_no_metric_is_refused(metric: object, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    someone_elses(monkeypatch, metric)
    with pytest.raises(IikataError, match=message):
        get("someone:metric")


def test_an_unknown_metric_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(IikataError, match='did you mean "contains"'):
        get("contain")
