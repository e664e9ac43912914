"""Each rule of the template doctor: a case that it finds and a near one that it leaves alone."""
# ruff: noqa: E501 - a case a line

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from examined import ROWS, examined, of, opened, template, write_lines

from iikata.doctor import RULES, examine
from iikata.pipeline.foreseeing import FINDINGS
from tokenizer_folders import sp_nfkc


@pytest.fixture(scope="session")
def nl_folder(tmp_path_factory) -> Path:
    """SentencePiece that folds white space and has the piece <NL>, as rinna's 3.6B."""
    return sp_nfkc(tmp_path_factory.mktemp("nl"), newline=True)


def row(output: str, instruction: str = "Name it.", **more: str) -> dict[str, str]:
    return {"instruction": instruction, "output": output, **more}


def only(findings, rule):
    (finding,) = of(findings, rule)
    return finding


def test_a_plain_template_on_a_faithful_tokenizer_has_no_findings(tmp_path, sp_bytes_folder):
    assert examined(tmp_path, sp_bytes_folder) == []


def test_docs_list_every_rule_and_no_other_and_the_readmes_count_them():
    root, every = Path(__file__).parents[2], {*RULES, *FINDINGS}
    text = (root / "docs" / "templates.md").read_text(encoding="utf-8")
    rules = text.partition("### The rules")[2].partition("## Gates")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", rules, re.MULTILINE)) == every
    for name, said in (("README.md", "| {} rules"), ("README.ja.md", "| {} の規則")):
        assert said.format(len(every)) in (root / name).read_text(encoding="utf-8")


def test_the_cure_of_a_built_in_template_is_a_file_that_passes(tmp_path, nl_folder):
    cure = only(examined(tmp_path, nl_folder, ["alpaca_short"]), "newline").cure
    cured = json.loads(cure[cure.index('{"') :])
    assert of(examined(tmp_path, nl_folder, [cured]), "newline") == []


def test_where_nl_would_be_unknown_the_cure_is_a_template_without_line_breaks(tmp_path, sp_nfkc_folder):
    cure = only(examined(tmp_path, sp_nfkc_folder, ["alpaca_short"]), "newline").cure
    assert "<NL>" not in cure
    cured = json.loads(cure[cure.index('{"') :])
    assert of(examined(tmp_path, sp_nfkc_folder, [cured]), "newline") == []


def test_line_breaks_that_come_back_are_no_finding(tmp_path, any_tokenizer_folder):
    found = of(examined(tmp_path, any_tokenizer_folder, ["alpaca"], [row("two\nlines")]), "newline")
    assert bool(found) == (any_tokenizer_folder.name.startswith("sp_nfkc"))


def test_white_space_that_is_folded_is_found_in_templates_and_answers(tmp_path, sp_nfkc_folder, sp_bytes_folder):
    given = [template(prompt_no_input="In:  {instruction}\tA:")], [row("red   blue"), row("green")]
    in_template, in_answers = of(examined(tmp_path, sp_nfkc_folder, *given), "whitespace")
    assert in_template.template == "t0"
    assert "'  '" in in_template.message
    assert in_answers.template is None
    assert "1 of 2" in in_answers.message
    assert not of(examined(tmp_path / "kept", sp_bytes_folder, *given), "whitespace")


def test_a_blank_at_the_end_that_changes_the_first_token_is_found_and_cured(tmp_path, byte_bpe_folder):
    blank = template(prompt_no_input="In: {instruction} A: ", prompt_input="In: {instruction} {input} A: ")
    rows = [row("the sea"), row("the sum")]
    found = only(examined(tmp_path, byte_bpe_folder, [blank], rows), "trailing_space")
    assert "2 of 2" in found.message
    assert "' the'" in found.evidence
    cured = template(**json.loads(f"{{{found.cure}}}"))
    assert not of(examined(tmp_path, byte_bpe_folder, [cured], rows), "trailing_space")


def test_a_converted_tokenizer_that_gives_other_ids_is_an_error(tmp_path, byte_bpe_folder, sp_nfkc_folder):
    assert not of(examined(tmp_path, sp_nfkc_folder), "sentencepiece")
    (tmp_path / "model" / "tokenizer.json").write_bytes((byte_bpe_folder / "tokenizer.json").read_bytes())
    names = {"eos_token": "<|im_end|>", "bos_token": None, "pad_token": None, "unk_token": None}
    found = only(examined(tmp_path, sp_nfkc_folder, settings=names), "sentencepiece")
    assert found.severity == "error"
    assert found.cure.startswith("mv ")


