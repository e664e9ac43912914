"""A template that shows examples before each question: what the untuned model can do with a few of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from iikata.core.records import NOTHING, Before, Example
from iikata.core.rng import stream_seed
from iikata.templates.template import Template


@dataclass(frozen=True)
class Shots(Template):
    """Another template's prompts with rows of the training data as earlier turns."""

    of: Template | None = None
    turns: tuple[tuple[str, str], ...] = ()

    kind = "shots"

    @classmethod
    def over(cls, template: Template, rows: Iterable[Example], name: str) -> "Shots":
        """Return `template` with these rows before each question, in their order."""
        turns = (
            (f"{row.instruction}\n\n{row.input}" if row.input.strip() else row.instruction, row.output) for row in rows
        )
        return cls(name, template.newline, template.stop, template, tuple(turns))

    def prompt_of(self, instruction: str, input: str, before: Before = NOTHING) -> str:
        assert self.of is not None
        return self.of.prompt_of(instruction, input, self._after_shots(before))

    def answer_of(self, instruction: str, input: str, output: str, before: Before = NOTHING) -> tuple[str, str, str]:
        assert self.of is not None
        return self.of.answer_of(instruction, input, output, self._after_shots(before))

    def _after_shots(self, before: Before) -> Before:
        return Before(before.system, (*self.turns, *before.turns))

    @cached_property
    def ending(self) -> str:
        assert self.of is not None
        return self.of.ending

    @cached_property
    def around(self) -> tuple[str, str]:
        assert self.of is not None
        return self.of.around

    def template_literals(self) -> tuple[str, ...]:
        """Return the template's own lines; what the examples say is no leak of it."""
        assert self.of is not None
        return self.of.template_literals()


def drawn(rows: Sequence[Example], shots: int, draw: int) -> list[Example]:
    """Return so many rows of one turn, the same for every template and question; more shots begin with the same."""
    single = [row for row in rows if not row.before.turns]
    return sorted(single, key=lambda row: stream_seed("shots", draw, row.id))[:shots]
