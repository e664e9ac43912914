"""Any factor, on scores alone: levels as they are, the best of each, averages, mixtures; and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from made_scores import NUMBER, made, normal

from iikata.cli import main
from iikata.core.errors import IikataError
from iikata.core.records import Gate, Score, plain
from iikata.stats import compare
from iikata.stats.pairing import choosing_third

CLUSTERS = [f"p{p:03d}" for p in range(30)]
LR = "train.learning_rate"


def variant(name, template, levels, mean, S=5, base=0.0, rng=0, prompts=(), noise=0.02):
    """Return a variant's scores under its own template, and under others at a cost of 0.3."""
    tables = {
        p: normal(S, 30, mean - 0.3 * (p not in template.split("|")), noise, noise, rng) for p in (template, *prompts)
    }
    scores = made({(name, p): table for p, table in tables.items()}, "m")
    return [replace(score, template=template, levels=levels) for score in scores]


def grid(means, S=5, **more):
    """Return scores of templates x learning rates, each with its own mean."""
    scores = []
    for i, ((template, rate), mean) in enumerate(means.items()):
        scores += variant(f"{template}+lr{rate}", template, {LR: rate}, mean, S, rng=i, **more)
    return scores


def compared(scores, margin=0.1, **more):
    return compare(scores, {"m": NUMBER}, "m", {"m": margin}, **more)


def matched(result):
    return {
        (c.treatment["trained_on"], c.control["trained_on"]): c for c in result.comparisons if c.question == "matched"
    }


def test_a_single_factor_is_found_and_its_sides_say_their_levels():
    scores = grid({("alpaca", "1e-4"): 0.2, ("alpaca", "3e-4"): 0.9}) + made(
        {(None, "alpaca"): normal(1, 30, 0.1)}, "m"
    )
    result = compared(scores)
    (one,) = matched(result).values()
    assert one.verdict == "MATTERS"
    assert one.treatment["levels"] == {LR: "1e-4"}
    assert one.treatment["variant"] == "alpaca+lr1e-4"
    assert result.verdict["factor"] == LR
    assert result.verdict["factor_matters"] == "MATTERS"
    assert result.verdict["template_matters"] == "NOT_ASSESSABLE"
    assert f"{LR} matters" in result.verdict["sentence_en"]
    assert result.verdict["lora_needed"] == "YES"


def test_templates_alone_are_what_they_were():
    scores = made({("A", "A"): normal(5, 30, 0.5, rng=1), ("B", "B"): normal(5, 30, 0.9, rng=2)}, "m")
    result = compared(scores)
    assert result.verdict["factor"] == "template"
    assert result.verdict["template_matters"] == result.verdict["factor_matters"] == "MATTERS"
    assert "variant" not in result.comparisons[0].treatment


def test_variants_without_levels_are_compared_by_name():
    scores = variant("mine", "alpaca", {}, 0.9, rng=1) + variant("theirs", "alpaca", {}, 0.2, rng=2)
    result = compared(scores)
    assert result.verdict["factor"] == "variant"
    assert list(matched(result)) == [("mine", "theirs")]


def test_where_more_than_the_factor_varies_nothing_is_guessed():
    means = {(t, r): 0.5 for t in ("alpaca", "native") for r in ("1e-4", "3e-4")}
    with pytest.raises(IikataError, match=f"more than template varies: {LR}.*best.*average.*each"):
        compared(grid(means))


MEANS = {
    ("alpaca", "1e-4"): 0.2, ("alpaca", "3e-4"): 0.8, ("alpaca", "1e-3"): 0.5,
    ("native", "1e-4"): 0.1, ("native", "3e-4"): 0.3, ("native", "1e-3"): 0.7,
}  # fmt: skip


def test_average_is_the_mean_over_the_other_settings():
    result = compared(grid(MEANS, noise=0.0), others="average")
    (one,) = matched(result).values()
    tables = {key: normal(5, 30, mean, 0.0, 0.0, i) for i, (key, mean) in enumerate(MEANS.items())}
    levels = [
        np.mean([table for (t, _), table in tables.items() if t == name], axis=0) for name in ("alpaca", "native")
    ]
    assert one.difference == pytest.approx((levels[0] - levels[1]).mean(), abs=1e-12)
    assert one.treatment["levels"] == {"template": "alpaca"}
    assert one.treatment["variant"] is None


def test_average_refuses_a_grid_with_holes():
    scores = grid({key: mean for key, mean in MEANS.items() if key != ("native", "1e-3")})
    with pytest.raises(IikataError, match=f"template native lacks 1 of them, the first is {LR} 1e-3"):
        compared(scores, others="average")
    unset = grid(MEANS, noise=0.0) + variant("own", "alpaca", {"train.epochs": "2"}, 0.5)
    with pytest.raises(
        IikataError, match=rf"template native lacks 1 of them, the first is {LR} \(not set\), train.epochs 2\."
    ):
        compared(unset, others="average")


