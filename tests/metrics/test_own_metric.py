"""examples/own_metric.py is a metric as an experiment names it."""

from pathlib import Path

import pytest

from iikata.core.records import Answer, Probe
from iikata.metrics import Context, get


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("No end", 1), ("One. Two! Three?", 3), ("山です。川です。", 2), ("3.5 metres.", 1), ("ええ、と…。", 1)],
)
def test_the_example_counts_sentences(text, count, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")
    metric = get("own_metric:Sentences")
    assert metric(Answer(None, None, "plain", "p", 0, text, "stop", 3), Probe("p", "?"), Context()) == count
