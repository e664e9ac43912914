"""Rules on a template's words: placeholders, its two prompts, the marker before the answer, the model's own format."""

import json
import re
from collections.abc import Iterator
from difflib import unified_diff
from itertools import combinations

from iikata.core.bilingual import Both, same
from iikata.core.errors import IikataError
from iikata.core.japanese import japanese
from iikata.core.records import Finding
from iikata.core.registry import did_you_mean
from iikata.doctor.doctor_input import (
    FIELDS,
    PLACEHOLDERS,
    DoctorInput,
    garbled,
    literals,
    placeholders,
    places,
    prompts,
    share,
    short,
)
from iikata.templates import TEMPLATES, AlpacaTemplate, JinjaTemplate, Template
from iikata.templates.template import SENTINELS
from iikata.tokenize import encode_prompt, end_id

DIFF_LINES = 12
PROMPTS_COMPARED = 24


def template(case: DoctorInput) -> Iterator[Finding]:
    """A template must be there, be readable, and accept every row."""
    for name, why in case.broken.items():
        message = Both(why, f"テンプレートを使えません: {japanese(why)}")
        fix = Both(
            "See the message; iikata templates list has others.",
            "メッセージに従って直します。ほかのテンプレートは iikata templates list で見られます。",
        )
        yield Finding.of("template", "error", name, message, cure=fix)
    for name, found in case.templates.items():
        if name in case.experiment.templates and name in TEMPLATES and found != TEMPLATES[name]:
            message = Both(
                f"templates/{name} beside the experiment is taken, and it is not the built-in {name}",
                f"実験ファイルの隣の templates/{name} を使います。組み込みの {name} とは内容が違います",
            )
            fix = Both("Give the file another name, or delete it.", "ファイルの名前を変えるか、削除します。")
            yield Finding.of("template", "warning", name, message, cure=fix)


def placeholder(case: DoctorInput) -> Iterator[Finding]:
    """Every field must reach the prompt; a misspelt placeholder and other braces are written as they are."""
    for name, found in case.templates.items():
        texts = {"prompt_no_input": "", "prompt_input": ""} | dict(prompts(found))
        faults = list(found.faults()) if isinstance(found, AlpacaTemplate) else list(_missing(found))
        words = placeholders(found)
        for key, fault in faults:
            misspelt = "".join(f" {{{word}}}{hint}" for word in words if (hint := did_you_mean(word, PLACEHOLDERS)))
            message = Both(
                f'"{key}" {fault}{misspelt}',
                f"{key} の差し込み位置が正しくありません: {japanese(fault)}{japanese(misspelt)}",
            )
            yield Finding.of("placeholder", "error", name, message, short(_shown(texts[key])), _FILL)
        for word in dict.fromkeys(words if not faults else ()):
            near = did_you_mean(word, PLACEHOLDERS)
            message = Both(
                f"{{{word}}} is no placeholder and is written as it is{near}",
                f"{{{word}}} は差し込み位置ではなく、そのまま書かれます{japanese(near)}",
            )
            fix = Both("Placeholders: {instruction}, {input}", "差し込み位置: {instruction}、{input}")
            yield Finding.of("placeholder", "warning", name, message, f"{{{word}}}", fix)
        braces = [part for part in literals(found) if re.search(r"[{}]", re.sub(r"\{\s*\w+\s*\}", "", part))]
        if braces:
            message = Both("braces are written as they are", "波かっこはそのまま書かれます")
            yield Finding.of("placeholder", "info", name, message, short(braces[0]))


_FILL = same('"prompt_input": "… {instruction} … {input} …", "prompt_no_input": "… {instruction} …"')


def _missing(found: Template) -> Iterator[tuple[str, str]]:
    """Yield what a template of another kind than Alpaca's does not write."""
    for key, text in prompts(found):
        for stand_in, field in zip(SENTINELS, FIELDS if key == "prompt_input" else FIELDS[:1], strict=False):
            if stand_in not in text:
                yield key, f"has no {field}, so the model would never see it."


def _shown(text: str) -> str:
    for stand_in, field in zip(SENTINELS, FIELDS, strict=False):
        text = text.replace(stand_in, f"{{{field}}}")
    return text


def variants(case: DoctorInput) -> Iterator[Finding]:
    """Prompts with and without an input should end alike, or the model learns two ways to begin an answer."""
    for name, found in case.templates.items():
        if garbled(found):  # its fix would paste the fault
            continue
        (_, without), (_, with_input) = prompts(found)
        tails = [re.split("|".join(SENTINELS), text)[-1] for text in (without, with_input)]
        if tails[0] != tails[1]:
            ends = [f"{tail!r} {case.tokens(tail, start=False)}" for tail in tails]
            evidence = f"prompt_no_input ends {ends[0]}, prompt_input {ends[1]}"
            fixed = _shown(without[: len(without) - len(tails[0])] + tails[1])
            message = Both("the two prompts end differently", "入力ありとなしで、プロンプトの終わり方が違います")
            fix = same(f'"prompt_no_input": {json.dumps(fixed, ensure_ascii=False)}')
            yield Finding.of("variants", "warning", name, message, evidence, fix)


