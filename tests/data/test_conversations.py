"""Conversations are read whatever their keys are called; what cannot be trained on is counted, told or refused."""

import json

import pytest

from iikata.config import DataSettings
from iikata.core.errors import IikataError
from iikata.core.records import NOTHING, Before
from iikata.data import read, read_probes
from iikata.pipeline.signature import rows_hash

TALK = [("system", "Be short."), ("user", "Two?"), ("assistant", "red, blue"), ("user", "One?"), ("assistant", "red")]
BEFORE = Before("Be short.", (("Two?", "red, blue"),))


def turns(who="role", what="content", talk=TALK, **names):
    return [{who: names.get(role, role), what: text} for role, text in talk]


def parts(talk=TALK):
    return [
        {"role": role, "content": [{"type": "text", "text": t} for t in (text[:2], text[2:])]} for role, text in talk
    ]


def turns_of(**names):
    return [(names.get(role, role), text) for role, text in TALK]


@pytest.fixture
def dataset(tmp_path):
    def _dataset(*rows, **settings):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
        return read(DataSettings(**{"train": "rows.jsonl", "validation": 0, **settings}), tmp_path)

    return _dataset


SHAPES = {
    "messages": {"messages": turns()},
    "messages in parts": {"messages": parts()},
    "messages beside a prompt": {"prompt": "Two?", "prompt_id": "7", "messages": turns()},
    "developer and model": {"messages": turns(system="developer", assistant="model")},
    "ShareGPT": {"id": "x", "conversations": turns("from", "value", user="human", assistant="gpt")},
    "ShareGPT with its system beside": {
        "system": "Be short.",
        "conversations": turns("from", "value", TALK[1:], user="human", assistant="gpt"),
    },
    "other names": {"utterances": turns("speaker", "text", user="Human", assistant="AI")},
    "Gemini's contents": {"contents": [{"role": r, "parts": [{"text": t}]} for r, t in TALK]},
    "Alpaca with system and history": {
        "system": "Be short.",
        "history": [["Two?", "red, blue"]],
        "instruction": "One?",
        "input": "",
        "output": "red",
    },
    "prompt and completion of messages": {"prompt": turns()[:-1], "completion": turns()[-1:]},
    "prompt of messages, completion of text": {"prompt": turns()[:-1], "completion": "red"},
    "input and output of messages": {"input": turns()[:-1], "output": turns()[-1:]},
    "query, response and history": {"system": "Be short.", "history": [["Two?", "red, blue"]], "query": "One?",
                                    "response": "red"},
    "messages as JSON text": {"messages": json.dumps(turns())},
    "messages as Python prints them": {"messages": str(turns())},
    "history as JSON text": {"system": "Be short.", "history": '[["Two?", "red, blue"]]', "instruction": "One?",
                             "output": "red"},
    "Gemini's with its system beside": {"systemInstruction": {"role": "system", "parts": [{"text": "Be short."}]},
                                        "contents": [{"role": r, "parts": [{"text": t}]} for r, t in TALK[1:]]},
    "Bedrock's": {"system": [{"text": "Be short."}],
                  "messages": [{"role": r, "content": [{"text": t}]} for r, t in TALK[1:]]},
    "agents and other keys": {"utterances": [{"name": r, "text": t} for r, t in turns_of(assistant="agent")]},
    "questions with answers": {"system_prompt": "Be short.", "history": [["Two?", "red, blue"]], "question": "One?",
                               "answer": "red"},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_the_same_conversation(dataset, shape):
    (example,) = dataset(SHAPES[shape]).train
    assert (example.before, example.instruction, example.input, example.output) == (BEFORE, "One?", "", "red")
    assert [(turn.instruction, turn.output) for turn in example.turns()] == [("Two?", "red, blue"), ("One?", "red")]


def test_a_list_of_questions_is_no_conversation(dataset):
    """MT-bench's `turns` are what the user says; taken for questions and answers they would train on questions."""
    with pytest.raises(
        IikataError, match=r"found: question_id \(a number\), turns \(a list of values\)|turns \(a list of values\)"
    ):
        dataset({"question_id": 81, "turns": ["Write a story.", "Now as a poem."]})


def test_a_list_of_texts_and_pairs_in_one_are_turns(dataset):
    rows = [{"data": ["Two?", "red, blue", "One?", "red"]}, {"conversation": [{"human": "One?", "assistant": "red"}]}]
    for row, before in zip(rows, (Before("", BEFORE.turns), NOTHING), strict=True):
        (example,) = dataset(row).train
        assert (example.before, example.output) == (before, "red")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([SHAPES["ShareGPT"]], "ShareGPT conversations: 1 rows, 2.0 turns, 100% with a system prompt"),
        ([{"messages": turns()[1:3]}, {"messages": turns()}], "messages: 2 rows, 1.5 turns, 50% with a system prompt"),
        ([{"prompt": "q", "completion": "a"}], "prompts with completions: 1 rows"),
        ([{"instruction": "q", "output": "a"}], "instructions with answers: 1 rows"),
    ],
)  # fmt: skip
def test_what_was_taken_is_told_in_a_line(dataset, rows, told):
    (line,) = dataset(*rows).read_as
    assert line.startswith(f"rows.jsonl: read as {told}")


