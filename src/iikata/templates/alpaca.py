"""Alpaca-LoRA templates: two prompts with `{instruction}` and `{input}` in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches

from iikata.core.records import NOTHING, Before
from iikata.templates.template import Template

BRACED = re.compile(r"\{(\{? *[A-Za-z_]+ *\}?)\}")
"""What a slip of the pen makes of a placeholder: {Instruction}, { input }, {{input}}."""
PLACEHOLDER = re.compile(r"\{(instruction|input|system)\}")
BETWEEN = "\n\n"
"""What stands between two turns, as in LLaMA-Factory, whose own alpaca template writes it behind each end token."""


@dataclass(frozen=True)
class AlpacaTemplate(Template):
    """A prompt for rows with an input and one for rows without; the answer follows, then the end token."""

    prompt_input: str = ""
    prompt_no_input: str = ""
    response_split: str = ""
    """Where Alpaca-LoRA's script cut decoded text; kept, never used: answers are cut by tokens."""
    description: str = ""
    eos: str = field(default="", compare=False)
    """The text of the end token, once a tokenizer is known: it ends each earlier answer."""

    kind = "alpaca"
    needed = ("prompt_input", "prompt_no_input")
    comments = frozenset({"name", "description", "response_split", "eos"})

    def prompt_of(self, instruction: str, input: str, before: Before = NOTHING) -> str:
        """Return a block for every turn; the system message, where there is a place, stands in the first alone."""
        written, system = "", before.system
        for user, assistant in before.turns:
            written += self._block(user, "", system) + assistant + self.eos + BETWEEN
            system = ""
        return written + self._block(instruction, input, system)

    def _block(self, instruction: str, input: str, system: str) -> str:
        fields = {"instruction": instruction, "input": input, "system": system}
        prompt = self.prompt_input if input.strip() else self.prompt_no_input
        # One pass and no str.format: a user's "{input}" and other braces are text.
        return PLACEHOLDER.sub(lambda match: fields[match[1]], prompt)

    def answer_of(self, instruction: str, input: str, output: str, before: Before = NOTHING) -> tuple[str, str, str]:
        return "", output, ""

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield (field, what is wrong with it) for each prompt whose placeholders cannot be meant."""
        needed = {"prompt_input": {"instruction", "input"}, "prompt_no_input": {"instruction"}}
        known = {"instruction", "input", "system"}
        for key, names in needed.items():
            found = set(PLACEHOLDER.findall(getattr(self, key)))
            for name in sorted(names - found):
                yield (
                    key,
                    f"has no {{{name}}}, so the model would never see it. Write {{{name}}} where it belongs.",
                )
            for name in sorted(found - names - {"system"}):
                yield key, f"is for rows without an input, yet has {{{name}}}. Move it to prompt_input."
            for word in sorted(set(BRACED.findall(getattr(self, key))) - known):
                near = get_close_matches(word.strip(" {}").lower(), known, n=1)
                if near and near[0] in found:  # else it is missing, as said above
                    yield key, f"has {{{word}}}, which would stay as it is. Write {{{near[0]}}}, or other words."
