"""Chat templates: the same text as transformers gives, and a clear word where one cannot be used."""
# ruff: noqa: E501 - a template is easiest read on one line

import json
from dataclasses import replace

import pytest

from iikata.core.errors import IikataError
from iikata.templates import load, native, saved
from iikata.templates.jinja import DATE, read_jinja
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


def test_blank_written_around_an_answer_is_trained_and_is_taken_off_again():
    template = native(MISTRAL, TOKENS)
    rendered = template.render("q", "", "a")
    assert (rendered.completion, rendered.end) == (" a", "</s>")
    assert template.answer(" a") == "a"
    behind = native("{% for m in messages %}{{ m.content }} \n</s>{% endfor %}", TOKENS)
    assert behind.answer("a \n") == "a"


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


SIZES = ("{{ x | tojson(indent=2) }}", "{{ x | tojson(ensure_ascii=true, separators=(',', ':'), sort_keys=true) }}")
FEATURES = {
    "namespace": "{% set ns = namespace(n=0, seen=[]) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
    "{% set ns.seen = ns.seen + [m.role] %}{% endfor %}{{ ns.n }}{{ ns.seen | join('+') }}",
    "macros": "{% macro turn(m, tail='') -%}\n<{{ m.role | upper }}> {{ caller() if caller else m['content'] | trim }}"
    "{{ tail }}{%- endmacro %}{{ turn(messages[0], tail='\\n') }}{% call turn(messages[1]) %}called{% endcall %}",
    "loop controls": "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}"
    "{% if m.role == 'assistant' %}{% break %}{% endif %}{% endfor %}",
    "loop variables": "{% for m in messages %}{{ loop.index0 }}{{ loop.last }}{{ loop.previtem.role if not loop.first }}"
    "{{ loop.cycle('a', 'b') }}{% else %}none{% endfor %}{% for m in messages if m.role == 'user' %}u{% endfor %}",
    "generation": "{% for m in messages %}{% generation %}{% set inside = m.content %}{{ inside }}{% endgeneration %}"
    "{{ inside is defined }}{% endfor %}",
    "tojson": "{% set x = {'b': 'é<', 'a': [1, none, true]} %}{{ x | tojson }}" + "".join(SIZES),
    "definedness": "{{ tools is defined }}{{ documents is none }}{{ enable_thinking is defined }}{{ custom | default('d') }}"
    "{{ messages[0].nothing is defined }}{{ nothing | default('x', true) }}{{ date_string is not defined }}",
    "methods": "{% set c = messages[1].content %}{{ c.split('</think>')[-1].lstrip('\\n') }}{{ c.startswith('<') }}"
    "{{ c.removeprefix('<') }}{{ c.replace('i', 'I', 1) }}{{ c.rstrip().endswith('.') }}{{ '{}-{:>4}'.format(1, 'x') }}"
    "{{ messages[0].get('role') }}{{ messages[0].get('none', '-') }}{{ '%s|%03d' % ('a', 7) }}{{ c.partition('i')[0] }}",
    "slices": "{{ messages[::-1][0].role }}{{ messages[1:] | length }}{{ messages[-1].content[2:-1] }}{{ 'abc'[::2] }}",
    "filters": "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}"
    "{{ messages | rejectattr('role', 'in', ['user']) | list | length }}{{ [3, 1, 3] | unique | sort | join(',') }}"
    "{{ {'b': 1, 'a': 2} | dictsort }}{{ {'k': 'v'} | items | list }}{{ 'a\\nb' | indent(2, true) }}{{ '7' | int + 1 }}"
    "{{ 'aB' | capitalize }}{{ 'a b' | title }}{{ [0, 2] | reject('equalto', 0) | first }}{{ [2, 1] | min }}{{ 1.5 | string }}",
    "tests": "{{ 1 is number }}{{ 'a' is string }}{{ {} is mapping }}{{ [] is iterable }}{{ 'a' is sequence }}{{ true is true }}"
    "{{ false is boolean }}{{ none is none }}{{ x is undefined }}{{ 3 is odd }}{{ 'a' in 'cat' }}{{ not 1 == 2 }}",
    "operators": "{{ 2 ** 3 + 7 // 2 - 1 * 2 / 4 }}{{ 'a' ~ 1 ~ none }}{{ [1] + [2] }}{{ 'ab' * 2 }}{{ 1 if x else 2 }}{{ -1 % 3 }}",
    "blocks": "{% set b %} {{ messages[0].content }} {% endset %}[{{ b | trim }}]{% filter upper %}a{% endfilter %}"
    "{% with y = 2 %}{{ y }}{% endwith %}{% raw %}{{ x }}{% endraw %}{# nothing #}",
    "blanks": "  {% if true %}\n  a\n  {%- endif %}\n\n{{- 'b' }}\n{% for m in messages %}\n    {{ m.role }}\n{% endfor %}\n",
    "globals": "{{ dict(a=1) }}{{ dict.fromkeys is defined }}{{ range(3) | list }}{% set j = joiner(',') %}{{ j() }}1{{ j() }}2"
    "{{ cycler('x', 'y').next() }}{{ namespace(self=1).self }}",
    "dates": "{{ strftime_now('%d %b %Y') }}{{ strftime_now('%A %B %-d, %H:%M') }}{{ strftime_now is defined }}",
    "an unknown filter in a branch not taken": "{% if tools %}{{ tools | from_json }}{% endif %}ok",
    "escapes": "{% autoescape true %}{{ '<' }}{{ '<' | safe }}{% endautoescape %}{{ '<b>' | e }}",
}  # fmt: skip