def test_the_format_can_be_named(dataset):
    row = {"instruction": "q", "output": "a", "messages": turns()}
    assert dataset(row).train[0].output == "a"
    assert dataset(row, format="messages").train[0].before == BEFORE
    odd = {"instruction": "q", "output": "a", "talk": turns()}
    assert dataset(odd, format="messages", columns={"messages": "talk"}).train[0].before == BEFORE


def test_who_does_not_answer_in_turn_is_left_out_and_counted(dataset):
    good, greeted = turns(), turns(talk=[("assistant", "Hello."), *TALK[1:]])
    twice = turns(talk=[TALK[1], TALK[3], TALK[4]])
    asked = turns(talk=[*TALK, ("user", "And?")])
    late = turns(talk=[*TALK[1:3], TALK[0], *TALK[3:]])
    found = dataset(*({"messages": m} for m in (good, greeted, twice, late, asked)))
    assert (found.counts.irregular.rows, found.counts.irregular.examples[0]) == (3, "rows.jsonl:2")
    assert (found.counts.unanswered.rows, found.counts.duplicates.rows) == (
        0,
        1,
    )  # without its question it is the first
    found = dataset({"messages": asked}, {"messages": turns(talk=TALK[1:3])})
    assert found.counts.unanswered.rows == 1
    assert [row.output for row in found.train] == ["red", "red, blue"]


@pytest.mark.parametrize(
    ("turn", "told"),
    [
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, "hold tool calls (first rows.jsonl:2)"),
        ({"role": "tool", "content": "42"}, "hold tool calls"),
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, "hold tool calls"),  # without a content at all
        ({"role": "assistant", "content": "red", "reasoning_content": "Hm."}, 'answer ("reasoning_content")'),
        ({"role": "assistant", "content": "red", "weight": 0.5}, "hold an answer of weight 0.5 (first rows.jsonl:2)"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "hold images"),
        ({"role": "user", "content": [{"type": "input_audio", "data": "x"}]}, "hold audio"),
    ],
)
def test_more_than_text_is_refused_by_name_and_count(dataset, turn, told):
    with pytest.raises(IikataError) as caught:
        dataset({"messages": turns()}, {"messages": [*turns(), turn]}, {"messages": [turn]})
    assert "rows.jsonl: of 3 rows 2 hold" in str(caught.value)
    assert told in str(caught.value)


ALPACA = {"instruction": "q", "output": "a"}


