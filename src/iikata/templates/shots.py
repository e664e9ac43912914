"""A template that shows examples before each question: what the untuned model can do with a few of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from iikata.core.records import NOTHING, Before, Example
from iikata.core.rng import stream_seed
from iikata.templates.jinja import user_message
from iikata.templates.template import Template


@dataclass(frozen=True)
class Shots(Template):
    """Another template's prompts with rows of the training data as earlier turns."""

    of: Template = field(kw_only=True)
    turns: tuple[tuple[str, str], ...] = ()

    kind = "shots"

    @classmethod
    def over(cls, template: Template, rows: Iterable[Example], name: str) -> "Shots":
        """Return `template` with these rows before each question, in their order."""
        turns = tuple((user_message(row.instruction, row.input)["content"], row.output) for row in rows)
        return cls(name, template.newline, template.stop, turns, of=template)

    def prompt_of(self, instruction: str, input: str, before: Before = NOTHING) -> str:
        return self.of.prompt_of(instruction, input, self._after_shots(before))

    def answer_of(self, instruction: str, input: str, output: str, before: Before = NOTHING) -> tuple[str, str, str]:
        return self.of.answer_of(instruction, input, output, self._after_shots(before))

    def texts_of(
        self, instruction: str, input: str, outputs: Sequence[str], before: Before = NOTHING
    ) -> tuple[str, list[tuple[str, str, str]]]:
        return self.of.texts_of(instruction, input, outputs, self._after_shots(before))

    def _after_shots(self, before: Before) -> Before:
        return Before(before.system, (*self.turns, *before.turns))

    @cached_property
    def ending(self) -> str:
        return self.of.ending

    @cached_property
    def around(self) -> tuple[str, str]:
        return self.of.around

    def template_literals(self) -> tuple[str, ...]:
        """Return the template's own lines; what the examples say is no leak of it."""
        return self.of.template_literals()


def drawn(rows: Sequence[Example], shots: int, draw: int) -> list[Example]:
    """Return so many rows of one turn, the same for every template and question; more shots begin with the same."""
    single = [row for row in rows if not row.before.turns]
    return sorted(single, key=lambda row: stream_seed("shots", draw, row.id))[:shots]
