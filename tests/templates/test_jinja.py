"""Chat templates: the same text as transformers gives, and a clear word where one cannot be used."""

import json

import pytest

from iikata.errors import IikataError
from iikata.templates import load, native
from iikata.templates.jinja import read_jinja
from tokenizer_folders import CHATML

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
LLAMA_3 = (
    "{{ bos_token }}{% for message in messages %}"
    "<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n{{ message['content'] | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}"
    "[INST] {{ message.content }} [/INST]{% else %} {{ message.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
GENERATION = (
    "{%- for message in messages %}\n  {%- if message.role == 'assistant' %}\n"
    "    {%- generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}\n"
    "  {%- else %}\n    {{- message.content | tojson }}\n  {%- endif %}\n{%- endfor %}\n"
)
LOOP = "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{{ m.content }}\n{% endfor %}"
FAMILIES = {"chatml": CHATML, "llama3": LLAMA_3, "mistral": MISTRAL, "generation": GENERATION, "loop": LOOP}
ROWS = [("What?", "", "This."), ("  要約\n", "本文 {x}", " 短い。\n"), ("a", "b", "")]


@pytest.fixture(scope="module")
def oracle(byte_bpe_folder):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(byte_bpe_folder)
    tokenizer.add_special_tokens(TOKENS)
    return tokenizer


@pytest.mark.parametrize("chat_template", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("row", ROWS)
def test_text_equals_apply_chat_template(chat_template, row, oracle):
    instruction, input, output = row
    content = f"{instruction}\n\n{input}" if input else instruction
    user, assistant = {"role": "user", "content": content}, {"role": "assistant", "content": output}
    oracle.chat_template = chat_template
    prompt = oracle.apply_chat_template([user], add_generation_prompt=True, tokenize=False)
    full = oracle.apply_chat_template([user, assistant], tokenize=False)
    rendered = native(chat_template, TOKENS).render(instruction, input, output)
    assert rendered.prompt == prompt
    assert rendered.prompt + rendered.completion + rendered.end == full


def test_end_is_what_follows_the_answer():
    assert native(CHATML, {}).render("q", "", "a").end == "<|im_end|>\n"
    assert native(LLAMA_3, TOKENS).render("q", "", "a").end == "<|eot_id|>"


def test_trimmed_answer_is_told_from_its_end():
    rendered = native(LLAMA_3, TOKENS).render("q", "", " a b \n")
    assert (rendered.completion, rendered.end) == ("a b", "<|eot_id|>")


def test_blank_written_before_an_answer_is_completion_and_is_taken_off_again():
    template = native(MISTRAL, TOKENS)
    rendered = template.render("q", "", "a")
    assert (rendered.completion, rendered.end) == (" a", "</s>")
    assert template.answer(" a") == "a"


def test_answer_that_holds_the_templates_own_end_is_not_cut():
    rendered = native(CHATML, {}).render("q", "", "a<|im_end|>\nb")
    assert rendered.completion == "a<|im_end|>\nb"


def test_user_message_carries_instruction_and_input():
    template = native("{{ messages[0].instruction }}|{{ messages[0].input }}", {})
    assert template.render("a", "b").prompt == "a|b"


def test_newline_convention_holds_for_chat_templates(tmp_path):
    turns = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    content = {"kind": "jinja", "newline": "<NL>", "chat_template": turns}
    (tmp_path / "t.json").write_text(json.dumps(content), encoding="utf-8")
    rendered = load("t.json", tmp_path).render("a\nb", "", "c\nd")
    assert (rendered.prompt, rendered.completion) == ("a<NL>b<NL>", "c<NL>d")


def test_prompt_that_a_finished_conversation_does_not_begin_with_is_explained():
    thinking = CHATML.replace("assistant\\n' }}", "assistant\\n<think>\\n' }}")
    with pytest.raises(IikataError, match="does not begin with its own prompt"):
        native(thinking, {}).render("q", "", "a")


def test_template_that_changes_the_answer_is_refused():
    upper = "{% for m in messages %}{{ m.content | replace('a', 'A') }}{% endfor %}"
    with pytest.raises(IikataError, match="changes the answer"):
        native(upper, {}).render("q", "", "banana")


def test_template_does_not_know_the_day():
    dated = "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}no date{% endif %}"
    assert native(dated, {}).render("q").prompt == "no date"


def test_template_that_raises_is_an_error_with_its_words():
    with pytest.raises(IikataError, match="only system"):
        native("{{ raise_exception('only system') }}", {}).render("q")


def test_template_cannot_reach_out_of_the_sandbox():
    with pytest.raises(IikataError, match=r"reads .__class__. of a list, which no chat template needs"):
        native("{{ messages.__class__.__mro__[1].__subclasses__() }}", {}).render("q")


def test_template_that_writes_without_end_is_stopped():
    endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ messages }}{% endfor %}{% endfor %}"
    with pytest.raises(IikataError, match=r"refuses a row: it (takes|makes)"):
        native(endless, {}).render("q" * 10_000)


def test_syntax_error_names_file_and_line(tmp_path):
    (tmp_path / "t.jinja").write_text("a\n{% if %}", encoding="utf-8")
    with pytest.raises(IikataError, match=r"t\.jinja:2: "):
        load("t.jinja", tmp_path)


def test_jinja_file_that_writes_a_special_token_needs_the_tokenizer(tmp_path):
    path = tmp_path / "t.j2"
    path.write_text("{{ bos_token }}{{ messages[0].content }}", encoding="utf-8")
    with pytest.raises(IikataError, match="writes bos_token, which only a tokenizer knows"):
        load("t.j2", tmp_path).render("q")
    assert load("t.j2", tmp_path, special_tokens=TOKENS).render("q").prompt == "<s>q"
    assert read_jinja(path, "{{ messages[0].content }}").render("q").prompt == "q"
