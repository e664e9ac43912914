"""Every template on the shelf keeps its promises, and its text is the one that is published."""

from pathlib import Path

import pytest

from iikata.core.errors import IikataError
from iikata.core.records import Before, Example
from iikata.templates import TEMPLATES, AlpacaTemplate, Shots, load, native, read_saved, saved

GOLDEN = Path(__file__).parents[1] / "golden"
ROW = ("次の文を要約してください。\n短く。", "猫は魚を食べる。\n犬は肉を食べる。", "猫は魚、\n犬は肉。")

built_in = pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)


def golden_text(template) -> str:
    instruction, input, output = ROW
    parts = []
    for title, text in (("without input", ""), ("with input", input)):
        rendered = template.render(instruction, text, output)
        parts.append(f"==== {title}\n{rendered.prompt}|{rendered.completion}|{rendered.end}\n")
    return "".join(parts)


@built_in
def test_rendered_text_is_the_golden_one(template):
    golden = (GOLDEN / f"{template.name}.txt").read_text(encoding="utf-8")
    assert golden_text(template) == golden


@built_in
def test_a_users_placeholders_and_braces_stay_as_they_are(template):
    rendered = template.render("{input} {instruction} {x} {{", "{instruction}")
    assert "{input} {instruction} {x} {{" in rendered.prompt
    assert rendered.prompt.count("{instruction}") == 2


@built_in
def test_markers_are_lines_of_the_prompt_and_none_of_the_users(template):
    prompt = template.render("QUESTION", "CONTEXT").prompt + template.render("QUESTION").prompt
    for marker in template.template_literals():
        assert marker in prompt
        assert "QUESTION" not in marker
        assert "CONTEXT" not in marker


@built_in
def test_blank_input_is_no_input(template):
    assert template.render("x", " \n").prompt == template.render("x").prompt


def test_hashes_differ_between_templates_and_ignore_name_and_description():
    assert len({template.hash for template in TEMPLATES.values()}) == len(TEMPLATES)
    one = AlpacaTemplate("a", prompt_input="{instruction}{input}", prompt_no_input="{instruction}")
    other = AlpacaTemplate("b", None, (), "{instruction}{input}", "{instruction}", "###", "A comment.")
    assert one.hash == other.hash


def test_markers_of_the_posts_templates():
    # Known lines: if001/redpajama-lora-instruct-ja, templates/.
    assert TEMPLATES["rinna"].template_literals() == ("ユーザー:", "システム:")
    assert {"### 指示:", "### 応答:", "### 入力:"} <= set(TEMPLATES["dolly_ja"].template_literals())
    assert {"ユーザー:", "システム:", "コンテキスト:"} <= set(TEMPLATES["dolly_ja_rinna"].template_literals())


def test_the_posts_quirks_are_kept():
    # The lost 。 and the two endings: research on the post's repository, findings E and F.
    assert "書きなさい\n\n" in TEMPLATES["dolly_ja"].render("x").prompt
    assert "書きなさい。\n\n" in TEMPLATES["dolly_ja"].render("x", "y").prompt
    assert TEMPLATES["dolly_ja_rinna"].render("x").prompt.endswith("システム: <NL>")
    assert TEMPLATES["dolly_ja_rinna"].render("x", "y").prompt.endswith("システム: ")


def test_declared_newline_is_mapped_in_prompt_and_answer_and_back():
    rinna = TEMPLATES["rinna"]
    rendered = rinna.render("a\nb", "c\nd", "e\nf")
    assert rendered.prompt == "ユーザー: a<NL>b<NL>c<NL>d<NL>システム: "
    assert rendered.completion == "e<NL>f"
    assert rinna.answer("e<NL>f") == "e\nf"


def test_answer_ends_before_a_declared_stop():
    template = AlpacaTemplate("t", stop=("###", "\nQ"), prompt_input="{instruction}{input}")
    assert template.answer("yes.\nQ: ### more") == "yes."
    assert template.answer("yes. ### no. ### more") == "yes. "
    assert template.answer("plain") == "plain"


def test_examples_come_before_what_was_said():
    shown = Shots.over(TEMPLATES["plain"], [Example("1", "What?", "", "This.")], "plain+1shots")
    assert shown.render("Then?", before=Before("", (("Who?", "Me."),))).prompt == "What?\nThis.\n\nWho?\nMe.\n\nThen?\n"


def test_alpaca_file_is_read_with_its_name_newline_and_stop(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(
        '{"description": "d", "prompt_input": "{instruction}|{input}", "prompt_no_input": "{instruction}|",'
        ' "response_split": "|", "newline": "<NL>", "stop": ["###"]}',
        encoding="utf-8",
    )
    template = load("mine.json", tmp_path)
    assert template.name == "mine"
    assert template.render("a\nb", "c").prompt == "a<NL>b|c"
    assert template.stop == ("###",)


def test_native_without_a_chat_template_is_refused():
    with pytest.raises(IikataError, match="no chat template of its own"):
        load("native", Path())


def test_native_is_saved_with_the_special_tokens_it_writes(tmp_path):
    template = native("{{ bos_token }}{{ messages[0].content }}", {"bos_token": "<s>", "pad_token": "<pad>"})
    assert template.special_tokens == {"bos_token": "<s>"}
    path = tmp_path / "template.json"
    path.write_text(saved(template), encoding="utf-8")
    assert read_saved(path) == template
    assert read_saved(path).hash == template.hash
