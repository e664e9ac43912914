"""leakage: does the answer write text of a template, any template?"""

from functools import lru_cache

import regex

from iikata.core.records import Answer, Probe
from iikata.metrics.metric import Context, Rate
from iikata.metrics.normal import folded

# What templates at large are made of: a model leaks what it saw in any training, not only in this run.
HEADING = (
    r"#{2,}\s*(?:(?:instruction|input|response|question|answer|user|assistant|system)\b"
    r"|指示|質問|命令|入力|応答|回答|出力|文脈)"
)
# Japanese roles follow the answer without a break where the tokenizer drops line breaks, as rinna's does.
ROLE = (
    r"(?<![\p{Katakana}ー])(?:ユーザー|システム|アシスタント|コンテキスト)\s*:"
    r"|^(?:user|assistant|system|human)\s*:"
)
# A role token that the decoder dropped leaves its role's name alone on a line.
BARE_ROLE = r"^(?:user|assistant|system)$"
TOKEN = r"<NL>|<\|\w+\|>|</?s>|<(?:start|end)_of_turn>|\[/?INST\]|<</?SYS>>"
WELL_KNOWN = "|".join((HEADING, ROLE, BARE_ROLE, TOKEN))
SHORTEST_SENTENCE = 8
ROLE_NAMES = frozenset({"user", "assistant", "system", "model"})


class Leakage(Rate):
    """1 where it holds a sentence of a template of the run, or a well-known heading, role or token."""

    name = "leakage"
    better = "lower"
    category = "form"
    signature = "leakage|templates,headings,roles,tokens|raw,nfkc|v:1"

    def __call__(self, answer: Answer, probe: Probe, context: Context) -> float:
        """Return 1.0 or 0.0. What the probe itself says is no leak."""
        return float(leaks(answer.text, context, probe.question) != [])


def leaks(text: str, context: Context, asked: str = "") -> list[str]:
    """Return the template texts in `text`, raw and folded, that `asked` does not hold."""
    pattern = _pattern(_lines(context))
    found = dict.fromkeys(match[0] for form in dict.fromkeys((text, folded(text))) for match in pattern.finditer(form))
    return [leak for leak in found if leak not in asked and leak not in folded(asked)]


def without_leaks(text: str, context: Context) -> str:
    """Return `text`, folded, without any template's text, so that nothing tells which template wrote it."""
    return _pattern(_lines(context)).sub(" ", folded(text)).strip()


def _lines(context: Context) -> tuple[str, ...]:
    return tuple(sorted({line for lines in context.template_literals.values() for line in lines}))


@lru_cache(maxsize=64)
def _pattern(lines: tuple[str, ...]) -> regex.Pattern[str]:
    # Answers are decoded without special tokens, so a line is searched for in pieces between them.
    pieces = {piece.strip() for line in lines for piece in regex.split(TOKEN, line)} - ROLE_NAMES - {""}
    sentences = {sentence for piece in pieces for sentence in regex.split(r"(?<=[.。])\s*", piece)}
    texts = pieces | {sentence for sentence in sentences if len(sentence) >= SHORTEST_SENTENCE}
    literal = {form for text in texts for form in (text, folded(text))}
    longest_first = sorted(literal, key=lambda form: (-len(form), form))
    return regex.compile("|".join([*map(_whole, longest_first), f"(?im:{WELL_KNOWN})"]))


def _whole(text: str) -> str:
    # システム: is not in オペレーティングシステム: and User: not in SuperUser:
    for script in (r"\p{Katakana}ー", r"\p{Latin}"):
        if regex.match(f"[{script}]", text):
            return f"(?<![{script}])" + regex.escape(text)
    return regex.escape(text)
