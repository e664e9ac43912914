"""The judge, against a stub of the endpoint on this machine."""

import json
import math
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from said import asked, said

from iikata.core.errors import IikataError
from iikata.metrics import Context
from iikata.metrics.endpoint import trusted
from iikata.metrics.judge import Judge, Judgement
from judge_stub import Stub, always_first, serving


@pytest.fixture
def stub() -> Iterator[Stub]:
    with serving() as server:
        yield server


def made(stub: Stub, tmp_path: Path) -> Judge:
    return Judge(stub.url(), "stub-1", tmp_path / "score" / "judge_replies.jsonl", api_key="k")


def test_a_win_is_one_that_both_orders_agree_on(stub: Stub, tmp_path: Path) -> None:
    judge = made(stub, tmp_path)
    assert judge.compare_answers(asked(), "long answer", "short") == Judgement("a", False)
    assert judge.compare_answers(asked(), "short", "long answer") == Judgement("b", False)
    request = stub.requests[0]
    assert (request["path"], request["key"], request["model"]) == ("/v1/chat/completions", "Bearer k", "stub-1")
    assert request["temperature"] == 0


def test_the_certificates_are_read_once(stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, load = [], ssl.SSLContext.load_verify_locations
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *given: reads.append(1) or load(*given))
    trusted.cache_clear()
    made(stub, tmp_path).compare_answers(asked(), "long answer", "short")
    assert len(stub.requests) == 2
    assert len(reads) == 1


def test_a_judge_of_positions_makes_a_tie_and_a_flip(stub: Stub, tmp_path: Path) -> None:
    stub.says = always_first
    assert made(stub, tmp_path).compare_answers(asked(), "x", "y") == Judgement("tie", True)


def test_a_tie_in_both_orders_is_no_flip(stub: Stub, tmp_path: Path) -> None:
    stub.says = lambda first, second: 'Both are fine. {"winner": "tie"}'
    assert made(stub, tmp_path).compare_answers(asked(), "x", "y") == Judgement("tie", False)


def test_of_several_the_last_word_counts(stub: Stub, tmp_path: Path) -> None:
    stub.says = lambda first, second: '{"winner": "1"} was my first thought. {"winner": "tie"}'
    assert made(stub, tmp_path).compare_answers(asked(), "x", "y") == Judgement("tie", False)


def test_template_text_is_stripped_and_equal_answers_are_not_asked_about(stub: Stub, tmp_path: Path) -> None:
    judge = made(stub, tmp_path)
    context = Context({"mine": ("ANSWER BELOW",)})
    assert judge.compare_answers(asked(), "Paris\nANSWER BELOW", "Paris</s>", context) == Judgement("tie", None)
    assert stub.requests == []
    judge.compare_answers(asked(), "Paris ANSWER BELOW", "Rome", context)
    assert "ANSWER BELOW" not in json.dumps(stub.requests)


def test_replies_are_kept_and_a_torn_line_is_asked_again(stub: Stub, tmp_path: Path) -> None:
    made(stub, tmp_path).compare_answers(asked(), "long", "x")
    cache = tmp_path / "score" / "judge_replies.jsonl"
    whole = cache.read_bytes()
    cache.write_bytes(whole[:-5])
    assert made(stub, tmp_path).compare_answers(asked(), "long", "x") == Judgement("a", False)
    assert len(stub.requests) == 3
    assert cache.read_bytes() == whole
    made(stub, tmp_path).compare_answers(asked(), "long", "x")
    assert len(stub.requests) == 3


def test_scores_are_win_shares_over_the_base_under_the_same_template(stub: Stub, tmp_path: Path) -> None:
    answers = [
        said("short", trained_on=None, seed=None),
        said("much longer"),
        said("s", seed=1),
        said("short", seed=2),
    ]
    judged = made(stub, tmp_path).against_base(answers, {"p1": asked()}, Context())
    assert [score.value for score in judged.scores] == [0.5, 1.0, 0.0, 0.5]
    assert (judged.flip_rate, judged.unread) == (0.0, 0)
    score = judged.scores[1]
    assert (score.trained_on, score.seed, score.prompted_with, score.cluster) == ("alpaca", 0, "alpaca", "c1")
    assert (score.metric, score.signature.split("|")[:2]) == ("judge", ["judge", "model:stub-1"])


def test_flips_and_unreadable_replies_are_counted(stub: Stub, tmp_path: Path) -> None:
    stub.says = lambda first, second: "I cannot say" if "odd" in first + second else always_first(first, second)
    answers = [said("base", trained_on=None, seed=None), said("one"), said("two", seed=1), said("odd", seed=2)]
    judged = made(stub, tmp_path).against_base(answers, {"p1": asked()}, Context())
    assert [score.value for score in judged.scores[:3]] == [0.5, 0.5, 0.5]
    assert math.isnan(judged.scores[3].value)
    assert (judged.flip_rate, judged.unread) == (1.0, 1)


def test_an_answer_without_its_base_is_refused(stub: Stub, tmp_path: Path) -> None:
    with pytest.raises(IikataError, match=r"alpaca\.s0@alpaca answered probe p1"):
        made(stub, tmp_path).against_base([said("x")], {"p1": asked()}, Context())


def test_a_busy_server_is_asked_again_and_a_refusal_is_told_at_once(
    stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    replies: list[str | int] = [503, 429, '{"winner": "1"}', '{"winner": "2"}', 401]
    stub.says = lambda first, second: replies.pop(0)
    judge = made(stub, tmp_path)
    assert judge.compare_answers(asked(), "x", "y").winner == "a"
    assert len(waits) == 2
    with pytest.raises(IikataError, match=r"401.*key right"):
        judge.compare_answers(asked(), "x", "z")
    assert len(waits) == 2
