"""What a stranger's chat template may not do: take time or memory without end, reach out, read other files."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from bombs import BOMBS
from hypothesis import given, settings
from hypothesis import strategies as st

from iikata.errors import IikataError
from iikata.templates import native
from iikata.templates.jinja import JinjaTemplate
from tokenizer_folders import CHATML

MOST_SECONDS = 4.0
"""Of processor time for a bomb: half a second to two here, with room for a slow machine."""
MOST_BYTES = 400_000_000
"""Of address space: Python's own 100 MB and what a bomb takes."""
SHARE = 1 if os.environ.get("IIKATA_FAULTS") == "long" else 5
"""A fifth of the budget ends in a fifth of the time; `make faults` grants all of it."""
EXPLODE = f"""
import json, resource, sys, time
from bombs import BOMBS
from iikata.errors import IikataError
from iikata.templates import meter
from iikata.templates.jinja import JinjaTemplate
meter.BUDGET //= {SHARE}
resource.setrlimit(resource.RLIMIT_AS, ({MOST_BYTES}, {MOST_BYTES}))
for name, text in BOMBS.items():
    start = time.process_time()
    try:
        said = "wrote " + repr(JinjaTemplate("bomb", chat_template=text).prompt_of("a", "b")[:99])
    except IikataError as error:
        said = str(error)
    print(json.dumps([name, time.process_time() - start, said]), flush=True)
"""


@pytest.fixture(scope="module")
def exploded() -> dict[str, tuple[float, str]]:
    """Every bomb in one process of its own, so that one that is not defused takes only that process with it."""
    pytest.importorskip("resource")
    code = f"import sys; sys.path[:] = {[str(Path(__file__).parent), *sys.path]!r}\n{EXPLODE}"
    try:
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=150, check=False).stdout
    except subprocess.TimeoutExpired as late:
        done = late.stdout or b""
    lines = [json.loads(line) for line in done.splitlines()]
    return {name: (seconds, said) for name, seconds, said in lines}


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_defused(name, exploded):
    assert name in exploded, "the process that tried it was killed or never came back"
    seconds, said = exploded[name]
    assert said.startswith('template "bomb", line ')
    assert "takes more memory than there is" not in said
    assert seconds < MOST_SECONDS


def refusal(text: str, name: str = "foreign") -> str:
    """Return why the template is refused, for a row or at all."""
    with pytest.raises(IikataError) as error:
        JinjaTemplate(name, chat_template=text).prompt_of("a", "b")
    return str(error.value)


