"""A run's ratings become scores and comparisons; without any, nothing of the run changes."""

import json

import pytest

from iikata.core.errors import IikataError
from iikata.core.records import Score
from iikata.metrics import METRICS, RATED, Context
from iikata.pipeline import Pipeline, Warned
from iikata.pipeline.rating import averaged, summed
from iikata.rating import Ratings, pairs
from tiny_experiment import contents, experiment, values


@pytest.fixture
def pipeline(own, llama_folder):
    """A pipeline over a copy of a run that nobody rated; `told` holds what it warns of."""

    def made(**changes):
        return Pipeline(experiment(own, llama_folder, **changes), own / "run", made.told.append)

    made.told = []
    return made


def answers_of(pipeline):
    store = pipeline.context.store
    return [a for cell in pipeline.context.experiment.cells() for a in store.read_answers(store.answers(cell))]


def about(pipeline):
    return Context({name: template.template_literals() for name, template in pipeline.context.templates.items()})


def rate(pipeline, rater, rule, most=None):
    """Rate as the page does."""
    shown = pairs(answers_of(pipeline), pipeline.context.probes, about(pipeline).template_literals, rater, 0)[:most]
    for pair in shown:
        Ratings(pipeline.context.store.ratings).add(pair, rater, rule(pair))
    return shown


def likes_alpaca(pair):
    """The tuned answer over the base's, alpaca_short's over plain's."""
    name = {"left": pair.left.cell.arm.variant, "right": pair.right.cell.arm.variant}
    return min(name, key=lambda side: ("alpaca_short", "plain", None).index(name[side]))


def again(pipeline):
    """Do what follows ratings, and return what comparisons.json holds."""
    for stage in ("score", "compare", "report"):
        pipeline.only(stage)
    return json.loads(pipeline.context.store.comparisons.read_text())


def test_without_ratings_nothing_changes(pipeline, whole_run):
    again(pipeline())
    assert contents(pipeline().context.store.path) == contents(whole_run)
    assert not list(whole_run.glob("**/rated*"))


def test_choices_that_were_taken_back_leave_no_score_behind(pipeline, whole_run):
    one = pipeline()
    rate(one, "mia", likes_alpaca)
    again(one)
    assert one.context.store.scores("rated").is_file()
    ratings = Ratings(one.context.store.ratings)
    while ratings.undo("mia"):
        pass
    again(one)
    left = {name: text for name, text in contents(one.context.store.path).items() if "ratings" not in name}
    assert left == contents(whole_run)


def test_ratings_enter_the_comparisons_beside_every_other_metric(pipeline):
    one = pipeline()
    shown = rate(one, "mia", likes_alpaca)
    assert len(shown) > 20
    made = again(one)
    of = {name: [c for c in made["comparisons"] if c["metric"] == name] for name in RATED}
    assert {c["question"] for c in of["rated"]} == {"matched", "noise_floor"}
    assert {c["question"] for c in of["rated_base"]} == {"tuned_vs_base", "noise_floor"}
    (matched,) = (c for c in of["rated"] if c["question"] == "matched")
    sign = 1 if matched["treatment"]["trained_on"] == "alpaca_short" else -1
    assert sign * matched["difference"] > 0
    assert matched["signature"] == METRICS["rated"].signature
    report = (one.context.store.report / "report.md").read_text()
    assert "rated_base" in report


def test_a_rated_metric_may_be_named_and_be_the_primary_one(pipeline):
    score = values("x")["score"]
    named = {"primary": "rated", "metrics": [*score["metrics"], "rated"]}
    one = pipeline(score=named, compare={"margin": {"rated": 0.1}})
    with pytest.raises(IikataError, match=r"(?s)ratings\.jsonl.*Rate answers first: iikata serve"):
        again(one)
    rate(one, "mia", likes_alpaca)
    made = again(one)
    assert made["settings"]["primary"] == "rated"
    assert made["settings"]["margins"] == {"rated": 0.1}
    assert made["verdict"]["metric"] == "rated"
    assert made["verdict"]["lora_needed"] == "NOT_ASSESSABLE"


def test_a_few_ratings_are_compared_with_the_seeds_averaged_and_that_is_told(pipeline):
    one = pipeline()
    rate(one, "mia", likes_alpaca, most=6)
    made = again(one)
    (matched,) = (c for c in made["comparisons"] if (c["metric"], c["question"]) == ("rated", "matched"))
    assert (matched["n_seeds"], matched["scope"]) == (1, "these_adapters")
    assert matched["difference"] is not None
    assert not any(gate["name"] == "missing_scores" for gate in matched["gates"])
    assert any("the seeds are averaged" in warning for warning in made["warnings"])
    assert any(isinstance(event, Warned) and "the seeds are averaged" in event.message for event in pipeline.told)


def test_ratings_of_answers_that_are_no_longer_there_are_told_and_left_out(pipeline):
    one = pipeline()
    rate(one, "mia", likes_alpaca)
    path = one.context.store.ratings
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["signature"] = "another"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    one.only("score")
    (told,) = (event.message for event in pipeline.told if isinstance(event, Warned) and "ratings" in event.message)
    assert f"1 of {len(lines)} ratings" in told
    found = summed(one.context, answers_of(one))
    assert found.ratings == len(lines) - 1


def test_the_summary_of_a_run_is_none_before_anyone_rated(pipeline):
    one = pipeline()
    assert summed(one.context, answers_of(one)) is None


def score_of(template, seed, cluster, sample=0, value=1.0):
    return Score(template, seed, template, f"{cluster}-p", cluster, sample, "rated", value, "rated|v:1")


def test_three_seeds_on_ten_clusters_speak_of_the_recipe_and_what_is_not_whole_is_left_out():
    whole = [score_of(t, s, f"c{c}") for t in "ab" for s in range(3) for c in range(10)]
    assert averaged([*whole, score_of("a", 1, "c10"), score_of("b", 1, "c10")]) == (whole, None)
    less, note = averaged(whole[:-1])
    assert {score.seed for score in less} == {None}
    assert "3 seeds on 10 clusters" in note


def test_averaged_scores_are_all_there_and_each_has_a_place_of_its_own():
    found = [score_of("a", s, "c0", sample, s / 2) for s in range(3) for sample in range(2)] + [score_of("b", 0, "c0")]
    made, _ = averaged(found)
    assert [score.value for score in made] == [score.value for score in found]
    assert sorted((score.trained_on, score.sample) for score in made) == [*(("a", i) for i in range(6)), ("b", 0)]


def test_a_single_seed_stays_as_it_is():
    found = [score_of(t, 0, f"c{c}") for t in "ab" for c in range(4)]
    assert averaged(found) == (found, None)
    assert averaged([]) == ([], None)
