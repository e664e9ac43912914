"""Rules on line breaks and other white space: what the tokenizer makes of them."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

from iikata.core.bilingual import Both, same
from iikata.core.records import Example, Finding
from iikata.doctor.doctor_input import DoctorInput, as_file, garbled, literals, prompts, share
from iikata.templates import TEMPLATES, AlpacaTemplate, Template

BLANK = re.compile(r"[^\S\n]+")
"""White space that breaks no line."""
BLANKS = " \u3000"


def newline(case: DoctorInput) -> Iterator[Finding]:
    """A line break must come back from the tokenizer, or be written as something that does."""
    for name, template in case.templates.items():
        convention = template.newline or "\n"
        lost = [part for part in literals(template) if case.back(part).count("\n") != part.count("\n")]
        if case.back(convention) == convention and not lost:
            continue
        breaks = sum(part.count("\n") for part in lost)
        fields = [(row.instruction, row.input, row.output) for row in case.turns]
        rows = [next(text for text in row if "\n" in text) for row in fields if any("\n" in text for text in row)]
        if lost or rows:
            message = Both(
                f"the tokenizer turns a line break, written {convention!r}, into {case.back(convention)!r}: "
                f"{breaks} in the template, and those in ",
                f"トークナイザは {convention!r} と書いた改行を {case.back(convention)!r} に変えます。"
                f"テンプレートの改行 {breaks} 個と、学習データ ",
            )
            message += share(len(rows), len(fields), "training rows") + Both("", "の改行が変わります")
            text = (lost or rows)[0]
            first = text.index("\n")
            shown = text[max(0, first - 6) : first + 10].replace("\n", convention)
            evidence = f"{shown!r} -> {case.tokens(shown, start=False)} -> {case.back(shown)!r}"
            fix = _newline_fix(case, template) if breaks or template.newline or case.whole("<NL>") else _ROWS_FIX
            yield Finding.of("newline", "warning", name, message, evidence, fix)


_ROWS_FIX = Both(
    "Nothing to paste: this vocabulary has no line break; their answers are trained on one line.",
    "直し方はありません。この語彙には改行がなく、回答は一行として学習します。",
)


def whitespace(case: DoctorInput) -> Iterator[Finding]:
    """Blanks, tabs and wide blanks must come back too; where not, indentation and tables are lost."""
    for name, template in case.templates.items():
        parts = [(part, lost) for part in literals(template) if (lost := _lost_blanks(case, part))]
        if parts:
            part, lost = parts[0]
            changed = ", ".join(map(repr, sorted(lost)))
            message = Both(
                f"the tokenizer changes white space of the template: {changed}",
                f"トークナイザがテンプレートの空白を変えます: {changed}",
            )
            evidence = f"{part!r} -> {case.tokens(part, start=False)} -> {case.back(part)!r}"
            fix = Both("Write the template with single blanks only.", "テンプレートの空白は半角一つずつにします。")
            yield Finding.of("whitespace", "warning", name, message, evidence, fix)
    rows = [(row, lost) for row in case.turns if (lost := _lost_blanks(case, row.output))]
    if rows:
        message = Both("in ", "回答 ") + share(len(rows), len(case.turns), "answers", "件")
        message += Both(" the tokenizer changes white space", "で、トークナイザが空白を変えます")
        yield Finding.of("whitespace", "warning", None, message, _blank_evidence(case, *rows[0]), _BLANKS_FIX)


def _lost_blanks(case: DoctorInput, text: str) -> set[str]:
    return {run for run in set(BLANK.findall(text)) if run != " " and case.back(run) != run}


_BLANKS_FIX = Both(
    "Nothing to paste: a model of this tokenizer cannot write them. Held-out loss leaves these rows out.",
    "直し方はありません。このトークナイザのモデルはその空白を書けません。検証行の損失では、これらの行を除きます。",
)


def _blank_evidence(case: DoctorInput, row: Example, lost: set[str]) -> str:
    found = next(match for match in BLANK.finditer(row.output) if match[0] in lost)
    shown = row.output[max(0, found.start() - 8) : found.end() + 8]
    return f"{row.source}: {shown!r} -> {case.tokens(shown, start=False)} -> {case.back(shown)!r}"


def trailing_space(case: DoctorInput) -> Iterator[Finding]:
    """A blank at the prompt's end moves into the answer, or is taken away from its first word."""
    for name in case.encoded:
        ending = [row for row in case.rows(name) if row.prompt != row.prompt.rstrip(BLANKS)]
        changed = []
        for row in ending:
            first, whole = answer_start(case, row.prompt, row.completion)
            bare, _ = answer_start(case, row.prompt.rstrip(BLANKS), row.completion)
            changed += [(row, first, bare)] if first != bare or not whole else []
        if not changed:
            continue
        row, first, bare = changed[0]
        message = Both(
            "the prompt ends in a blank, which changes the answer's first token, or how the answer is tokenized "
            "behind it, in ",
            "プロンプトが空白で終わり、回答の最初のトークンや、そのあとの回答の区切り方が変わります: ",
        ) + share(len(changed), len(ending))
        evidence = (
            f"{row.prompt[-8:]!r} + {row.completion[:8]!r}: answer begins {first!r}, without the blank {bare!r}, "
            f"as one text {case.tokens(row.prompt[-8:] + row.completion[:8], start=False)}"
        )
        yield Finding.of("trailing_space", "warning", name, message, evidence, _stripped(case.templates[name]))