ESCAPES = {
    "class of a text": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "class by subscript": "{{ ''['__class__'] }}",
    "class by a made name": "{{ ''['__cla' ~ 'ss__'] }}",
    "class by attr": "{{ '' | attr('__class__') }}",
    "class by map": "{{ [''] | map(attribute='__class__') | list }}",
    "class by map of attr": "{{ [''] | map('attr', '__class__') | list }}",
    "class by sort": "{{ ['', 'a'] | sort(attribute='__class__.__name__') }}",
    "class by selectattr": "{{ [''] | selectattr('__class__') | list }}",
    "class by join": "{{ [''] | join('', attribute='__class__') }}",
    "class by str.format": "{{ '{0.__class__}'.format('') }}",
    "class by str.format_map": "{{ '{a.__class__}'.format_map({'a': ''}) }}",
    "class by a kept format": "{% set f = '{0.__class__.__mro__}'.format %}{{ f('') }}",
    "class by format of a subscript": "{{ '{0.__class__}'['format']('') }}",
    "class by map of format": "{{ ['{0.__class__}'] | map('format', '') | list }}",
    "class by safe text": "{{ ('{0.__class__}' | safe).format('') }}",
    "class asked for only": "{% if ''.__class__ is defined %}x{% endif %}",
    "globals of cycler": "{{ cycler.__init__.__globals__ }}",
    "globals of joiner": "{{ joiner.__init__.__globals__.os }}",
    "globals of namespace": "{{ namespace.__init__.__globals__ }}",
    "globals of dict's maker": "{{ dict.__base__.__subclasses__() }}",
    "globals of lipsum": "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "globals of raise_exception": "{{ raise_exception.__globals__ }}",
    "globals of a macro": "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "context of self": "{{ self._TemplateReference__context }}",
    "environment of self": "{{ self.__dict__ }}",
    "context of a block": "{% block b %}{{ self.b._context }}{% endblock %}",
    "inside of the loop": "{% for a in [1] %}{{ loop._iterable }}{% endfor %}",
    "undefined's hint": "{{ nothing._undefined_hint }}",
    "undefined's class": "{{ nothing.__class__ }}",
    "frame of a generator": "{{ (messages | map('string')).__reduce__ }}",
    "code of a range": "{{ range.__code__ }}",
    "self of a method": "{{ messages.append.__self__ }}",
    "a list changed": "{{ messages.append(1) }}",
    "a list changed by subscript": "{{ messages['clear']() }}",
    "a dict changed": "{{ messages[0].update({'role': 'x'}) }}",
    "a dict changed by its type": "{{ dict.update(messages[0], {'role': 'x'}) }}",
    "bytes of a text": "{{ 'x'.encode() }}",
    "translation of a text": "{{ 'x'.translate({120: 'y' * 9}) }}",
    "printf": "{{ '%s' % messages }}",
    "a meter's own filter": "{{ 1 | spend }}",
    "debug": "{% debug %}",
    "import of Python": "{{ __import__('os') }}",
    "another file included": "a\n{% include 'secret.txt' %}",
    "another file included if there": "{% include '/etc/passwd' ignore missing %}",
    "another file imported": "{% import 'a.jinja' as a %}",
    "names of another file": "{% from 'a.jinja' import b %}",
    "another file extended": "{% extends 'a.jinja' %}",
    "escaping switched on": "{% autoescape true %}{{ messages }}{% endautoescape %}",
}  # fmt: skip


@pytest.mark.parametrize("text", ESCAPES.values(), ids=ESCAPES)
def test_escape_is_refused(text):
    said = refusal(text)
    assert said.startswith('template "foreign", line ')
    assert said.endswith("choose another template.") or said.endswith("Correct it there.")


def test_template_that_reads_another_is_told_to_be_one_text():
    said = refusal(ESCAPES["another file included"])
    assert 'template "foreign", line 2: it reads another template' in said
    assert "A chat template is one text" in said


RAISES = {
    "RecursionError": ("{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}", "it calls itself without end"),
    "ZeroDivisionError": ("\n{{ 1 / 0 }}", "line 2, refuses a row: division by zero"),
    "UndefinedError": ("\n\n{{ nothing.at.all }}", "line 3, refuses a row: 'nothing' is undefined"),
    "AttributeError": ("{{ [1, 2] | first(3) | map }}", "refuses a row"),
    "KeyError": ("{{ messages[0].nothing.at }}", "has no attribute 'nothing'"),
    "OverflowError": ("{{ 10.0 ** 400 }}", "refuses a row"),
    "TypeError": ("{{ 1 + 'x' }}", "line 1, refuses a row: unsupported operand"),
    "ValueError": ("{{ [3] | tojson(separators=[1]) }}", "refuses a row"),
    "IndexError": ("{{ messages[0].content.split('a', 1, 2) }}", "refuses a row"),
    "its own words": ("{{ raise_exception('only system') }}", "refuses a row: only system."),
    "its own words without end": ("{{ raise_exception('x' * 99999) }}", "xxx …."),
    "no words at all": ("{{ raise_exception('') }}", "refuses a row: TemplateError."),
    "an unknown filter": ("{{ 1 | trimm }}", "line 1: No filter named 'trimm'"),
    "an unknown test": ("{{ 1 is stringg }}", "line 1: No test named 'stringg'"),
    "an unknown tag": ("x\n{% foreach a %}", "line 2: Encountered unknown tag 'foreach'"),
    "an unfinished tag": ("x\n{% if a", "line 2: "),
    "a loop that does not end": ("x\n{% for a in b %}", "Unexpected end of template"),
    "too many nested blocks": ("{% for a in [1] %}" * 99 + "{% endfor %}" * 99, "nest less"),
    "too many nested brackets": ("{{ " + "(" * 999 + ")" * 999 + " }}", "nest less"),
    "a number of thousands of digits": ("{{ " + "9" * 9999 + " }}", "shorter numbers"),
    "a template of a book's length": ("x" * 50_001, "it has 50,001 characters; a template may have 50,000"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), RAISES.values(), ids=RAISES)
