"""A converted template writes the same prompts and answers, or is refused with the reason."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iikata.core.errors import IikataError
from iikata.core.records import Before
from iikata.templates import TEMPLATES, AlpacaTemplate, chat_template, load, native, saved, to_alpaca, to_jinja
from iikata.templates.jinja import read_jinja
from tokenizer_folders import CHATML

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["{{ x }}", "{% raw %}", "{#", "\\n", '"', "'}}", " ", "\n", "{input}", "{instruction}", "<NL>", "🐟\r\n", "\u2028"]
)
NEWLINE = st.sampled_from([None, "<NL>", "\\n", '"'])


@st.composite
def alpaca_templates(draw):
    prompts = [
        "".join([draw(TEXT), "{instruction}", draw(TEXT), "{input}", draw(TEXT), draw(st.sampled_from(["", "\n"]))]),
        (draw(TEXT) + "{instruction}" + draw(TEXT)).replace("{input}", ""),
    ]
    return AlpacaTemplate("t", draw(NEWLINE), (), *prompts)


def both(rendered):
    return rendered.prompt, rendered.completion


@settings(max_examples=60, deadline=None, derandomize=True)
@given(alpaca_templates(), TEXT, TEXT, TEXT)
def test_jinja_form_of_an_alpaca_template_renders_the_same(template, instruction, input, output):
    made = to_jinja(template).with_special_tokens(TOKENS)
    rendered = made.render(instruction, input, output)
    assert both(rendered) == both(template.render(instruction, input, output))
    assert rendered.end == "</s>"


@settings(max_examples=40, deadline=None, derandomize=True)
@given(alpaca_templates(), TEXT)
def test_way_there_and_back_gives_the_same_template(template, output):
    back = to_alpaca(to_jinja(template))
    # Line breaks of the prompt come back as the newline convention writes them.
    broken = [
        text.replace("\n", template.newline or "\n") for text in (template.prompt_input, template.prompt_no_input)
    ]
    assert [back.prompt_input, back.prompt_no_input] == broken
    assert back.newline == template.newline
    assert back.answer(output) == template.answer(output)


@pytest.mark.parametrize("name", TEMPLATES)
def test_newline_convention_is_found_again_in_a_jinja_file(name, tmp_path):
    (tmp_path / "t.jinja").write_text(to_jinja(TEMPLATES[name]).chat_template, encoding="utf-8")
    read = load("t.jinja", tmp_path, special_tokens=TOKENS)
    assert read.newline == TEMPLATES[name].newline
    assert both(read.render("a\nb", "c", "d\ne")) == both(TEMPLATES[name].render("a\nb", "c", "d\ne"))


def test_message_with_content_alone_is_an_instruction_without_an_input():
    made = to_jinja(TEMPLATES["alpaca"]).with_special_tokens(TOKENS)
    (text,) = made._rendered([{"role": "user", "content": "Why?"}], [None])
    assert text == TEMPLATES["alpaca"].render("Why?").prompt


@pytest.mark.parametrize("roles", [["system", "user"], ["user", "system", "user"], ["tool"]])
def test_message_that_the_template_has_no_place_for_is_refused(roles):
    made = to_jinja(TEMPLATES["alpaca"]).with_special_tokens(TOKENS)
    with pytest.raises(IikataError, match="This model was trained"):
        made._rendered([{"role": role, "content": "x"} for role in roles], [None])


def test_a_conversation_repeats_the_block_and_ends_each_answer_as_llama_factory_does():
    """LLaMA-Factory's alpaca: the end token and an empty line behind each answer, then the next instruction."""
    talk = Before("Be short.", (("Two?", "red, blue"),))
    file = replace(TEMPLATES["alpaca_short"], eos=TOKENS["eos_token"])
    block, end = "### Instruction:\n{}\n\n### Response:\n", TOKENS["eos_token"] + "\n\n"
    assert file.render("One?", before=talk).prompt == block.format("Two?") + "red, blue" + end + block.format("One?")
    placed = replace(file, prompt_no_input="{system}\n" + file.prompt_no_input)
    first = "Be short.\n" + block.format("Two?")
    assert placed.render("One?", before=talk).prompt == first + "red, blue" + end + "\n" + block.format("One?")
    assert (file.takes_system, placed.takes_system) == (False, True)


