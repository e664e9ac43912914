"""What every metric on the shelf keeps to."""

import math
import re
import sys
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from said import asked, said

from iikata.core.errors import IikataError
from iikata.core.records import Answer, Probe
from iikata.metrics import METRICS, AnswerMetric, CellMetric, Context, LikelihoodMetric, Metric, get
from iikata.stats.metric import MetricInfo

CONTEXT = Context({"alpaca": ("### Instruction:",)})
# Letters of several scripts, digits, numerals, punctuation and template text more often than chance would.
texts = st.one_of(st.text(max_size=60), st.text("aA1９九十万ぁア富士。、,.-−〜～ \n<NL>#:ユーザー指示", max_size=60))


def value_of(metric: Metric, answer: Answer, probe: Probe) -> float:
    if isinstance(metric, CellMetric):
        return metric.score_group([answer, said("x")], probe, CONTEXT)
    assert isinstance(metric, AnswerMetric)
    return metric(answer, probe, CONTEXT)


scoring = pytest.mark.parametrize(
    "metric", [metric for metric in METRICS.values() if not isinstance(metric, LikelihoodMetric)], ids=lambda m: m.name
)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_declares_itself_under_its_own_name(name: str) -> None:
    metric = get(name)
    MetricInfo(metric.name, metric.better, metric.bounds, metric.unit, metric.category)
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


def test_likelihood_is_declared_for_the_model_to_compute() -> None:
    declared = [name for name, metric in METRICS.items() if getattr(metric, "likelihood", False)]
    assert declared == ["nll", "nll_end", "nll_template", "nll_reference"]


DECLARED = {
    "name": "mine",
    "better": "higher",
    "bounds": None,
    "unit": "x",
    "category": "form",
    "signature": "mine|v:1",
}


def someone_elses(monkeypatch: pytest.MonkeyPatch, **changed: object) -> None:
    parts = {**DECLARED, "score_group": lambda answers, probe, context: 1.0, **changed}
    module = ModuleType("someone")
    module.metric = SimpleNamespace(**{key: part for key, part in parts.items() if part is not ...})  # type: ignore[attr-defined]
    module.made = type("Made", (), {**parts, "score_group": lambda self, answers, probe, context: 1.0})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "someone", module)


@pytest.mark.parametrize("name", ["someone:metric", "someone:made"])
def test_a_metric_of_another_package_is_an_object_or_a_class(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    someone_elses(monkeypatch)
    metric = get(name)
    assert metric.name == "mine"
    assert metric.score_group([], asked(), CONTEXT) == 1.0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"signature": ...}, "declares no signature"),
        ({"better": "up"}, "none of higher, lower, none"),
        ({"category": "feeling"}, "none of content, form, likelihood"),
        ({"name": "nll"}, "no built-in metric has"),
        ({"name": "../mine"}, "ASCII letters"),
        ({"score_group": ...}, "needs __call__ or score_group"),
    ],
)
def test_a_metric_that_does_not_declare_itself_is_refused(
    changed: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    someone_elses(monkeypatch, **changed)
    with pytest.raises(IikataError, match=message):
        get("someone:metric")


def test_an_unknown_metric_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(IikataError, match='did you mean "contains"'):
        get("contain")