@pytest.mark.parametrize(
    ("row", "name", "bad", "told"),
    [
        ({"messages": turns()}, "images", ["a.jpg"], '1 hold images beside their text ("images") (first rows.jsonl:2)'),
        ({"messages": turns()}, "label", False, "1 hold an answer that is marked as a bad one (label: false)"),
        (ALPACA, "kto_tag", False, "marked as a bad one (kto_tag: false)"),
    ],
)  # fmt: skip
def test_a_column_that_changes_what_a_row_means_is_not_overlooked(dataset, row, name, bad, told):
    good = {**row, name: [] if isinstance(bad, list) else True}
    assert dataset(good).train
    with pytest.raises(IikataError) as caught:
        dataset(good, {**row, name: bad})
    assert told in str(caught.value)


def test_a_label_of_instructions_is_a_column_like_any_other(dataset):
    assert dataset({**ALPACA, "label": False}).train


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"conversations": turns("from", "value")[:-1], "chosen": {"from": "gpt", "value": "red"},
          "rejected": {"from": "gpt", "value": "blue"}}, {"instruction": "conversations", "output": "chosen"}),
        ({"messages": turns()[:-1], "answer": "red"}, {"instruction": "messages", "output": "answer"}),
        ({"prompt": turns()[:-1], "chosen": turns()[-1:], "rejected": turns()[-1:]},
         {"instruction": "prompt", "input": "input", "output": "chosen"}),
    ],
)  # fmt: skip
def test_an_answer_beside_its_conversation_is_pointed_at_and_read(dataset, row, columns):
    with pytest.raises(IikataError) as caught:
        dataset(row)
    line = ", ".join(f"{key}: {name}" for key, name in columns.items())
    assert f"columns: {{{line}}}" in str(caught.value)
    (example,) = dataset(row, columns=columns).train
    assert (example.before, example.instruction, example.output) == (BEFORE, "One?", "red")


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])
def test_two_shapes_in_one_file_are_told_apart(dataset, first, second):
    rows = [{"messages": turns()}, {"instruction": "q", "output": "a"}]
    names = ["messages", "instructions with answers"]
    with pytest.raises(IikataError) as caught:
        dataset(rows[first], rows[second])
    assert f"rows.jsonl:2: this row looks like {names[second]}, and the first" in str(caught.value)
    assert f"was read as {names[first]}. Give each shape a file of its own" in str(caught.value)


@pytest.mark.parametrize("no", [{"weight": 0}, {"weight": 0.0}, {"train": False}])
def test_answers_that_are_not_to_be_trained_are_counted_and_keep_their_marks(dataset, no):
    early, late, every, asked = (
        [{**turn, **(no if turn["content"] in marked else {"weight": 1, "train": True})} for turn in turns()]
        for marked in (["red, blue"], ["red"], ["red, blue", "red"], ["Two?", "One?"])
    )
    found = dataset(*({"messages": m} for m in (early, late, every)), {"messages": asked[1:]})
    assert (found.counts.marked.rows, found.counts.marked.examples) == (2, ("rows.jsonl:1", "rows.jsonl:2"))
    why = {why: left.examples for why, left in found.irregular.items()}
    assert why == {"every answer is marked as not to be trained": ("rows.jsonl:3",)}
    first, cut, plain = found.train
    assert (first.before, first.output, first.marked) == (BEFORE, "red", (0,))
    assert [turn.output for turn in first.turns()] == ["red"]
    assert (cut.before, cut.output, cut.marked) == (Before("Be short."), "red, blue", ())  # it ends before the mark
    assert (plain.marked, [turn.output for turn in plain.turns()]) == ((), ["red, blue", "red"])


def test_a_mark_is_part_of_what_a_run_is_signed_by_and_not_of_a_rows_content(dataset):
    bare, marked = turns(), [{**turn, "weight": int(turn["content"] != "red, blue")} for turn in turns()]
    (one,), (other,) = (dataset({"messages": m}).train for m in (bare, marked))
    assert one.id == other.id
    assert rows_hash([one]) != rows_hash([other])