def test_whatever_a_template_raises_is_a_refusal(text, message):
    said = refusal(text)
    assert message in said
    assert len(said) < 1200


def test_row_that_is_too_long_is_refused():
    with pytest.raises(IikataError, match="a value of more than 5,000,000 bytes"):
        native(CHATML, {}).render("🐟" * 2_000_000)


def test_row_of_a_million_characters_is_written():
    assert len(native(CHATML, {}).render("次" * 1_000_000).prompt) > 1_000_000


def test_budget_is_one_rendering_s_and_the_same_every_time():
    assert len({refusal(BOMBS["a loop that writes nothing"]) for _ in range(3)}) == 1
    assert native(CHATML, {}).render("q").prompt.count("q") == 1


def test_threads_have_budgets_of_their_own():
    # 60,000 turns of a loop are well within one budget; twelve times as many are not.
    text = "{% for a in range(60000) %}{% endfor %}done"
    written = []
    template = JinjaTemplate("t", chat_template=text)
    threads = [threading.Thread(target=lambda: written.append(template.prompt_of("a", "b"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == ["done"] * 12


def test_clock_stops_what_the_budget_would_let_pass(monkeypatch):
    from iikata.templates import meter

    monkeypatch.setattr(meter, "MOST_SECONDS", 0.0)
    assert "or 0 seconds for a row" in refusal("{{ 1 + 1 }}")


# ruff: noqa: E501 - a template is easiest read by its own lines
FEATURES = """\
{%- set ns = namespace(last=none, seen=[]) -%}
{%- macro turn(m, tail='') -%}<{{ m.role | upper }}> {{ caller() if caller else m['content'].strip() }}{{ tail }}{%- endmacro -%}
{%- for m in messages if m.content is string -%}
{%- if loop.first and not (m.role == 'system') %}{{ 'S' ~ loop.index0 ~ 1.5 ~ none }}{% endif -%}
{%- set ns.seen = ns.seen + [m.role] -%}
{{ turn(m, tail='\\n' * (loop.index0 % 2 + 1)) }}
{%- if 'x' in m.content and m.content.split('x')[-1] != m.content[:2] %}{{ m | tojson(indent=2) }}{% endif -%}
{%- endfor -%}
{%- for key, value in messages[0] | dictsort %}{{ (key, value | length) }}{% if loop.last %}{% break %}{% endif %}{% endfor -%}
{{ ns.seen | join('+') }}{{ ns.seen | unique | list }}{{ 2 ** 3 + 7 // 2 - 1 * 2 / 4 }}{{ [1, 2.5, 'a'] * 2 }}{{ {'a': [1]} }}
{%- call(x) turn(messages[0]) %}called{% endcall %}{% filter replace('l', 'L') %}all {{ 1 + 1 }}{% endfilter %}
{%- set block %}{{ ('a' | safe) + '<' }}{{ nothing }}{% endset %}{{ block | indent }}{{ range(3) | map('string') | list }}
{{- messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | first | default('none', true) }}
"""


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), st.text(max_size=40)), min_size=1, max_size=4))
def test_metered_text_is_jinjas_own(turns):
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from iikata.templates import sandbox

    messages = [{"role": role, "content": content} for role, content in turns]
    plain = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    plain.filters["tojson"] = sandbox.tojson
    metered = sandbox.render(sandbox.opened(FEATURES)[0], {"messages": messages})
    assert metered == plain.from_string(FEATURES).render(messages=messages)
