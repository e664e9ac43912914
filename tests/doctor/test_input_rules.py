"""The doctor's rules on what was read and on settings: text that is not trained on, answers that are cut, machines."""

import pytest
from examined import examined, of, template

ALPACA = {"instruction": "And the second one?", "input": "", "output": "blue"}
SPOKEN = {"system": "Answer in one word.", "history": [["Name two colours.", "red and blue"]]}


def rows(*changes):
    return [{**ALPACA, "instruction": f"Question {n}?", **change} for n, change in enumerate(changes)]


def test_system_and_history_that_are_not_trained_on_are_a_warning(tmp_path, byte_bpe_folder):
    found = of(examined(tmp_path, byte_bpe_folder, rows=rows(SPOKEN, {"category": "qa"})), "unused_columns")
    assert [finding.severity for finding in found] == ["warning", "warning", "info"]
    assert 'text in "system" in 1 of 2 (50.0%) rows is not trained on' in found[0].message
    assert "train.jsonl:1: history 'Name two colours.'" in found[1].evidence
    assert "LLaMA-Factory" in found[1].cure
    assert "category (1 rows)" in found[2].message


def test_a_context_is_missed_only_where_there_is_no_input(tmp_path, byte_bpe_folder):
    answered = {"context": "The sky.", "input": ""}
    (found,) = of(examined(tmp_path, byte_bpe_folder, rows=rows(answered)), "unused_columns")
    assert (found.severity, found.cure) == ("warning", "data: {columns: {input: context}}")
    (found,) = of(examined(tmp_path / "b", byte_bpe_folder, rows=rows(answered, {"input": "x"})), "unused_columns")
    assert found.severity == "info"


@pytest.mark.parametrize("word", ["nan", "None", "null", "<noinput>"])
def test_nothing_written_as_a_word_is_found(tmp_path, byte_bpe_folder, word):
    (found,) = of(examined(tmp_path, byte_bpe_folder, rows=rows({}, {"input": word})), "null_words")
    assert repr(word) in found.message
    assert found.evidence.endswith("train.jsonl:2")


def test_rows_without_an_instruction_are_told(tmp_path, byte_bpe_folder):
    (found,) = of(examined(tmp_path, byte_bpe_folder, rows=rows({}, {"instruction": " ", "input": "x"})), "empty_rows")
    assert (found.severity, found.message) == ("info", "1 of 2 (50.0%) rows have an input and no instruction")


@pytest.mark.parametrize(("limit", "severities"), [(4, ["warning", "warning"]), (30, ["info"]), (300, [])])
def test_answers_longer_than_allowed_are_counted_before_training(tmp_path, byte_bpe_folder, limit, severities):
    (tmp_path / "probes.jsonl").write_text('{"instruction": "q", "references": ["a long reference"]}')
    given = rows(*[{"output": "word " * 4}] * 4, {"output": "word " * 30})
    more = {"probes": "probes.jsonl", "generate": {"max_new_tokens": limit}}
    found = of(examined(tmp_path, byte_bpe_folder, rows=given, **more), "answer_length")
    assert [finding.severity for finding in found] == severities
    assert all(f"max_new_tokens {limit}" in finding.message and "--set" in finding.cure for finding in found)


@pytest.mark.parametrize(
    ("model", "severity", "said"),
    [
        ({"dtype": "float16"}, "warning", "made for GPUs"),
        ({"quantize": "4bit"}, "error", "needs the package bitsandbytes"),
        ({"compute": "fp8"}, "error", "needs a GPU from Ada"),
        ({"dtype": "float32"}, None, ""),
    ],
)
def test_settings_that_this_machine_lacks_are_found_before_a_model_is_loaded(
    tmp_path, byte_bpe_folder, monkeypatch, model, severity, said
):
    monkeypatch.setattr("iikata.model.load.choose_device", lambda: __import__("torch").device("cpu"))
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    base = {"base": str(tmp_path / "model")}
    found = of(examined(tmp_path, byte_bpe_folder, model={**base, **model}), "device")
    assert [finding.severity for finding in found][:1] == ([severity] if severity else [])
    assert said in "".join(finding.message for finding in found)


def test_how_many_rows_are_held_out_by_default_is_told(tmp_path, byte_bpe_folder):
    given = rows(*[{}] * 20)
    (found,) = of(examined(tmp_path, byte_bpe_folder, rows=given, data={"train": "train.jsonl"}), "held_out")
    assert found.message == "2 of 20 (10.0%) rows are held out to measure by"


def test_a_misspelt_placeholder_is_pasted_into_no_other_cure(tmp_path, sp_nfkc_folder):
    wrong = template(prompt_no_input="Q\\n{instrction} A: ", response_split="### Response:")
    found = examined(tmp_path, sp_nfkc_folder, [wrong])
    assert of(found, "placeholder")
    assert not any("instrction" in finding.cure for finding in found)


def test_a_file_that_hides_a_built_in_template_is_told(tmp_path, byte_bpe_folder):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "alpaca.json").write_text(
        '{"prompt_input": "{instruction} {input}:", "prompt_no_input": "{instruction}:"}'
    )
    (found,) = of(examined(tmp_path, byte_bpe_folder, ["alpaca"]), "template")
    assert found.severity == "warning"