def test_best_is_chosen_on_other_seeds_and_clusters_than_it_is_tested_on():
    scores = grid(MEANS, S=6)
    result = compared(scores, others="best", choosing_seeds=(0, 1))
    (pair,) = matched(result)
    one = matched(result)[pair]
    assert pair == ("alpaca+lr3e-4", "native+lr1e-3")
    assert one.treatment["seeds"] == [2, 3, 4, 5]
    assert one.n_clusters == 30 - choosing_third(CLUSTERS).sum() == 20
    assert one.detail["choosing"]["alpaca"].keys() == {"alpaca+lr1e-4", "alpaca+lr3e-4", "alpaca+lr1e-3"}
    assert one.detail["best_at_the_edge_of_the_grid"] == ["native+lr1e-3"]
    assert any("edge of the grid: native+lr1e-3" in warning for warning in result.warnings)
    # What is tested decides nothing of the choice: other numbers there, the same choice.
    third = {name for name, there in zip(CLUSTERS, choosing_third(CLUSTERS), strict=True) if there}

    def turned(s: Score) -> Score:
        return s if s.seed in (0, 1) and s.cluster in third else replace(s, value=-s.value)

    assert matched(compared(map(turned, scores), others="best", choosing_seeds=(0, 1))).keys() == {pair}


def test_best_passes_over_a_variant_of_which_an_adapter_failed():
    dead = Gate("live_adapter", "alpaca+lr3e-4.s5", False, "it equals the base")
    result = compared(grid(MEANS, S=6), others="best", choosing_seeds=(0, 1), gates=[dead])
    assert list(matched(result)) == [("alpaca+lr1e-3", "native+lr1e-3")]


@pytest.mark.parametrize(("S", "seeds"), [(6, (0,)), (4, (0, 1)), (6, (0, 9))])
def test_best_refuses_too_few_seeds(S, seeds):
    with pytest.raises(IikataError, match=r"chooses on 2 seeds or more and tests on 3 others or more"):
        compared(grid(MEANS, S=S), others="best", choosing_seeds=seeds)


def test_each_explores_and_says_no_verdict():
    result = compared(grid(MEANS), others="each", factor=LR)
    assert len(matched(result)) == 6  # three rates, two templates
    assert all(c.detail["exploratory"] for c in result.comparisons if c.question == "matched")
    assert {c.detail["others"]["template"] for c in matched(result).values()} == {"alpaca", "native"}
    assert result.verdict["factor_matters"] == "NOT_ASSESSABLE"
    assert "is not summed up: its 6 comparisons" in result.verdict["sentence_en"]
    assert "個の比較は参考です" in result.verdict["sentence_ja"]


def test_each_holds_the_best_of_all_variants_against_the_base():
    base = made({(None, t): normal(1, 30, 0.0, 0.0) for t in ("alpaca", "native")}, "m")
    result = compared(grid(MEANS) + base, others="each")
    assert result.verdict["lora_template"] == "alpaca+lr3e-4"  # the best of all six, whichever group comes first
    asked = [c.treatment["trained_on"] for c in result.comparisons if c.question == "tuned_vs_best_base"]
    assert sorted(asked) == sorted(f"{t}+lr{r}" for t, r in MEANS)


def test_a_mixture_is_held_against_each_of_its_templates():
    scores = variant("alpaca", "alpaca", {}, 0.9, prompts=("native",), rng=1)
    scores += variant("native", "native", {}, 0.8, prompts=("alpaca",), rng=2)
    mixed = made({("mixed", p): normal(5, 30, 0.7, 0.02, 0.02, i) for i, p in enumerate(("alpaca", "native"))}, "m")
    scores += [replace(s, template="alpaca|native") for s in mixed]
    result = compared(scores)
    asked = [(c.treatment["trained_on"], c.treatment["prompted_with"], c.control["trained_on"]) for c in result.comparisons if c.question == "mixture"]  # fmt: skip  # noqa: E501
    assert asked == [("mixed", "alpaca", "alpaca"), ("mixed", "native", "native")]
    crossed = {c.treatment["trained_on"] for c in result.comparisons if c.question == "mismatch"}
    assert crossed == {"alpaca", "native"}


def test_what_cannot_be_told_apart_is_refused():
    scores = variant("one", "alpaca", {LR: "1e-4"}, 0.5) + variant("two", "alpaca", {LR: "1e-4"}, 0.5)
    scores += variant("three", "alpaca", {LR: "3e-4"}, 0.5)
    with pytest.raises(IikataError, match='"two" and "one" have the same levels'):
        compared(scores)


def test_a_factor_that_does_not_vary_is_refused_by_name():
    with pytest.raises(IikataError, match=f'"train.epochs" does not vary.*{LR}'):
        compared(grid({("alpaca", "1e-4"): 0.2, ("alpaca", "3e-4"): 0.9}), factor="train.epochs")


def test_the_command_asks_about_a_factor_and_begins_with_the_short_answers(tmp_path, capsys):
    path = tmp_path / "scores.jsonl"
    path.write_text("".join(json.dumps(plain(score)) + "\n" for score in grid(MEANS, S=6)), encoding="utf-8")
    asked = ["compare", "--scores", str(path), "--metric", "m", "--margin", "0.1"]
    assert main(asked) == 1
    assert "more than template varies" in capsys.readouterr().err
    assert main([*asked, "--others", "best", "--choosing-seeds", "0", "1"]) == 0
    first, _, _, advice = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(str(path))][:4]
    assert first.startswith("Does the template matter? Yes: alpaca+lr3e-4 beats native+lr1e-3 by ")
    assert advice.startswith("Train with alpaca+lr3e-4, not native+lr1e-3.")
    assert main([*asked, "--factor", LR, "--others", "average", "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert (verdict["factor"], verdict["factor_matters"]) == (LR, "MATTERS")
