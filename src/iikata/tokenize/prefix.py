"""The first tokens that all of a template's prompts share."""

from iikata.templates import Template
from iikata.tokenize.encode import encode_prompt
from iikata.tokenize.tokenizer import Tokenizer

STAND_INS = (("Why?", "0"), ("色は何", "Z"))


def prefixes(template: Template, tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    """Return the tokens that prompts begin with, one tuple for prompts without an input and one for those with.

    Found from two stand-in rows, so they depend on the template alone and never on which rows or probes there are.
    A prompt that does not begin with one of them (its first word merged into the template) just shares nothing.
    """
    found = []
    for with_input in (False, True):
        first, second = (
            encode_prompt(template, tokenizer, instruction, input if with_input else "")
            for instruction, input in STAND_INS
        )
        same = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
        if same:
            found.append(tuple(first[:same]))
    return list(dict.fromkeys(found))
