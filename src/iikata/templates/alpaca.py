"""Alpaca-LoRA templates: two prompts with `{instruction}` and `{input}` in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from iikata.templates.template import Template

BRACED = re.compile(r"\{(\{? *[A-Za-z_]+ *\}?)\}")
"""What a slip of the pen makes of a placeholder: {Instruction}, { input }, {{input}}."""
PLACEHOLDER = re.compile(r"\{(instruction|input)\}")


@dataclass(frozen=True)
class AlpacaTemplate(Template):
    """A prompt for rows with an input and one for rows without; the answer follows, then the end token."""

    prompt_input: str = ""
    prompt_no_input: str = ""
    response_split: str = ""
    """Where Alpaca-LoRA's script cut decoded text; kept, never used: answers are cut by tokens."""
    description: str = ""

    kind = "alpaca"
    needed = ("prompt_input", "prompt_no_input")
    comments = frozenset({"name", "description", "response_split"})

    def prompt_of(self, instruction: str, input: str) -> str:
        fields = {"instruction": instruction, "input": input}
        prompt = self.prompt_input if input.strip() else self.prompt_no_input
        # One pass and no str.format: a user's "{input}" and other braces are text.
        return PLACEHOLDER.sub(lambda match: fields[match[1]], prompt)

    def answer_of(self, instruction: str, input: str, output: str) -> tuple[str, str, str]:
        return "", output, ""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield (field, what is wrong with it) for each prompt whose placeholders cannot be meant."""
        needed = {"prompt_input": {"instruction", "input"}, "prompt_no_input": {"instruction"}}
        for key, names in needed.items():
            found = set(PLACEHOLDER.findall(getattr(self, key)))
            for name in sorted(names - found):
                yield (
                    key,
                    f"has no {{{name}}}, so the model would never see it. Write {{{name}}} where it belongs.",
                )
            for name in sorted(found - names):
                yield key, f"is for rows without an input, yet has {{{name}}}. Move it to prompt_input."
            for word in sorted(set(BRACED.findall(getattr(self, key))) - needed["prompt_input"]):
                near = get_close_matches(word.strip(" {}").lower(), needed["prompt_input"], n=1)
                if near and near[0] in found:  # else it is missing, as said above
                    yield key, f"has {{{word}}}, which would stay as it is. Write {{{near[0]}}}, or other words."
