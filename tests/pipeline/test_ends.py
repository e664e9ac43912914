"""Cells, and what is exported, stop at every end that template and model declare, as transformers does."""

import json
import shutil

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from iikata.core.records import Arm, Cell
from iikata.pipeline import Pipeline
from iikata.pipeline.context import RunContext
from iikata.pipeline.export import export
from iikata.pipeline.signing import sign
from iikata.pipeline.stages.check import examine
from iikata.pipeline.stages.generate import answer_signatures
from iikata.templates import TEMPLATES
from iikata.tokenize import encode_prompt, end_id, load_tokenizer, stop_ids
from tiny_experiment import ONE_ARM, experiment, write_files

GREEDY = {"samples": 1, "max_new_tokens": 12, "temperature": 0}


def declare(folder, *ids):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": list(ids)}), encoding="utf-8")
    return folder


def greedy(folder, prompt):
    """Return transformers' new tokens, stopped where the folder's own files say."""
    import torch

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    made = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=12, pad_token_id=3)
    return made[0, len(prompt) :].tolist()


@pytest.fixture
def folder(tmp_path, llama_folder):
    """A model that answers with `plain` end by a token that generation_config.json alone declares."""
    folder = shutil.copytree(llama_folder, tmp_path / "model")
    prompt = encode_prompt(TEMPLATES["plain"], load_tokenizer(folder), "Which colour is red?")
    return declare(folder, 2, greedy(declare(folder, 2), prompt)[3])


def test_answers_stop_where_transformers_stops_and_the_report_says_at_what(tmp_path, folder):
    one = experiment(tmp_path, folder, templates=["plain"], train=ONE_ARM, generate=GREEDY)
    Pipeline(one, tmp_path / "run").run()
    lines = [json.loads(line) for line in (tmp_path / "run/generate/base@plain.jsonl").read_text().splitlines()]
    tokenizer, template = load_tokenizer(folder), TEMPLATES["plain"]
    for line, colour in zip(lines, ("red", "blue", "green"), strict=True):
        theirs = greedy(folder, encode_prompt(template, tokenizer, f"Which colour is {colour}?"))
        stopped = theirs[-1] in stop_ids(template, tokenizer)
        assert line["finish"] == ("stop" if stopped else "length")
        read = tokenizer.text if stopped else tokenizer.whole_text
        assert line["text"] == read(theirs[: len(theirs) - stopped])
    assert lines[0]["finish"] == "stop"
    assert lines[0]["tokens"] == 3
    stops = json.loads((tmp_path / "run/encode/templates.json").read_text())["plain"]["stops"]
    assert stops == [tokenizer.token(id) for id in sorted(stop_ids(template, tokenizer))]
    assert len(stops) == 2
    assert "answers stop at" in (tmp_path / "run/report/report.md").read_text()


def test_other_ends_are_another_signature_of_answers(tmp_path, folder):
    def signature():
        pipeline = RunContext(experiment(tmp_path, folder, templates=["plain"]), tmp_path / "run", lambda event: None)
        sign(pipeline)
        return answer_signatures(pipeline, Cell(Arm(), "plain"))

    before = signature()
    assert signature() == before
    declare(folder, 2)
    assert signature() != before


@pytest.mark.parametrize("newline", [None, "<NL>"])
def test_an_added_token_right_behind_the_answer_ends_it_special_or_not(tmp_path, byte_bpe_folder, newline):
    from iikata.templates import native

    folder = shutil.copytree(byte_bpe_folder, tmp_path / "t")
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    content["added_tokens"] += [{"id": 600, "content": "<turn>", **plain}, {"id": 601, "content": "<NL>", **plain}]
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    break_ = newline or "\n"
    template = native(f"{{% for m in messages %}}{{{{ m.content }}}}{break_}<turn>{break_}{{% endfor %}}", {})
    assert end_id(template, tokenizer) == 600
    assert stop_ids(template, tokenizer) == {600, tokenizer.eos_id}
    broken = native(f"{{% for m in messages %}}{{{{ m.content }}}}{break_}{{% endfor %}}", {})
    assert end_id(broken, tokenizer) == tokenizer.eos_id


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
    data = {"train": "train.jsonl", "validation": 4}
    made = experiment(folder, llama_folder, templates=["trimming.jinja", "keeping.jinja"], train=ONE_ARM, data=data)
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
    export(run.context, "keeping.s0", tmp_path / "out", merge, base="owner/name")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    ends = GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id
    assert ends[0] == tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert tokenizer.eos_token_id in ends
    assert len(ends) == len(set(ends))