def response_split(case: DoctorInput) -> Iterator[Finding]:
    """The marker at which Alpaca-LoRA's scripts cut an answer out must stand in both prompts and nowhere else."""
    for name, found in case.templates.items():
        marker = found.response_split if isinstance(found, AlpacaTemplate) else ""
        if not marker or garbled(found):
            continue
        lacking = [key for key, text in prompts(found) if marker not in text]
        if lacking:
            message = Both(
                f"response_split {marker!r} is not in {' and '.join(lacking)}; scripts that cut there would fail",
                f"response_split {marker!r} が {'と '.join(lacking)} になく、そこで回答を切り出すスクリプトは"
                "失敗します",
            )
            last = [line for line in _shown(dict(prompts(found))[lacking[0]]).splitlines() if line.strip()][-1:]
            fix = same(f'"response_split": {json.dumps(last[0].strip(), ensure_ascii=False)}' if last else "")
            yield Finding.of("response_split", "warning", name, message, f"{lacking[0]} ends {last}", fix)
        rows = [row for row in case.data.train if marker in "\n".join((row.instruction, row.input, *row.outputs))]
        if rows:
            message = Both(f"response_split {marker!r} is in ", f"response_split {marker!r} が学習データ ")
            message += share(len(rows), len(case.data.train), "training rows")
            message += Both(
                "; scripts that cut there would return the user's text (iikata cuts by tokens)",
                "にあり、そこで切り出すスクリプトは利用者の文を返します（iikata はトークンで切ります）",
            )
            fix = Both(
                "Choose a marker that no row has, or take these rows out.",
                "どの行にもない目印を選ぶか、これらの行を取り除きます。",
            )
            yield Finding.of("response_split", "warning", name, message, places(rows), fix)


def dated(case: DoctorInput) -> Iterator[Finding]:
    """A template that asks for today is told one fixed day, or prompts would change overnight: information."""
    for name, found in case.templates.items():
        if isinstance(found, JinjaTemplate) and found.date:
            message = Both(
                "the template asks for today's date and is always told the same day",
                "テンプレートが今日の日付を求めますが、いつも同じ日付を渡します",
            )
            kept = f'"kind": "jinja" and "date": "{found.date}"'
            fix = Both(
                f"Another day: a template file with {kept}",
                f"別の日付にするには、テンプレートのファイルに {kept.replace(' and ', '、')} と書きます。",
            )
            yield Finding.of("dated", "info", name, message, found.date, fix)


def native_differs(case: DoctorInput) -> Iterator[Finding]:
    """How a template departs from the format the model was made with: information, for that is the question."""
    try:
        own = case.native.render("{instruction}").prompt if case.native else ""
    except IikataError:
        return
    for name, found in case.templates.items() if own else ():
        shown = _shown(dict(prompts(found))["prompt_no_input"])
        if shown == own:
            continue
        lines = list(unified_diff(own.split("\n"), shown.split("\n"), "native", name, lineterm="", n=0))
        diff = "\n".join(line for line in lines[:DIFF_LINES] if not line.startswith("@@"))
        message = Both(
            "the template is not the model's own chat template",
            "モデル自身のチャットテンプレートとは違うテンプレートです",
        )
        fix = Both("templates: [native]  # to compare with it", "templates: [native]  # 比較するには")
        yield Finding.of("native_differs", "info", name, message, diff, fix)


def same_tokens(case: DoctorInput) -> Iterator[Finding]:
    """Two templates that become the same tokens are one: comparing them compares nothing."""
    own = case.data.train or case.data.validation
    texts = [*(p.asked for p in case.probes), *(r.asked for r in own)][:PROMPTS_COMPARED]
    seen = {}
    for name, found in case.templates.items():
        asked = [encode_prompt(found, case.tokenizer, *text) for text in texts]
        rows = [found.render(*row.texts) for row in own[:PROMPTS_COMPARED]]
        answers = [case.tokenizer.ids(row.completion) for row in rows]
        seen[name] = (asked, answers, end_id(found, case.tokenizer))
    for first, second in combinations(seen if texts else (), 2):
        if seen[first] == seen[second]:
            tokens = [case.tokenizer.token(id) for id in seen[first][0][0][:12]]
            message = Both(
                f"{first} and {second} become the same tokens in {len(texts)} prompts: they are one template",
                f"{first} と {second} は {len(texts)} 個のプロンプトで同じトークン列になり、同じテンプレートです",
            )
            fix = Both(f"Leave {second} out of templates.", f"templates から {second} を外します。")
            yield Finding.of("same_tokens", "error", second, message, f"{tokens} …", fix)
