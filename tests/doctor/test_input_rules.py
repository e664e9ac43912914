"""The doctor's rules on what was read and on settings: text that is not trained on, answers that are cut, machines."""

import pytest
from examined import examined, of, opened, template

from iikata.doctor import examine
from iikata.tokenize import load_tokenizer

ALPACA = {"instruction": "And the second one?", "input": "", "output": "blue"}
SPOKEN = {"hint": "Answer in one word.", "earlier": [["Name two colours.", "red and blue"]]}


def rows(*changes):
    return [{**ALPACA, "instruction": f"Question {n}?", **change} for n, change in enumerate(changes)]


def test_earlier_turns_that_are_not_trained_on_are_a_warning(tmp_path, byte_bpe_folder):
    found = of(examined(tmp_path, byte_bpe_folder, rows=rows(SPOKEN, {"category": "qa"})), "unused_columns")
    assert [finding.severity for finding in found] == ["warning", "info"]
    assert 'text in "earlier" in 1 of 2 (50.0%) rows is not trained on' in found[0].message
    assert "train.jsonl:1: earlier 'Name two colours.'" in found[0].evidence
    assert "data: {columns: {system: NAME}}" in found[0].cure
    assert "hint (1 rows), category (1 rows)" in found[1].message


TALK = {"system": "Answer in one word.", "history": [["Name two colours.", "red and blue"]]}


@pytest.mark.parametrize(("chosen", "severity"), [(None, "error"), ("keep", "warning"), ("drop", None)])
def test_a_system_message_without_a_place_is_counted_and_the_choice_is_the_users(
    tmp_path, byte_bpe_folder, chosen, severity
):
    data = {"train": "train.jsonl", "validation": 0, "system": chosen}
    found = of(
        examined(tmp_path, byte_bpe_folder, ["alpaca", "native"], rows=rows(TALK, {}), data=data), "system_place"
    )
    assert [(finding.template, finding.severity) for finding in found] == ([("alpaca", severity)] if severity else [])
    for finding in found:
        assert finding.message == "1 of 2 (50.0%) rows have a system message, and the template has no place for it"
        assert "train.jsonl:1: 'Answer in one word.'" in finding.evidence


def test_who_answers_out_of_turn_and_what_is_not_trained_is_told(tmp_path, byte_bpe_folder):
    def talk(*roles):
        return {"messages": [{"role": role, "content": f"{role} {n}"} for n, role in enumerate(roles)]}

    turns = talk("user", "assistant", "user", "assistant"), talk("assistant", "user"), talk("user", "assistant", "user")
    drops = (
        "{% for m in messages %}{{ m.role }}: {{ '(well)' if loop.last and m.role == 'assistant' }}{{ m.content }}\n"
        "{% endfor %}{{ 'assistant: ' if add_generation_prompt }}"
    )
    (tmp_path / "drops.jinja").write_text(drops)
    found = examined(tmp_path, byte_bpe_folder, ["native", "drops.jinja"], rows=turns)
    told = {finding.severity: finding for finding in of(found, "out_of_turn")}
    assert told["warning"].message == "1 of 3 (33.3%) rows are left out: the assistant speaks first"
    assert told["warning"].evidence == "train.jsonl:2"
    assert "1 of 3 (33.3%) rows end with a question that is not answered" in told["info"].message
    (left,) = of(found, "untrained_answers")
    assert (left.template, left.severity) == ("drops", "warning")
    assert "1 of 1 (100.0%) earlier answers, in 1 rows, are not in the loss" in left.message
    assert left.evidence == "train.jsonl:1"


OUT_OF_TURN = {
    "a system message stands in the middle": ("user", "assistant", "system", "user", "assistant"),
    "the assistant speaks first": ("system", "assistant", "user", "assistant"),
    "one side speaks twice in a row": ("user", "user", "assistant"),
    "nobody answers": ("system", "user"),
}


def test_each_way_in_which_a_conversation_is_none_is_told_with_its_lines_and_nothing_is_lost(tmp_path, byte_bpe_folder):
    def said(roles, n):
        return {"messages": [{"role": role, "content": f"{role} {place} of {n}"} for place, role in enumerate(roles)]}

    good, twice = ("user", "assistant"), ("system", "system", "user", "assistant")
    kinds = [*OUT_OF_TURN.values(), *OUT_OF_TURN.values(), twice, (*good, "user"), good]
    blank = {"messages": [{"role": role, "content": " " * place} for place, role in enumerate(good * 2)]}
    case = opened(
        tmp_path, byte_bpe_folder, ["native"], rows=[*(said(roles, n) for n, roles in enumerate(kinds)), blank]
    )
    found = examine(case)
    left = {finding.message: finding.evidence for finding in of(found, "out_of_turn") if finding.severity == "warning"}
    assert left == {
        f"2 of 12 (16.7%) rows are left out: {why}": f"train.jsonl:{n}, train.jsonl:{n + 4}"
        for n, why in enumerate(OUT_OF_TURN, start=1)
    }
    (joined,) = of(found, "system_place")
    assert joined.message.startswith("1 of 12 (8.3%) rows have several system messages; they are joined into one")
    assert joined.evidence == "train.jsonl:9"
    (open_end,) = (finding for finding in of(found, "out_of_turn") if finding.severity == "info")
    assert (open_end.message[:12], open_end.evidence) == ("1 of 12 (8.3", "train.jsonl:10")
    (empty,) = of(found, "empty_rows")
    assert (empty.message[:12], empty.evidence) == ("1 of 12 (8.3", "train.jsonl:12")
    kept = {row.source: row.before.system for row in case.data.train}
    assert kept == {"train.jsonl:9": "system 0 of 8\n\nsystem 1 of 8", "train.jsonl:10": "", "train.jsonl:11": ""}