def answer_start(case: DoctorInput, prompt: str, answer: str) -> tuple[str, bool]:
    """Return the answer's first token as it is trained, and whether the prompt's tokens begin those of both.

    An answer that quotes a special token is always tokenized apart, which is no fault of the prompt.
    """
    tokenizer = case.tokenizer
    asked, joint = tokenizer.ids(prompt), tokenizer.ids(prompt + answer)
    if joint[: len(asked)] == asked and not tokenizer.has_special(answer):
        return "".join(map(tokenizer.token, joint[len(asked) :][:1])), True
    alone = tokenizer.ids(answer, special=False, start=False)[:1]
    return "".join(map(tokenizer.token, alone)), tokenizer.has_special(answer)


def _newline_fix(case: DoctorInput, template: Template) -> Both:
    if template.newline is None and case.whole("<NL>"):
        line = Both(
            'newline: "<NL>"; in the template\'s file: "newline": "<NL>"',
            'newline: "<NL>"（テンプレートのファイルでは "newline": "<NL>"）',
        )
        if TEMPLATES.get(template.name) != template:
            return line
        named = same(as_file(replace(template, newline="<NL>")))
        return line + Both(". As its own file: ", "。ファイルにするなら: ") + named
    if case.tokenizer.chat_template:
        return same("templates: [native]")
    if not isinstance(template, AlpacaTemplate) or garbled(template):
        return Both("A template without line breaks.", "改行のないテンプレートを使います。")
    breaks = rf"(?:\n|{re.escape(template.newline or chr(10))})+"
    first, second = (re.sub(breaks, " ", text) for text in (template.prompt_input, template.prompt_no_input))
    flat = replace(template, newline=None, prompt_input=first, prompt_no_input=second)
    told = Both("A template without line breaks; this one: ", "改行のないテンプレートを使います。例: ")
    return told + same(as_file(flat))


def _stripped(template: Template) -> Both:
    if not isinstance(template, AlpacaTemplate):
        return Both(
            "Take the blank from the end of the generation prompt.", "生成用プロンプトの末尾の空白を取り除きます。"
        )
    both = {key: getattr(template, key) for key, text in prompts(template) if text != text.rstrip(BLANKS)}
    lines = {key: json.dumps(text.rstrip(BLANKS), ensure_ascii=False) for key, text in both.items()}
    return same(", ".join(f'"{key}": {text}' for key, text in lines.items()))