def test_several_system_messages_are_joined_and_counted_that_of_a_column_too(dataset):
    twice = [{"role": "system", "content": "Be kind."}, *turns()]
    beside = [("Be kind.", turns()[1:]), ("Be short.", turns()), ("Be kind.", turns())]
    found = dataset({"messages": twice}, *({"system": system, "messages": talk} for system, talk in beside))
    assert found.counts.systems.examples == ("rows.jsonl:1",)
    assert found.counts.duplicates.examples == ("rows.jsonl:4",)  # joined it says what the first says
    assert [row.before.system for row in found.train] == ["Be kind.\n\nBe short.", "Be kind.", "Be short."]


def test_a_conversation_without_a_turn_is_left_out_and_counted(dataset):
    found = dataset({"messages": turns()}, {"messages": []}, {"messages": None})
    assert (len(found.train), found.counts.irregular.examples) == (1, ("rows.jsonl:2", "rows.jsonl:3"))


@pytest.mark.parametrize("name", ["utterances", "chat"])
def test_one_of_a_column_with_another_name_is_counted_too(dataset, name):
    found = dataset({name: turns()}, {name: []})
    assert (len(found.train), found.counts.irregular.examples) == (1, ("rows.jsonl:2",))


def test_one_of_a_table_is_counted_too(tmp_path):
    cell = json.dumps(turns()).replace('"', '""')
    (tmp_path / "rows.csv").write_text(f'messages,n\n"{cell}",1\n[],2\n', encoding="utf-8")
    found = read(DataSettings(train="rows.csv", validation=0), tmp_path)
    assert (len(found.train), found.counts.irregular.examples) == (1, ("rows.csv:3",))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"messages": "hello"}, "rows.jsonl:2: messages: plain text was seen; a list of turns is read"),
        ({"messages": {"turn": 1}}, "rows.jsonl:2: messages: an object was seen; a list of turns is read"),
        ({"messages": [{"role": "user"}]}, "rows.jsonl:2: messages, turn 1: an object was seen; a turn is"),
        ({"talk": 1}, 'rows.jsonl:2: no column "messages" with a list of turns; found: talk'),
    ],
)
def test_a_later_row_that_is_none_is_told_by_what_it_holds(dataset, row, told):
    with pytest.raises(IikataError) as caught:
        dataset({"messages": turns()}, row)
    assert told in str(caught.value)


def test_text_where_the_turns_belong_is_told_as_text(dataset):
    with pytest.raises(IikataError, match=r"rows\.jsonl:1: messages: plain text was seen; a list of turns is read"):
        dataset({"messages": "hello"}, format="messages")


@pytest.mark.parametrize("mark", [{"weight": "0"}, {"weight": "0.0"}, {"train": "False"}])
def test_a_mark_may_be_text(dataset, mark):
    (row,) = dataset(
        {"messages": [{**turn, **mark} if turn["content"] == "red, blue" else turn for turn in turns()]}
    ).train
    (plain,) = dataset(
        {"messages": [{**turn, "weight": int(turn["content"] != "red, blue")} for turn in turns()]}
    ).train
    assert rows_hash([row]) == rows_hash([plain])


def test_a_number_in_a_turn_is_its_text(dataset):
    assert dataset({"messages": turns(talk=[("user", 6), ("assistant", 42)])}).train[0].output == "42"


def test_a_table_may_hold_conversations(tmp_path):
    cell = json.dumps(turns()).replace('"', '""')
    (tmp_path / "rows.csv").write_text(f'messages,n\n"{cell}",1\n', encoding="utf-8")
    assert read(DataSettings(train="rows.csv", validation=0), tmp_path).train[0].before == BEFORE


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"messages": "[{'role': 'user'} {'role'"}, "messages: \"[{'role': 'user'} {'role'\" begins as a list, and is"),
        ({"chat": {"turn_1": {"Human": "q", "Bot": "a"}}}, "A conversation is a list of turns: {"),
        ({"text": "### Human: Two?### Assistant: red"}, '"text" seems to hold a whole conversation'),
        ({"text": "<|im_start|>user\nTwo?"}, '"text" seems to hold a whole conversation'),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages, turn 1: role 'narrator' is unknown"),
        ({"messages": [{"role": "user", "content": "x"}, 7]}, "messages, turn 2: a number was seen; a turn is"),
        ({"message_id": "m", "role": "prompter", "text": "q"}, "one turn of a conversation (message_id, role, text)"),
        ({"instruction": "q", "output": "a", "history": True}, "history: true or false was seen; history is a list"),
        ({"instruction": "q", "output": "a", "history": ["x"]}, "history: plain text was seen; history is a list"),
        ({"instruction": "q", "output": "a", "history": [["x"]]}, "history: a list of 1 was seen; history is a list"),
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_told_with_its_place(dataset, row, told):
    with pytest.raises(IikataError) as caught:
        dataset(row)
    assert told in str(caught.value)


