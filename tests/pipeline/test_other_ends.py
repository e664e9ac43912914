"""A template that trims answers, or ends them as the model does not, is told apart all the way out of the run."""

import json

import pytest

from iikata.pipeline import Pipeline
from iikata.pipeline.export import export
from iikata.pipeline.stages.check import examine
from tiny_experiment import experiment, values, write_files

ROWS = [{"instruction": f"Write {i}.", "output": f"    return {i}\n\n"} for i in range(12)]
BODY = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|endoftext|>\n{% endfor %}"
ASKED = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


@pytest.fixture(scope="module")
def run(tmp_path_factory, llama_folder):
    folder = tmp_path_factory.mktemp("ends")
    write_files(folder)
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    (folder / "trimming.jinja").write_text(BODY.replace("content", "content | trim") + ASKED, encoding="utf-8")
    (folder / "keeping.jinja").write_text(BODY + ASKED, encoding="utf-8")
    train = values(llama_folder)["train"] | {"seeds": [0], "epochs": 1}
    data = {"train": "train.jsonl", "validation": 4}
    made = experiment(folder, llama_folder, templates=["trimming.jinja", "keeping.jinja"], train=train, data=data)
    pipeline = Pipeline(made, folder / "run")
    pipeline.run("generate", True)
    return pipeline


def test_check_counts_the_answers_that_a_template_trims(run):
    (found,) = [one for one in examine(run.context) if one.rule == "trimmed"]
    assert found.template == "trimming"
    assert "8 of 8 (100.0%) training rows" in found.message
    assert "4 of 4 (100.0%) held-out rows" in found.message


def test_templates_of_equal_prompts_and_other_answers_are_two_templates(run):
    gates = {gate.subject: gate for gate in run.context.store.read_gates() if gate.name == "distinct_templates"}
    assert gates["trimming|keeping"].passed


@pytest.mark.parametrize("merge", [False, True])
def test_what_is_exported_stops_where_the_arm_was_trained_to_end(run, merge, tmp_path):
    from transformers import AutoTokenizer, GenerationConfig

    export(run.context, "keeping.s0", tmp_path / "out", merge, base="owner/name")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    ends = GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id
    assert ends[0] == tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert tokenizer.eos_token_id in ends
    assert len(ends) == len(set(ends))