@pytest.mark.parametrize(
    ("loss_on", "severity", "told"),
    [
        ("completion", "info", "these are not in the loss"),
        ("last", "info", "these are not in the loss"),
        ("all", "warning", "loss_on: all counts them all the same"),
    ],
)
def test_answers_that_are_marked_as_not_to_be_trained_are_told(tmp_path, byte_bpe_folder, loss_on, severity, told):
    talk = [{"role": role, "content": str(n)} for n, role in enumerate(("user", "assistant") * 2)]
    marked = {"messages": [{**turn, "weight": n // 3} for n, turn in enumerate(talk)]}
    found = examined(tmp_path, byte_bpe_folder, rows=[marked, {"messages": talk[:2]}], train={"loss_on": loss_on})
    (finding,) = (finding for finding in of(found, "untrained_answers") if finding.template is None)
    assert finding.severity == severity
    assert finding.message.startswith("1 of 2 (50.0%) rows mark answers as not to be trained (weight")
    assert told in finding.message
    assert finding.evidence == "train.jsonl:1"


def test_a_conversation_that_is_too_long_is_left_out_or_cut_as_declared(tmp_path, byte_bpe_folder):
    talk = [{"role": role, "content": f"{n} word " * 20} for n, role in enumerate(("user", "assistant") * 3)]
    given = {"rows": [{"messages": talk[:2]}, {"messages": talk}], "templates": ["native"]}
    most = len(opened(tmp_path, byte_bpe_folder, **given).encoded["native"][1].input_ids) - 1
    (left,) = of(examined(tmp_path, byte_bpe_folder, **given, train={"cutoff_len": most}), "cutoff")
    assert left.message.startswith(f"1 of 2 (50.0%) rows are longer than train.cutoff_len {most} and are not trained")
    assert "first: train.jsonl:2" in left.evidence
    assert left.cure.endswith("or train: {too_long: cut_at_turn} to keep of a conversation the turns that fit")
    case = opened(tmp_path, byte_bpe_folder, **given, train={"cutoff_len": most, "too_long": "cut_at_turn"})
    (cut,) = of(examine(case), "cutoff")
    assert cut.message.startswith("1 of 2 (50.0%) conversations are cut at a turn to fit: 1 answers at their ends")
    assert cut.evidence == "train.jsonl:2"
    assert case.encoded["native"][1].answer.strip() == talk[3]["content"].strip()


def test_a_row_that_is_too_long_is_not_told_as_one_with_untrained_answers(tmp_path, byte_bpe_folder):
    talk = [{"role": role, "content": "word " * 40} for role in ("user", "assistant") * 3]
    found = examined(
        tmp_path, byte_bpe_folder, rows=[{"messages": talk}, {"messages": talk[:2]}], train={"cutoff_len": 300}
    )
    assert [finding.rule for finding in found if finding.rule in ("cutoff", "untrained_answers")] == ["cutoff"] * len(
        {finding.template for finding in of(found, "cutoff")}
    )


@pytest.mark.parametrize(("limit", "severities"), [(4, ["warning", "warning"]), (30, ["info"]), (300, [])])
def test_answers_longer_than_allowed_are_counted_before_training(tmp_path, byte_bpe_folder, limit, severities):
    (tmp_path / "probes.jsonl").write_text('{"instruction": "q", "references": ["a long reference"]}')
    given = rows(*[{"output": "word " * 4}] * 4, {"output": "word " * 30})
    more = {"probes": "probes.jsonl", "generate": {"max_new_tokens": limit}}
    found = of(examined(tmp_path, byte_bpe_folder, rows=given, **more), "answer_length")
    assert [finding.severity for finding in found] == severities
    assert all(f"max_new_tokens {limit}" in finding.message and "--set" in finding.cure for finding in found)


def test_an_answer_that_only_its_end_makes_too_long_is_shown_as_longer_and_fits_into_the_cure(
    tmp_path, byte_bpe_folder
):
    (tmp_path / "probes.jsonl").write_text('{"instruction": "q"}')
    answer = "a short answer"
    tokens = len(load_tokenizer(byte_bpe_folder).ids(answer, special=False, start=False))
    more = {"probes": "probes.jsonl", "generate": {"max_new_tokens": tokens}}
    found = of(examined(tmp_path, byte_bpe_folder, rows=rows(*[{"output": answer}] * 4), **more), "answer_length")
    assert "with their end token, longer" in found[0].message
    assert found[0].evidence.endswith(f"the longest {tokens + 1}")
    assert int(found[0].cure.rpartition("=")[2]) > tokens


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