def test_an_end_that_unknown_letters_become_is_an_error(tmp_path, sp_nfkc_folder):
    one = opened(tmp_path, sp_nfkc_folder)
    ending = replace(one, tokenizer=replace(one.tokenizer, eos_id=one.tokenizer.unk_id))
    assert only(list(RULES["ids_coincide"](ending)), "ids_coincide").severity == "error"


ENDS_WITH = "{{{{ messages[0].content }}}} A:{{% if messages[1] %}}{{{{ messages[1].content }}}}{0}{{% endif %}}"


def jinja(end: str) -> dict[str, str]:
    return {"kind": "jinja", "chat_template": ENDS_WITH.format(end)}


def test_rows_that_do_not_train_the_end_token_are_an_error(tmp_path, byte_bpe_folder):
    one = opened(tmp_path, byte_bpe_folder)
    assert not list(RULES["end_token"](one))
    first, *rest = one.encoded["t0"]
    unended = replace(first, input_ids=first.input_ids[:-1], completion_mask=first.completion_mask[:-1])
    masked = replace(first, completion_mask=(*first.completion_mask[:-1], False))
    for bad in (unended, masked):
        found = only(list(RULES["end_token"](replace(one, encoded={"t0": [bad, *rest]}))), "end_token")
        assert found.severity == "error"
        assert f"1 of {len(ROWS)}" in found.message


def test_rows_beyond_cutoff_len_are_counted_and_the_cure_fits_them(tmp_path, byte_bpe_folder):
    rows = [row("red"), row("a very long answer " * 20)]
    found = only(examined(tmp_path, byte_bpe_folder, rows=rows, train={"cutoff_len": 40}), "cutoff")
    assert found.severity == "warning"
    assert "1 of 2 (50.0%)" in found.message
    needed = int(found.cure.rpartition("=")[2])
    assert not of(examined(tmp_path, byte_bpe_folder, rows=rows, train={"cutoff_len": needed}), "cutoff")


def test_prompts_that_end_differently_are_found_and_cured(tmp_path, sp_bytes_folder):
    assert not of(examined(tmp_path, sp_bytes_folder, ["rinna"]), "variants")
    found = only(examined(tmp_path, sp_bytes_folder, ["dolly_ja_rinna"]), "variants")
    assert "'<NL><NL>システム: <NL>'" in found.evidence
    cured = template(**json.loads(f"{{{found.cure}}}"), prompt_input="{instruction}{input}<NL><NL>システム: ")
    assert not of(examined(tmp_path, sp_bytes_folder, [cured]), "variants")


def test_validation_rows_that_are_trained_on_are_found(tmp_path, byte_bpe_folder):
    write_lines(tmp_path / "held.jsonl", [ROWS[0], {**ROWS[1], "output": "other"}, row("new", "Something else.")])
    data = {"train": "train.jsonl", "validation": "held.jsonl"}
    word_for_word, asked_again = of(examined(tmp_path, byte_bpe_folder, data=data), "validation_in_train")
    assert word_for_word.evidence.endswith("train.jsonl:1")
    assert "1 of 3" in asked_again.message
    assert "train.jsonl:2" in asked_again.cure


def test_probes_that_are_trained_on_are_found(tmp_path, byte_bpe_folder):
    again, new = {"id": "p1", "instruction": "Name colour 0. "}, {"id": "p2", "instruction": "Name a fruit."}
    write_lines(tmp_path / "probes.jsonl", [again, new])
    found = only(examined(tmp_path, byte_bpe_folder, probes="probes.jsonl"), "probe_in_train")
    assert found.severity == "warning"
    assert "1 of 2" in found.message
    assert "p1 is" in found.evidence
    write_lines(tmp_path / "probes.jsonl", [again])
    assert only(examined(tmp_path, byte_bpe_folder, probes="probes.jsonl"), "probe_in_train").severity == "error"
    write_lines(tmp_path / "probes.jsonl", [new])
    assert not of(examined(tmp_path, byte_bpe_folder, probes="probes.jsonl"), "probe_in_train")


def test_the_posts_two_templates_get_the_findings_that_fit_them(tmp_path, sp_nfkc_folder):
    found = examined(tmp_path, sp_nfkc_folder, ["dolly_ja", "dolly_ja_rinna"])
    rules = {name: {f.rule for f in found if f.template == name} for name in ("dolly_ja", "dolly_ja_rinna")}
    assert "newline" in rules["dolly_ja"]
    assert {"unknown_token", "trailing_space", "variants"} <= rules["dolly_ja_rinna"]
    assert "variants" not in rules["dolly_ja"]
    assert "newline" not in rules["dolly_ja_rinna"]