def test_system_messages_are_kept_dropped_or_refused(dataset):
    row = {"messages": turns()}
    assert dataset(row, system="keep").train[0].before.system == "Be short."
    assert dataset(row, system="drop").train[0].before == Before("", BEFORE.turns)
    with pytest.raises(IikataError, match=r"rows.jsonl:1: a system message, and data.system is refuse"):
        dataset(row, system="refuse")


def test_what_was_said_before_is_part_of_a_rows_content(dataset):
    one, other = {"messages": turns()}, {"messages": turns(talk=TALK[3:])}
    found = dataset(one, other)
    assert found.counts.duplicates.rows == 0
    assert len({row.id for row in found.train}) == 2


def probes(folder, *rows):
    (folder / "probes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_probes(folder / "probes.jsonl")


def test_a_probe_may_be_a_conversation(tmp_path):
    whole, split = probes(
        tmp_path,
        {"messages": turns()[:-1], "references": ["red"]},
        {"instruction": "One?", "system": "Be short.", "history": [["Two?", "red, blue"]]},
    )
    assert whole.before == split.before == BEFORE
    assert whole.instruction == split.instruction == "One?"
    assert whole.question == "[system] Be short.\n[user] Two?\n[assistant] red, blue\n[user] One?"


@pytest.mark.parametrize("talk", [turns(), turns()[:1], []])
def test_a_probe_ends_with_a_question(tmp_path, talk):
    with pytest.raises(IikataError, match=r"probes.jsonl:1: messages: .*the last message is the user's"):
        probes(tmp_path, {"messages": talk})


def test_a_probes_question_is_not_empty(tmp_path):
    with pytest.raises(IikataError, match=r"probes.jsonl:1: messages: the last message is empty"):
        probes(tmp_path, {"messages": [*turns()[:-2], {"role": "user", "content": " "}]})


@pytest.mark.parametrize("beside", [{"instruction": "Three?"}, {"system": "Be long."}, {"history": [["a", "b"]]}])
def test_a_probe_is_a_conversation_or_its_parts(tmp_path, beside):
    with pytest.raises(IikataError, match=r'jsonl:1: "messages" is the whole conversation, and "\w+" is there too'):
        probes(tmp_path, {"messages": turns()[:-1], **beside})


def test_system_messages_of_probes_are_treated_as_those_of_rows(tmp_path):
    (probe,) = probes(tmp_path, {"messages": turns()[:-1]})
    assert probe.before == BEFORE
    assert read_probes(tmp_path / "probes.jsonl", "keep") == [probe]
    assert read_probes(tmp_path / "probes.jsonl", "drop")[0].before == Before("", BEFORE.turns)
    with pytest.raises(IikataError, match=r"probes.jsonl:1: a system message, and data.system is refuse"):
        read_probes(tmp_path / "probes.jsonl", "refuse")


def test_a_format_that_is_named_tells_the_columns_it_read(dataset):
    found = dataset({"messages": turns()}, format="sharegpt")
    assert found.read_as[0].endswith("(columns messages)")
    assert found.unused == ()


def test_a_column_alone_in_tsv_may_hold_commas(tmp_path):
    (tmp_path / "rows.tsv").write_text(f"messages\n{turns()!r}\n", encoding="utf-8")
    assert read(DataSettings(train="rows.tsv", validation=0), tmp_path).train[0].before == BEFORE
