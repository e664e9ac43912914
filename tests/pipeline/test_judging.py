"""The run's judge compares answers with the base's under the same template, and says how far to believe it."""

import json
import shutil

import pytest

from iikata.core.errors import IikataError
from iikata.metrics import Context
from iikata.metrics.leakage import without_leaks
from iikata.pipeline import Pipeline, Warned
from iikata.templates import TEMPLATES
from judge_stub import always_first, serving
from tiny_experiment import experiment, values

KEY = "not-for-any-file"


@pytest.fixture(scope="module")
def stub():
    with serving() as server:
        yield server


def declared(folder, model, url):
    score = values(model)["score"] | {"judge": {"url": url, "model": "stub-1"}}
    return experiment(folder, model, score=score, compare={"margin": {"nll": 0.02, "judge": 0.1}})


@pytest.fixture(scope="module")
def judged(tmp_path_factory, llama_folder, stub):
    """A judged run and what was told; tests read it and never write to it."""
    folder, told = tmp_path_factory.mktemp("judged"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IIKATA_JUDGE_KEY", KEY)
        Pipeline(declared(folder, llama_folder, stub.url()), folder / "run", told.append).run()
    return folder / "run", [event.message for event in told if isinstance(event, Warned)]


@pytest.fixture
def again(tmp_path, llama_folder, stub, judged):
    """Score a copy of the judged run again, with the replies so far or without them."""
    run = shutil.copytree(judged[0], tmp_path / "run")

    def score(says, with_replies=False):
        if not with_replies:
            (run / "score" / "judge_cache.jsonl").unlink()
        stub.says, told = says, []
        Pipeline(declared(judged[0].parent, llama_folder, stub.url()), run, told.append).run("score")
        kept = json.loads((run / "score" / "judge.json").read_text())
        return kept, [event.message for event in told if isinstance(event, Warned)]

    score.run = run
    return score


def test_a_longer_answer_wins_over_the_base_of_its_own_template(judged, stub):
    run, _ = judged
    about = Context({name: TEMPLATES[name].template_literals() for name in ("alpaca_short", "plain")})
    sizes = {}
    for path in (run / "generate").glob("*.jsonl"):
        for a in map(json.loads, path.read_text().splitlines()):
            seen = without_leaks(a["text"], about).split("\n\n")[0]  # as far as the stub reads
            sizes[a["trained_on"], a["seed"], a["prompted_with"], a["probe"], a["sample"]] = len(seen)
    scores = [json.loads(line) for line in (run / "score" / "judge.jsonl").read_text().splitlines()]
    assert len(scores) == len(sizes)
    for one in scores:
        place = (one["prompted_with"], one["probe"], one["sample"])
        mine, base = (sizes[*who, *place] for who in ((one["trained_on"], one["seed"]), (None, None)))
        assert one["value"] == (mine > base) + (mine == base) / 2
    assert {one["value"] for one in scores if one["trained_on"] is None} == {0.5}
    assert {one["value"] for one in scores} > {0.5}
    assert {request["model"] for request in stub.requests} == {"stub-1"}


def test_only_cells_prompted_alike_are_compared_and_the_report_shows_them(judged):
    run, _ = judged
    made = json.loads((run / "compare" / "comparisons.json").read_text())["comparisons"]
    of_judge = [c for c in made if c["metric"] == "judge"]
    assert {c["question"] for c in of_judge} == {"tuned_vs_base", "noise_floor"}
    assert {c["detail"]["margin"] for c in of_judge if c["question"] == "tuned_vs_base"} == {0.1}
    assert "judge" in (run / "report" / "report.md").read_text()


def test_the_key_is_sent_and_never_written(judged, stub):
    run, told = judged
    assert f"Bearer {KEY}" in {request["key"] for request in stub.requests}
    assert not any(KEY.encode() in path.read_bytes() for path in run.rglob("*") if path.is_file())
    assert not any(KEY in message for message in told)


def test_the_flip_rate_is_kept_and_told(judged):
    run, told = judged
    kept = json.loads((run / "score" / "judge.json").read_text())
    assert kept["signature"].startswith("judge|model:stub-1|")
    assert kept["unread"] == 0
    assert 0 <= kept["flip_rate"] <= 1
    assert any(message.startswith(f"judge: in {kept['flip_rate']:.0%} of the pairs") for message in told)


def test_a_judge_of_positions_is_not_to_be_believed(again):
    kept, told = again(always_first)
    assert kept["flip_rate"] == 1
    assert any("do not believe it" in message for message in told)


def test_from_three_flips_in_ten_on_a_judge_is_not_to_be_believed(again):
    kept, told = again(lambda *two: always_first(*two) if len("".join(two)) % 2 else '{"winner": "tie"}')
    assert 0.3 < kept["flip_rate"] < 1
    assert any("do not believe it" in message for message in told)


def test_replies_that_cannot_be_read_are_counted(again):
    kept, told = again(lambda first, second: "I cannot say.")
    assert kept["flip_rate"] is None
    assert kept["unread"] > 0
    assert any(f"{kept['unread']} pairs without a readable reply" in message for message in told)


def test_no_reply_is_asked_for_twice(judged, stub, again):
    asked, scores = len(stub.requests), (judged[0] / "score" / "judge.jsonl").read_bytes()
    again(always_first, with_replies=True)
    assert len(stub.requests) == asked
    assert (again.run / "score" / "judge.jsonl").read_bytes() == scores


@pytest.mark.parametrize("url", ["localhost:8000/v1", "http://me:secret@host/v1"])
def test_an_address_that_is_none_or_holds_a_password_is_refused(tmp_path, llama_folder, url):
    with pytest.raises(IikataError, match=r"score\.judge\.url"):
        declared(tmp_path, llama_folder, url)


def test_a_judge_without_a_model_and_a_misspelt_setting_are_told(tmp_path, llama_folder):
    score = values(llama_folder)["score"] | {"judge": {"url": "http://h/v1", "modell": "m"}}
    with pytest.raises(
        IikataError, match=r'(?s)score\.judge\.model is missing.*did you mean "model"|did you mean "model"'
    ):
        experiment(tmp_path, llama_folder, score=score)