@pytest.fixture
def on_the_fixed_day(monkeypatch):
    """transformers' renderer, to which it is always the day that templates are told."""
    import datetime

    module = pytest.importorskip("transformers.utils.chat_template_utils")

    class Fixed(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromisoformat(DATE)

    monkeypatch.setattr(module, "datetime", Fixed)
    return lambda text, messages: module.render_jinja_template([messages], chat_template=text)[0][0]


@pytest.mark.parametrize("text", FEATURES.values(), ids=FEATURES)
def test_every_feature_writes_what_transformers_writes(text, on_the_fixed_day):
    said, output = [{"role": "user", "content": " Hi <b> 山\n"}], "<think>a</think>\n\nis it."
    expected = on_the_fixed_day(text, [*said, {"role": "assistant", "content": output}])
    assert native(text, {})._rendered(said, [output]) == [expected]


def test_date_is_one_day_kept_in_file_and_hash_where_the_template_asks(tmp_path):
    dated = "{{ strftime_now('%Y-%m-%d') }} {{ messages[0].content }}"
    template = native(dated, {})
    assert template.render("q").prompt == "2024-07-26 q"
    (tmp_path / "t.json").write_text(saved(replace(template, date="2025-01-31")), encoding="utf-8")
    other = load("t.json", tmp_path)
    assert other.render("q").prompt == "2025-01-31 q"
    assert other.hash != template.hash
    assert "2024-07-26" in template.text
    assert native("{{ messages[0].content }}", {}).date is None


PARTS = (
    "{% for m in messages %}{{ m.role }}:{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}"
    "{% else %}<image>{% endif %}{% endfor %};{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)


MIXED = PARTS.replace(
    "{% for part", "{% if m.role == 'assistant' %}{{ m.content.strip() }}{% else %}{% for part"
).replace("{% endfor %};", "{% endfor %}{% endif %};")


@pytest.mark.parametrize(("text", "roles"), [(PARTS, ("user", "assistant")), (MIXED, ("user",)), (CHATML, ())])
def test_template_that_reads_parts_alone_gets_them(text, roles, on_the_fixed_day):
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rendered = native(text, {}).render("q", "", "a")
    for message in messages:
        if message["role"] in roles:
            message["content"] = [{"type": "text", "text": message["content"]}]
    assert rendered.prompt + rendered.completion + rendered.end == on_the_fixed_day(text, messages)
    assert rendered.completion == "a"


def test_template_for_tools_alone_is_refused_with_that_reason():
    tools = "{% for tool in tools %}{{ tool }}{% endfor %}{{ messages[0].content }}"
    with pytest.raises(IikataError, match="it is for calls of tools alone, and a row has no tools"):
        native(tools, {}).render("q")


def test_jinja_file_that_writes_a_special_token_needs_the_tokenizer(tmp_path):
    path = tmp_path / "t.j2"
    path.write_text("{{ bos_token }}{{ messages[0].content }}", encoding="utf-8")
    with pytest.raises(IikataError, match="writes bos_token, which only a tokenizer knows"):
        load("t.j2", tmp_path).render("q")
    assert load("t.j2", tmp_path, special_tokens=TOKENS).render("q").prompt == "<s>q"
    assert read_jinja(path, "{{ messages[0].content }}").render("q").prompt == "q"
