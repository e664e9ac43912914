"""Every chosen cell's answer is streamed as it grows; one question at a time, and none for nobody."""

import asyncio
import json
import time
from dataclasses import replace

import pytest
from served import HOSTILE, StandIn, StandInQueue, posting

from iikata.core.errors import IikataError
from iikata.pipeline import Pipeline
from iikata.serve.asking import _events
from iikata.serve.question_queue import LONGEST, GoneError, Question, QuestionQueue
from iikata.serve.run import ServedRun
from tiny_experiment import experiment

CHOSEN = {"instruction": "Why?", "arm": ["plain.s0", "base"], "template": ["plain"], "samples": "2"}


def events(answer):
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(event.removeprefix("data: ")) for event in answer.text.strip().split("\n\n")]


def ask(client, **changes):
    return client.post("/ask/1", data={**CHOSEN, **changes}, headers=posting())


def waited(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_every_chosen_cell_answers_and_the_end_is_told(client, queue):
    said = events(ask(client))
    last = {(one["cell"], one["sample"]): (one["text"], one["finish"]) for one in said if "cell" in one}
    assert last == {(cell, s): ("Rome.", "stop") for cell in ("plain.s0@plain", "base@plain") for s in range(2)}
    assert said[-1] == {"state": "ended"}
    question = queue.asked[0]
    assert (question.instruction, question.input, question.samples) == ("Why?", "", 2)
    assert (question.arms, question.templates) == (["plain.s0", "base"], ["plain"])


def test_text_grows(client, queue):
    queue.model = StandIn(["Ro", "me", "."], pause=0.15)
    said = [one["text"] for one in events(ask(client, arm="base", samples="1")) if "cell" in one]
    assert said == ["Ro", "Rome", "Rome."]


def test_invisible_characters_of_an_answer_are_written_out(client, queue):
    queue.model = StandIn(HOSTILE)
    text = events(ask(client, arm="base", samples="1"))[-2]["text"]
    assert "⟨U+202E⟩" in text
    assert "\u202e" not in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"instruction": "  "}, "no question"),
        ({"arm": "plain.s9"}, "plain.s0"),
        ({"arm": []}, "at least one arm"),
        ({"template": "../plain"}, "at least one template"),
        *(({"samples": wrong}, "1 to 10") for wrong in ("0", "11", "²", "10000")),
    ],
)
def test_a_wrong_question_is_told_why(client, queue, changes, said):
    answer = ask(client, **changes)
    assert answer.status_code == 400
    assert said in answer.text
    assert queue.asked == []


def test_a_japanese_page_refuses_and_fails_in_japanese(client, queue):
    client.headers["accept-language"] = "ja,en;q=0.5"
    assert ask(client, samples="11").text == "サンプル数は 1〜10 です。"
    assert client.get("/ask/9").text == "この番号の実行はありません。"
    queue.model = IikataError("--port 1: taken. Give another, or none for any that is free.")
    assert "別の番号を指定するか" in events(ask(client))[-1]["message"]


def test_line_breaks_of_a_form_are_the_models(client, queue):
    ask(client, instruction="a\r\nb", input="c\r\nd", system="e\r\nf")
    asked = queue.asked[0]
    assert (asked.instruction, asked.input, asked.system) == ("a\nb", "c\nd", "e\nf")


@pytest.mark.parametrize(
    ("fault", "said"),
    [(IikataError("model: no such\u202e folder."), "model: no such⟨U+202E⟩ folder."), (KeyError("x"), "KeyError: 'x'")],
)
def test_what_goes_wrong_is_told_and_the_next_question_is_answered(client, queue, fault, said):
    model, queue.model = queue.model, fault
    assert events(ask(client))[-1] == {"state": "failed", "message": said}
    queue.model = model
    assert events(ask(client))[-1] == {"state": "ended"}


def asked(run, queue):
    question = Question(ServedRun(run), "Why?", "", ["base"], ["plain"], 1)
    assert queue.put(question)
    return question


def test_questions_wait_for_each_other_and_a_full_line_takes_no_more(run):
    queue = StandInQueue(StandIn(["word "] * 1000, pause=0.02))
    line = [asked(run, queue) for _ in range(LONGEST)]
    assert waited(lambda: line[0].begun)
    assert [queue.ahead(one) for one in line] == list(range(LONGEST))
    assert not line[1].begun
    assert not queue.put(replace(line[0]))
    queue.cancel_all()
    assert waited(lambda: all(one.ended for one in line))
    assert [one.begun for one in line] == [True] + [False] * (LONGEST - 1)


def test_a_question_that_nobody_listens_to_ends_and_the_next_begins(run):
    queue = StandInQueue(StandIn(["word "] * 1000, pause=0.02))
    first, second = asked(run, queue), asked(run, queue)

    async def leave():
        stream = _events(first, queue)
        assert "data:" in await anext(stream)
        await stream.aclose()

    asyncio.run(leave())
    assert first.gone
    assert waited(lambda: first.ended and second.begun)
    queue.cancel_all()
    with pytest.raises(GoneError):
        first.emit(("base@plain", 0), "late", "")


@pytest.mark.long
def test_a_real_model_answers_the_same_after_a_question_that_was_left(tmp_path, llama_folder):
    train = {"seeds": [0], "epochs": 1, "batch_size": 4, "cutoff_len": 200, "lora": {"r": 2}}
    Pipeline(experiment(tmp_path, llama_folder, train=train), tmp_path / "run").run("train", True)
    run, queue = ServedRun(tmp_path / "run"), QuestionQueue()

    def answered(tokens=10_000):
        """Return each row's last text; the asker leaves after so many tokens."""
        question = Question(run, "Name a colour.", "", list(run.adapters()), run.templates(), 1)
        said, keep = [], question.emit

        def emit(*row):
            said.append(row)
            question.gone = len(said) >= tokens
            keep(*row)

        question.emit = emit
        assert queue.put(question)
        assert waited(lambda: question.ended, 60)
        assert question.error is None
        for key in {key for key, _, _ in said}:
            lengths = [len(text) for row, text, _ in said if row == key]
            assert lengths == sorted(lengths), "a text only grows"
        return {key: text for key, text, finish in said if finish}

    all_rows = answered()
    assert len(all_rows) == 6
    assert len(answered(tokens=7)) < 6
    assert answered() == all_rows
