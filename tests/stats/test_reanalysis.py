"""The re-analysis by a mixed model agrees with a comparison, and says where one has been altered."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from iikata.core.records import Score
from iikata.metrics import Metric
from iikata.stats import compare
from scripts import opened

reanalysis = opened("bench/reanalysis.py")


@pytest.fixture
def run(tmp_path):
    """A run with scores of 2 templates x 3 seeds x 15 probes x 2 samples, a probe without a number among them."""
    rng = np.random.default_rng(7)
    scores = []
    for template in "ab":
        seed_effect, probe_effect = rng.normal(0, 0.3, 3), rng.normal(0, 0.5, 15)
        for s in range(3):
            for p in range(15):
                for sample in range(2):
                    value = seed_effect[s] + probe_effect[p] + rng.normal(0, 0.2)
                    missing = (template, s, p, sample) == ("a", 0, 3, 1) or (template, s, p) == ("b", 1, 4)
                    value = float("nan") if missing else float(value)
                    scores.append(Score(template, s, template, f"p{p}", f"c{p}", sample, "m", value, "m"))
    result = compare(scores, {"m": Metric.declared("m", "higher", None, "marks", "form")}, "m")
    for folder, lines in (("score", [json.dumps(asdict(s)) for s in scores]), ("compare", [])):
        (tmp_path / folder).mkdir()
        if lines:
            (tmp_path / folder / "m.jsonl").write_text("\n".join(lines))
    (tmp_path / "compare" / "comparisons.json").write_text(json.dumps(result.to_json()))
    return tmp_path


def test_the_mixed_model_agrees_with_the_comparison(run):
    ((line, agrees),) = reanalysis.rows(run, ["m"], ["matched"])
    assert agrees, line
    assert line[3] == "3 x 14"  # the answer with one sample left counts, the one with none takes its probe along


@pytest.mark.parametrize(
    ("field", "altered", "said"),
    [
        ("difference", lambda made: made["difference"] + 2e-6, "difference"),
        ("interval", lambda made: [made["difference"] - 1e-3, made["difference"] + 1e-3], "narrower"),
        ("detail", lambda made: {"sd": {**made["detail"]["sd"], "seed": 0}}, "SE"),
        ("n_clusters", lambda made: 15, "3 x 14"),
    ],
)
def test_an_altered_comparison_is_found(run, field, altered, said):
    path = run / "compare" / "comparisons.json"
    made = json.loads(path.read_text())
    matched = next(c for c in made["comparisons"] if c["question"] == "matched")
    matched[field] = altered(matched)
    path.write_text(json.dumps(made))
    ((line, agrees),) = reanalysis.rows(run, ["m"], ["matched"])
    assert not agrees
    assert said in line[-1]