@settings(deadline=None, max_examples=60)
@given(alpaca_templates(), st.booleans(), TEXT, st.lists(st.tuples(TEXT, TEXT), max_size=3), TEXT, TEXT)
def test_conversations_are_written_alike_by_both_forms(file, place, system, turns, instruction, output):
    if place:
        file = replace(
            file, prompt_no_input="{system}" + file.prompt_no_input, prompt_input="{system}" + file.prompt_input
        )
    file, made = replace(file, eos=TOKENS["eos_token"]), to_jinja(file).with_special_tokens(TOKENS)
    talk = Before(system, tuple(turns))
    assert both(made.render(instruction, "", output, talk)) == both(file.render(instruction, "", output, talk))


PLAIN = "{% for m in messages %}{% if m.role == 'user' %}Q: {{ m.content }}\nA: {% else %}"


def test_jinja_template_of_literal_text_becomes_an_alpaca_template():
    made = to_alpaca(native(PLAIN + "{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}", TOKENS))
    assert made.prompt_no_input == "Q: {instruction}\nA: "
    assert made.prompt_input == "Q: {instruction}\n\n{input}\nA: "


REFUSED = {
    "ends answers with": CHATML,
    "writes bos_token": "{{ bos_token }}" + PLAIN + "{{ m.content }}{% endif %}{% endfor %}",
    "before an answer": PLAIN + " {{ m.content }}{% endif %}{% endfor %}",
    "the Jinja form": PLAIN.replace("m.content", "m.content | trim") + "{{ m.content }}{% endif %}{% endfor %}",
    r"no \{input\}": "{{ messages[0].instruction }}{{ messages[1].content if messages[1] }}",
    "Alpaca form gives 'yes": "{% set m = messages %}{{ 'yes' if m[0].content | length < 99 else 'no' }}"
    "{{ m[0].content }}{{ m[1].content if m[1] }}",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_jinja_template_that_alpaca_cannot_hold_is_refused_with_the_reason(reason):
    with pytest.raises(IikataError, match=reason):
        to_alpaca(native(REFUSED[reason], TOKENS))


def test_template_that_turns_line_breaks_to_blanks_has_no_newline_convention():
    folded = PLAIN + "{{ m.content | replace('\n', ' ') }}{% endif %}{% endfor %}"
    assert native(folded, {}).newline is None


@pytest.mark.parametrize(
    "text", [CHATML, "  {% if true %}x{% endif %}\n  " + PLAIN + "{{ m.content }}{% endif %}{% endfor %}\n"]
)
@pytest.mark.parametrize("newline", [None, "<NL>"])
def test_portable_text_writes_bos_then_the_same_prompt(text, newline, tmp_path):
    from dataclasses import replace

    template = replace(native(text, TOKENS), newline=newline)
    bare = native(chat_template(template, writes_bos=True), TOKENS)
    assert bare.render("a\nb").prompt == "<s>" + template.render("a\nb").prompt


@pytest.mark.parametrize("day", ["%Y-%m-%d", "%d %b %Y", "%B %d, %Y", "%A, %-d %B %y %H:%M:%S"])
def test_portable_text_tells_the_fixed_day_under_any_tool(day):
    from transformers.utils.chat_template_utils import _compile_jinja_template

    asks = "{% if strftime_now is defined %}{% set now = strftime_now('" + day + "') %}{% endif %}"
    dated = "{% macro header() %}{{ strftime_now('%Y') }}{% endmacro %}" + asks + "{{ 'On ' + now }}{{ header() }}"
    template = native(dated + "\n{{ messages[0].content }}", {})
    compiled = _compile_jinja_template(chat_template(template))
    assert compiled.render(messages=[{"content": "x"}]) == template.render("x").prompt
    assert "2024" in template.render("x").prompt


def test_saved_jinja_form_keeps_stop_and_newline(tmp_path):
    made = to_jinja(AlpacaTemplate("t", "<NL>", ("###",), "{instruction}{input}", "{instruction}"))
    (tmp_path / "t.json").write_text(saved(made), encoding="utf-8")
    assert load("t.json", tmp_path) == made
    assert read_jinja(tmp_path / "t.jinja", made.chat_template).newline == "<NL>"
