"""Alpaca template <-> Jinja chat template, exact or refused."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.records import NOTHING, Before
from iikata.templates.alpaca import BETWEEN, PLACEHOLDER, AlpacaTemplate
from iikata.templates.jinja import JinjaTemplate, newline_written
from iikata.templates.template import SENTINELS, Template

END = "Q7END7Q"
PARTS_OF_A_DATE = "%Y %m %d %B %b %A %a %H %M %S %F %T %y %j %p %I %e %-d %-m %-H %-I"
ROWS = (
    ("What?", "", "This."),
    (" 山 は?\n\n二行 ", "", "\n答え。 \n次\n"),
    ("{input} {{ x }}", "{instruction}\n'\"\\n", "{output} <NL> %"),
    ("a" * 500, "  ", " b"),
    ("", "本文\t🐟", ""),
)
"""Rows on which both sides of a conversion must agree: white space at every end, line breaks, braces, nothing."""
TALKS = (
    *((*row, NOTHING) for row in ROWS),
    ("And {x}?", "", " b ", Before(" Be\n short. ", (("Q\n", " a\n"), ("{input}", "")))),
)
FRAME = """\
{%- set first = namespace(system='', text='') -%}
{%- for message in messages -%}
{%- if message.role == 'user' -%}
{%- set instruction = message.instruction if message.instruction is defined else message.content -%}
{%- set input = message.input if message.input is defined else '' -%}
{%- if loop.previtem is defined and loop.previtem.role == 'assistant' -%}
{{ <between> }}
{%- endif -%}
{%- if input | trim -%}
{{ <with> }}
{%- else -%}
{{ <without> }}
{%- endif -%}
{%- set first.system = '' -%}
{%- elif message.role == 'assistant' -%}
{{ <answer> ~ eos_token }}
{%- elif message.role == 'system' and loop.first -%}
<system>
{%- else -%}
{{ raise_exception('This model was trained on user and assistant in turn.') }}
{%- endif -%}
{%- endfor -%}
"""
SYSTEM_PLACE = "{%- set first.system = message.content -%}"
NO_SYSTEM = (
    "{{ raise_exception('This model was trained without system messages: its template has no place for them.') }}"
)


def to_jinja(template: AlpacaTemplate) -> JinjaTemplate:
    """Return the chat template that writes the same prompts and answers, and then the end token.

    A user message gives `instruction` and `input`, or else `content`, which is an instruction without an input. Each
    later turn repeats the block, as `AlpacaTemplate.prompt_of` does. The newline convention is in the text itself, so
    it holds under any tool.
    """
    text = FRAME.replace("<with>", _expression(template.prompt_input, template.newline))
    text = text.replace("<without>", _expression(template.prompt_no_input, template.newline))
    text = text.replace("<answer>", _mapped("message.content", template.newline))
    text = text.replace("<between>", _literal(BETWEEN, template.newline))
    text = text.replace("<system>", SYSTEM_PLACE if template.takes_system else NO_SYSTEM)
    made = JinjaTemplate(template.name, template.newline, template.stop, chat_template=text, special_tokens={})
    _agree(template, made, TALKS)
    return replace(made, special_tokens=None)


def to_alpaca(template: JinjaTemplate) -> AlpacaTemplate:
    """Return the Alpaca template that writes the same. Raises IikataError with the reason where there is none.

    Found with stand-ins for the row's texts, and then tried on rows that a template may treat otherwise.
    """
    names = [name for name in sorted(template.variables) if name.endswith("_token") and name != "eos_token"]
    if names:
        raise _refused(template, f"it writes {names[0]}, and an Alpaca file has no word for a special token")
    probed = replace(template, special_tokens={"eos_token": END})
    instruction, input, answer = SENTINELS
    without = probed.render(instruction, "", answer)
    if without.end.strip() not in ("", END):
        raise _refused(template, f"it ends answers with {without.end!r}, and an Alpaca file with the end token only")
    if without.completion != answer:
        raise _refused(template, f"it writes {without.completion.partition(answer)[0]!r} before an answer")
    both = probed.render(instruction, input).prompt
    prompts = [text.replace(instruction, "{instruction}").replace(input, "{input}") for text in (both, without.prompt)]
    made = AlpacaTemplate(template.name, template.newline, template.stop, *prompts)
    for _, fault in made.faults():
        raise _refused(template, f"its prompt {fault}")
    _agree(made, probed, ROWS)
    return made


def chat_template(template: Template, writes_bos: bool = False) -> str:
    """Return the template as one Jinja text that writes the same under any tool; `writes_bos` puts BOS in front."""
    made = to_jinja(template) if isinstance(template, AlpacaTemplate) else template
    if not isinstance(made, JinjaTemplate):
        fix = "Train with an Alpaca or Jinja template."
        seen = f"the format {made.kind} has no chat template that other tools read"
        raise IikataError(f'template "{made.name}": {seen}. {fix}')
    text = made.chat_template.removesuffix("\n")  # as Jinja drops it
    # Each line in front ends with a block, so that Jinja takes off its line break and the text begins a line.
    if made.newline and newline_written(made) != made.newline:
        text = f"{{% filter replace('\\n', {_literal(made.newline)}) %}}\n{text}{{%+ endfilter %}}"
    if made.date:  # what is trained does not change with the day
        text = _dated(made.date) + text
    return "{{ bos_token }}{% set begun = true %}\n" + text if writes_bos else text


def _dated(date: str) -> str:
    """Return a macro that writes one day's parts where the tool's own `strftime_now` would write today's."""
    day = datetime.fromisoformat(date)
    parts = [f"replace('{part}', {_literal(day.strftime(part))})" for part in PARTS_OF_A_DATE.split()]
    return f"{{% macro strftime_now(format) %}}{{{{ format | {' | '.join(parts)} }}}}{{% endmacro %}}\n"


def _expression(prompt: str, newline: str | None) -> str:
    """Return a Jinja expression of the prompt: its own text as string literals, and the row's between them."""
    parts = PLACEHOLDER.split(prompt)
    names = ["first.system" if part == "system" else part for part in parts]
    written = [_mapped(part, newline) if i % 2 else _literal(part, newline) for i, part in enumerate(names)]
    return " ~ ".join(part for part in written if part != '""') or '""'


def _literal(text: str, newline: str | None = None) -> str:
    return json.dumps(text.replace("\n", newline or "\n"), ensure_ascii=False)


def _mapped(name: str, newline: str | None) -> str:
    return f"{name} | replace('\\n', {_literal(newline)})" if newline else name


def _agree(alpaca: AlpacaTemplate, jinja: JinjaTemplate, rows: Iterable[tuple[Any, ...]]) -> None:
    alpaca = replace(alpaca, eos=(jinja.special_tokens or {}).get("eos_token", ""))
    for row in rows:
        one, other = alpaca.render(*row), jinja.render(*row)
        if (one.prompt, one.completion) != (other.prompt, other.completion):
            raise _refused(
                jinja,
                f"for {row!r:.80} the Alpaca form gives {one.prompt!r:.200}, the Jinja form {other.prompt!r:.200}",
            )


def _refused(template: Any, reason: str) -> IikataError:
    return IikataError(f'template "{template.name}" cannot be converted exactly: {reason}. Keep it as it is.')
