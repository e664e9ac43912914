"""An lm-eval task's documents become probes, and are scored as lm-eval scores them where both see the same text."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from iikata.config import lm_eval_task
from iikata.core.errors import IikataError
from iikata.pipeline import Pipeline
from iikata.pipeline.stages.check import summary
from tiny_experiment import ONE_ARM, experiment

ORACLE = Path(__file__).parents[1] / "lm_eval_oracle.py"
WORDS = ("red", "dark blue", "green", "white", "black and grey", "x")
DOCUMENTS = [
    {
        "question": f"Which is number {i}?",
        "options": [WORDS[(i + j) % 6] for j in range(2 + i % 3)],
        "padded": [f" {WORDS[(i + j) % 6]}" for j in range(2 + i % 3)],
        "right": i % 2,
        "said": ["one", "two"],
    }
    for i in range(24)
]
CHOOSING = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
description: "Answer.\\n\\n"
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_choice: options
doc_to_target: right
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
needs_lm_eval = pytest.mark.skipif(
    find_spec("lm_eval") is None, reason="make test-lm-eval lays lm-eval over the environment"
)


@pytest.fixture
def task(tmp_path, monkeypatch):
    """Write a task; `changes` are pieces of its yaml that others stand for."""
    if find_spec("lm_eval"):
        import datasets.config

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    data = tmp_path / "documents.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in DOCUMENTS), encoding="utf-8")

    def write(name="mine", **changes):
        text = CHOOSING.format(name=name, data=data)
        for key, value in changes.items():
            lines = [line for line in text.splitlines() if not line.startswith(f"{key}:")]
            text = "\n".join([*lines, f"{key}: {value}"])
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
        return f"lm_eval:{name}.yaml"

    return write


def probes(folder, model, spec):
    return Pipeline(experiment(folder, model, probes=spec), folder / "run").context.probes


@needs_lm_eval
@pytest.mark.filterwarnings("default")
def test_documents_are_asked_with_the_tasks_own_prompt_and_choices(task, tmp_path, llama_folder):
    first, second, *_ = found = probes(tmp_path, llama_folder, task())
    assert len(found) == 24
    assert (first.id, first.instruction) == ("mine-0", "Answer.\n\nQ: Which is number 0?\nA:")
    assert (first.choices, first.answer, first.sampled) == (("red", "dark blue"), 0, False)
    assert (second.id, second.answer, second.references) == ("mine-1", 1, ())
    assert [one.id for one in probes(tmp_path, llama_folder, f"{task()}:3")] == ["mine-0", "mine-1", "mine-2"]


@needs_lm_eval
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("target", "wanted"), [("said", ("one", "two")), ("question", ("Which is number 0?",))])
def test_what_is_generated_gets_references(target, wanted, task, tmp_path, llama_folder):
    spec = task(output_type="generate_until", doc_to_choice="null", doc_to_target=target, metric_list="null")
    found = probes(tmp_path, llama_folder, spec)
    assert (found[0].references, found[0].choices) == (wanted, ())


@needs_lm_eval
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output_type": "loglikelihood_rolling", "metric_list": "null"}, "likelihood of whole texts"),
        ({"doc_to_text": "right"}, "another prompt for one ending"),
        ({"doc_to_target": '"{{[0, 1]}}"'}, "more than one of its choices is right"),
        ({"doc_to_text": '"{{nothing}}"'}, "'nothing' is undefined"),
        ({"doc_to_choice": '["same", "same"]'}, "mine.yaml: document 0: choices: a list of two or more different"),
        ({"dataset_kwargs": "{data_files: {test: nowhere.jsonl}}"}, "count from where the command runs"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(changes, said, task, tmp_path, llama_folder):
    with pytest.raises(IikataError) as error:
        probes(tmp_path, llama_folder, task(**changes))
    assert said in str(error.value)
    assert "mine" in str(error.value)


@needs_lm_eval
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["no_such_task_at_all", "nowhere.yaml"])
def test_a_task_that_is_not_there_is_told(name, task, tmp_path, llama_folder):
    with pytest.raises(IikataError, match=name):
        probes(tmp_path, llama_folder, f"lm_eval:{name}")


def test_without_lm_eval_it_says_how_to_get_it(tmp_path, llama_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(IikataError, match=r'pip install "iikata\[lm-eval\]"'):
        probes(tmp_path, llama_folder, "lm_eval:arc_easy")


def test_a_task_is_signed_by_its_name_and_a_file_by_its_place(tmp_path, llama_folder):
    def signed(spec):
        return experiment(tmp_path, llama_folder, probes=spec).resolved()["probes"]

    assert signed("lm_eval:arc_easy:200") == "lm_eval:arc_easy:200"
    assert signed("lm_eval:tasks/mine.yaml") == f"lm_eval:{tmp_path / 'tasks/mine.yaml'}"
    assert signed("probes.jsonl") == str(tmp_path / "probes.jsonl")
    assert lm_eval_task("lm_eval:arc_easy:200", tmp_path) == ("arc_easy", 200)
    assert lm_eval_task("probes.jsonl", tmp_path) is None


@needs_lm_eval
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("template", "changes", "chat", "metrics"),
    [
        # Without a chat template lm-eval's blank before a choice is the choice's: here the documents have it.
        ("./asked.json", {"target_delimiter": '""', "doc_to_choice": '"{{padded}}"'}, (), ("choice", "choice_norm")),
        # The line break that the chat template ends with is scored there with every choice: the lengths' shares move.
        ("native", {"description": '""'}, ("chat",), ("choice",)),
    ],
)
def test_every_document_is_right_where_lm_eval_says_so(template, changes, chat, metrics, task, tmp_path, llama_folder):
    asked = {"prompt_input": "{instruction}{input}", "prompt_no_input": "{instruction}"}
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    settings = {"templates": [template], "train": ONE_ARM}
    settings |= {"score": {"primary": "choice", "metrics": ["choice", "choice_norm"]}, "compare": {"margin": {}}}
    settings |= {"generate": {"samples": 1, "max_new_tokens": 2}}
    pipeline = Pipeline(experiment(tmp_path, llama_folder, probes=task(**changes), **settings), tmp_path / "run")
    pipeline.run("score")
    context = pipeline.context
    assert summary(context).endswith("24 probes, 0 with a reference or a pattern, 24 with choices")
    told = subprocess.run(
        [sys.executable, str(ORACLE), str(llama_folder), str(tmp_path / "cache"), *chat],
        input=json.dumps(str(tmp_path / "mine.yaml")), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-2000:]
    wanted = zip(*json.loads(told.stdout.splitlines()[-1]), strict=True)
    for metric, of_theirs in zip(metrics, wanted, strict=False):
        base = {s.probe: s.value for s in context.store.read_scores(metric) if s.trained_on is None}
        assert [base[probe.id] for probe in context.probes] == list(of_theirs)
        assert 0 < sum(of_theirs) < len(of_theirs)
