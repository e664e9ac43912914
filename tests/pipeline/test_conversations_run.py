"""A run on conversations: trained, asked, scored, reported and exported as they are."""

import json

import pytest

from iikata.cli import main
from iikata.core.records import Arm, Before, Cell
from iikata.pipeline import Pipeline
from iikata.pipeline.export import export
from iikata.templates import messages
from iikata.tokenize import encode_prompt
from tiny_experiment import COLOURS, experiment, values

SYSTEM = "Answer in one word."


def talk(colour, n):
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"Name colour {n}."},
            {"role": "assistant", "content": f"{colour}."},
            {"role": "user", "content": "Once more, louder."},
            {"role": "assistant", "content": f"{colour.upper()}!"},
        ]
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory, llama_folder):
    folder = tmp_path_factory.mktemp("talks")
    declared = {"train": "talks.jsonl", "validation": 4, "system": "keep"}
    made = experiment(folder, llama_folder, data=declared, templates=["alpaca_short", "native"])
    (folder / "talks.jsonl").write_text("".join(json.dumps(talk(c, n)) + "\n" for n, c in enumerate(COLOURS)))
    asked = {"id": "p0", "messages": talk("red", 77)["messages"][:-1], "references": ["RED"]}
    plain = {"id": "p1", "instruction": "Which colour is red?", "references": ["red"]}
    (folder / "probes.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (asked, plain)))
    told = []
    pipeline = Pipeline(made, folder / "run", told.append)
    pipeline.run()
    return pipeline.context, told


def test_what_was_read_is_told_and_a_system_without_a_place_is_a_warning(run):
    _, told = run
    lines = [getattr(event, "message", "") for event in told]
    assert "talks.jsonl: read as messages: 12 rows, 2.0 turns, 100% with a system prompt (columns messages)" in lines
    assert any("system_place" in line and "alpaca_short" in line for line in lines)


def test_both_answers_are_trained_and_one_template_sees_the_system_message(run):
    ctx, _ = run
    for name, rows in ctx.encoded.items():
        row = rows[0]
        counted = ctx.tokenizer.text(i for i, counts in zip(row.input_ids, row.completion_mask, strict=True) if counts)
        colour = counted.partition(".")[0]
        assert f"{colour.upper()}!" in counted
        assert (SYSTEM in ctx.tokenizer.text(row.input_ids)) == (name == "native")


def test_a_probes_conversation_is_asked_and_shown(run):
    ctx, _ = run
    prompt = ctx.tokenizer.text(ctx.prompts.ids(Cell(Arm(), "native"), ctx.probes[0]))
    assert prompt.index(SYSTEM) < prompt.index("red.") < prompt.index("Once more, louder.")
    assert "RED!" not in prompt
    page = (ctx.store.path / "report" / "report.md").read_text()
    assert "Assistant: `red.`" in page


def test_an_exported_arm_gives_the_very_ids_of_a_conversation(run, tmp_path):
    transformers = pytest.importorskip("transformers")
    ctx, _ = run
    for name, before in (
        ("native", Before(SYSTEM, (("Two?", "red."),))),
        ("alpaca_short", Before("", (("Two?", "red."),))),
    ):
        export(ctx, Arm(name, 0).name, tmp_path / name, base="owner/tiny")
        theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / name, local_files_only=True)
        asked = theirs.apply_chat_template(messages("One?", "", before), add_generation_prompt=True, return_dict=False)
        assert asked == encode_prompt(ctx.templates[name], ctx.tokenizer, "One?", "", before)


def test_encode_prints_every_answer_as_counted(run, tmp_path, capsys):
    ctx, _ = run
    file = ctx.experiment.folder / "e.json"
    made = values(ctx.model_folder, data={"train": "talks.jsonl", "validation": 0}, templates=["native"])
    file.write_text(json.dumps(made))
    assert main(["encode", str(file), "--json", "--limit", "1", "--out", str(tmp_path / "run")]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    row = json.loads(line)
    assert sum(row["completion_mask"]) > 4
    assert row["completion_mask"] != sorted(row["completion_mask"])  # counted, then a prompt again, then counted