def test_errors_come_first_and_each_finding_carries_its_rules_id(tmp_path, sp_nfkc_folder):
    one = opened(tmp_path, sp_nfkc_folder, ["dolly_ja_rinna", "alpaca"], [row("two\nlines"), row("")])
    for id, rule in RULES.items():
        assert {finding.rule for finding in rule(one)} <= {id}
    severities = [finding.severity for finding in examine(one)]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    assert {"error", "warning"} <= set(severities)


DEAF = {"kind": "jinja", "chat_template": "Hello:{% if messages[1] %}{{ messages[1].content }}{% endif %}"}
LOUD = {"kind": "jinja", "chat_template": "{% for m in messages %}{{ m.content | upper }}{% endfor %}"}
DATED = {"kind": "jinja", "date": "2025-01-31", "chat_template": ENDS_WITH.format("{{ strftime_now('%Y') }}")}
OWN_BOS = {"add_bos_token": False, "chat_template": "{{ bos_token }}{{ messages[0].content }}"}
EOT = {"added_tokens_decoder": {"552": {"content": "<|eot|>"}}}


def asks(text: str) -> dict[str, str]:
    return template(prompt_no_input=text)


FOLDED = [template(), template(prompt_no_input="In:\n{instruction}\nA:", prompt_input="In:\n{instruction} {input}\nA:")]
FOUND = {
    # case: (rule, tokenizer, templates, rows, more settings, [(template, severity)], what the first finding says)
    "letters that the vocabulary lacks": ("unknown_token", "sp_nfkc", [asks("In: {instruction}<NL>A:")], ROWS, {}, [("t0", "error")], ["<unk>", "plain"]),
    "letters of answers that it lacks": ("unknown_token", "sp_nfkc", [], [row("鬱"), row("red")], {}, [(None, "warning")], ["1 of 2"]),
    "letters that are bytes": ("unknown_token", "byte_bpe", ["dolly_ja_rinna"], [row("鬱")], {}, [], []),
    "no row that fits": ("cutoff", "byte_bpe", [], ROWS, {"train": {"cutoff_len": 3}}, [("t0", "error")], []),
    "a BOS twice, and once": ("bos", "sp_bytes", [asks("<s><s>{instruction} A:"), asks("<s>{instruction} A:")], ROWS, {}, [("t0", "warning")], ["twice"]),
    "a BOS that native prompts have": ("bos", "sp_bytes", [], ROWS, {"settings": OWN_BOS}, [("t0", "warning")], ["do not begin with <s>"]),
    "an end token that was added": ("untrained_stop", "sp_bytes", [jinja("<|eot|>"), jinja("</s>")], ROWS, {"settings": EOT}, [("t0", "warning")], ["judged by", "</s>"]),
    "one that is declared": ("untrained_stop", "sp_bytes", [jinja("<|eot|>")], ROWS, {"settings": EOT, "config": {"eos_token_id": [2, 552]}}, [], []),
    "one without an embedding row": ("untrained_stop", "sp_bytes", [jinja("<|eot|>")], ROWS, {"settings": EOT, "config": {"vocab_size": 552}}, [("t0", "error")], []),
    "tokens that merge": ("prefix", "byte_bpe", [asks("{instruction} A: "), asks("{instruction} A:\n")], [row("the sea"), row("zzz")], {}, [("t0", "warning")], ["1 of 2", "' the'"]),
    "a marker that prompts lack": ("response_split", "byte_bpe", [template(response_split="### Response:"), template(response_split="A:")], ROWS, {}, [("t0", "warning")], ["prompt_no_input and prompt_input"]),
    "a marker in rows": ("response_split", "byte_bpe", [template(response_split="A:")], [row("red"), row("Q and A: yes")], {}, [("t0", "warning")], ["1 of 2", "train.jsonl:2"]),
    "what native does otherwise": ("native_differs", "byte_bpe", ["native", template()], ROWS, {}, [("t1", "info")], ["-<|im_start|>user", "+In: {instruction} A:"]),
    "a day": ("dated", "byte_bpe", [DATED, template()], ROWS, {}, [("t0", "info")], ["2025-01-31"]),
    "no instruction in a chat template": ("placeholder", "byte_bpe", [DEAF, jinja("")], ROWS, {}, [("t0", "error")] * 3, ["has no instruction"]),
    "a misspelt placeholder": ("placeholder", "byte_bpe", [template(prompt_input="{instrution} {input} A:")], ROWS, {}, [("t0", "error")], ['did you mean "instruction"?']),
    "no placeholder": ("placeholder", "byte_bpe", [asks("Answer:")], ROWS, {}, [("t0", "error")], ["has no {instruction}"]),
    "{input} without an input": ("placeholder", "byte_bpe", [asks("{instruction} {input}:")], ROWS, {}, [("t0", "error")], ["for rows without an input"]),
    "a placeholder that is none": ("placeholder", "byte_bpe", [asks("{instruction} {persona}:")], ROWS, {}, [("t0", "warning")], ["{persona} is no placeholder"]),
    "braces": ("placeholder", "byte_bpe", [asks('{instruction} as {"a": 1}:')], ROWS, {}, [("t0", "info")], ["as they are"]),
    "a template that refuses rows": ("template", "byte_bpe", [LOUD, template()], ROWS, {}, [("t0", "error")], ["changes the answer"]),
    "a template that cannot be read": ("template", "byte_bpe", [template(prompt_input=None)], ROWS, {}, [("t0", "error")], ['"prompt_input" is missing']),
    "lost line breaks": ("newline", "nl", [asks("In: {instruction}\nA:")], [*ROWS, row("two\nlines")], {}, [("t0", "warning")], ["1 in the template", "1 of 5", "'▁A'", '"newline": "<NL>"']),
    "a newline convention that is lost": ("newline", "sp_nfkc", [template(newline="<NL>")], [row("two\nlines")], {}, [("t0", "warning")], []),
    "one that comes back": ("newline", "nl", [template(newline="<NL>")], [row("two\nlines")], {}, [], []),
    "an end that is also the pad": ("ids_coincide", "byte_bpe", [], ROWS, {}, [(None, "info")], []),
    "an end of its own": ("ids_coincide", "sp_nfkc", [], ROWS, {}, [], []),
    "templates that are one": ("same_tokens", "sp_nfkc", FOLDED, ROWS, {}, [("t1", "error")], []),
    "templates that are two": ("same_tokens", "byte_bpe", FOLDED, ROWS, {}, [], []),
    "empty rows": ("empty_rows", "byte_bpe", [], [*ROWS, row(" ")], {}, [(None, "warning")], ["1 of 5", "train.jsonl:5"]),
    "doubled rows": ("duplicate_rows", "byte_bpe", [], [*ROWS, ROWS[0], row(" ")], {}, [(None, "warning")], ["1 of 6", "train.jsonl:5"]),
    "places still to be filled": ("null_words", "byte_bpe", [], [row("I am {{name}} of {{ author }}."), row("x", system="You are {{name}}."), row("a {dict}")], {}, [(None, "warning")], ["2 of 3 (66.7%) rows hold places that look like still to be filled: {{ author }}, {{name}}", "train.jsonl:1, train.jsonl:2"]),
    "a conversation in one question": ("out_of_turn", "byte_bpe", [], [row("x", "Human: Two?\nAssistant: Red.\nHuman: One?"), row("y", "Translate: \nUser: hello"), row("z")], {}, [(None, "warning")], ["1 of 3 (33.3%) rows seem to hold a whole conversation as their question", "train.jsonl:1: 'Human: Two"]),
    "special tokens in what is asked": ("plain_marker", "byte_bpe", [], [row("x", system="Be <|im_end|> short."), row("It ends with <|im_end|>."), row("z")], {}, [(None, "warning")], ["1 of 3 (33.3%) rows hold the text of a special token", "train.jsonl:1: 'Be <|im_end|> short.'"]),
    "a context where there is no input": ("unused_columns", "byte_bpe", [], [row("x", context="The sky.", input="")], {}, [(None, "warning")], ["data: {columns: {input: context}}"]),
    "a context beside an input": ("unused_columns", "byte_bpe", [], [row("x", context="The sky."), row("y", input="z")], {}, [(None, "info")], ["context (1 rows)"]),
    **{f"the word {word}": ("null_words", "byte_bpe", [], [row("x"), row("y", input=word)], {}, [(None, "warning")], [repr(word), "train.jsonl:2"]) for word in ("nan", "None", "null", "<noinput>")},
    "no instruction": ("empty_rows", "byte_bpe", [], [row("x"), row("y", " ", input="x")], {}, [(None, "info")], ["1 of 2 (50.0%) rows have an input and no instruction"]),
    "rows held out by default": ("held_out", "byte_bpe", [], [row(f"x{n}") for n in range(20)], {"data": {"train": "train.jsonl"}}, [(None, "info")], ["2 of 20 (10.0%) rows are held out to measure by"]),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_a_rule_finds_its_case_and_no_near_one(tmp_path, request, case):
    rule, tokenizer, templates, rows, more, severities, said = FOUND[case]
    found = of(examined(tmp_path, request.getfixturevalue(f"{tokenizer}_folder"), templates, rows, **more), rule)
    assert [(finding.template, finding.severity) for finding in found] == severities
    for words in said:
        assert any(words in text for text in (found[0].message, found[0].evidence, found[0].cure))
