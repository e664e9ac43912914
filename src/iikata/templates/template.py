"""What every template can do: render a row, read an answer back, name its own literal lines."""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

from iikata.core.encoded import Rendered, Role, Segment
from iikata.core.errors import IikataError
from iikata.core.records import NOTHING, Before

SENTINELS = ("Q7INSTRUCTION7Q", "Q7INPUT7Q", "Q7ANSWER7Q")
SYSTEM = "Q7SYSTEM7Q"
"""Stand-ins for the user's texts, to see what a template writes around them."""

SHORTEST_MARKER = 3


@dataclass(frozen=True)
class Template(ABC):
    """How instruction, input and answer become text."""

    name: str
    newline: str | None = None
    """What a line break becomes in prompts and answers, e.g. `<NL>`; mapped back in output. None: it stays."""
    stop: tuple[str, ...] = ()
    """Declared stop strings: an answer ends before the first of them."""

    kind: ClassVar[str]
    needed: ClassVar[tuple[str, ...]] = ()
    """Fields that a file must have."""
    comments: ClassVar[frozenset[str]] = frozenset({"name"})
    """Fields that change no rendered text, and so not the hash."""

    @abstractmethod
    def prompt_of(self, instruction: str, input: str, before: Before = NOTHING) -> str:
        """Return the prompt before the newline convention."""

    @abstractmethod
    def answer_of(self, instruction: str, input: str, output: str, before: Before = NOTHING) -> tuple[str, str, str]:
        """Return what is between prompt and answer, the answer, and what follows it, before the newline convention.

        The answer is the output but for white space at its ends. Raises IikataError where the template changes it.
        """

    def texts_of(
        self, instruction: str, input: str, outputs: Sequence[str], before: Before = NOTHING
    ) -> tuple[str, list[tuple[str, str, str]]]:
        """Return what `prompt_of` returns, and for each output what `answer_of` does."""
        prompt = self.prompt_of(instruction, input, before)
        return prompt, [self.answer_of(instruction, input, output, before) for output in outputs]

    def faults(self) -> Iterable[tuple[str, str]]:
        """Yield (field, what is wrong with it) for each field that cannot be meant as it is."""
        return ()

    @cached_property
    def takes_system(self) -> bool:
        """Whether there is a place for a system message."""
        try:
            return SYSTEM in self.prompt_of(SENTINELS[0], "", Before(SYSTEM))
        except IikataError:
            return False

    def render(
        self, instruction: str, input: str = "", output: str | None = None, before: Before = NOTHING
    ) -> Rendered:
        """Return the row as segments, what was said before in its prompt; without `output` the prompt alone.

        A system message for which there is no place is left out; the template doctor tells of that.
        """
        if output is not None:
            return self.renders(instruction, input, [output], before)[0]
        return self._segments((self.prompt_of(instruction, input, self._placed(before)), "prompt"))

    def renders(self, instruction: str, input: str, outputs: Sequence[str], before: Before = NOTHING) -> list[Rendered]:
        """Return what `render` returns of each output; the prompt that they share is written once."""
        prompt, answers = self.texts_of(instruction, input, outputs, self._placed(before))
        return [
            self._segments((prompt, "prompt"), (written, "written"), (answer, "answer"), (after, "end"))
            for written, answer, after in answers
        ]

    def _placed(self, before: Before) -> Before:
        return replace(before, system="") if before.system and not self.takes_system else before

    def _segments(self, *texts: tuple[str, Role]) -> Rendered:
        return Rendered(tuple(Segment(self._mapped(text), role) for text, role in texts if text))

    def answer(self, generated: str) -> str:
        """Return the answer in generated text: cut at a declared stop string, line breaks mapped back."""
        before, after = self.around
        generated = generated.removeprefix(before)
        for stop in self.stop:
            generated = generated.split(stop, 1)[0]
        return self.unmapped(generated.removesuffix(after[: len(after) - len(after.lstrip())]))

    def unmapped(self, text: str) -> str:
        """Return the text with the newline convention undone."""
        return text if self.newline is None else text.replace(self.newline, "\n")

    def template_literals(self) -> tuple[str, ...]:
        """Return the template's own lines of at least three characters, to find leaks of it in answers."""
        instruction, input, _ = SENTINELS
        prompts = self.render(instruction).prompt + "\n" + self.render(instruction, input).prompt
        # <NL> is split at always: dolly_ja_rinna writes it without declaring it.
        breaks = ["\n", "<NL>", *SENTINELS, *([self.newline] if self.newline else [])]
        lines = re.split("|".join(map(re.escape, breaks)), prompts)
        return tuple(dict.fromkeys(s for line in lines if len(s := line.strip()) >= SHORTEST_MARKER))

    def as_dict(self) -> dict[str, Any]:
        """Return the template as a dict that json can write."""
        return {"kind": self.kind, **asdict(self)}

    @cached_property
    def text(self) -> str:
        """Canonical JSON of all that bears on rendering; names and comments are left out."""
        content = {key: value for key, value in self.as_dict().items() if key not in self.comments}
        return json.dumps(content, ensure_ascii=False, sort_keys=True)

    @cached_property
    def hash(self) -> str:
        """The sha256 of `text`, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def ending(self) -> str:
        """What the template writes after an answer."""
        return ""

    @cached_property
    def around(self) -> tuple[str, str]:
        """What a plain answer has in front (a blank, an empty <think> block), and what follows it."""
        instruction, _, answer = SENTINELS
        try:
            return self.render(instruction, "", answer).of("written"), self.ending
        except IikataError:  # the prompt opens a think block, and only rows that bring thoughts fit it
            return "", self.ending

    def _mapped(self, text: str) -> str:
        return text if self.newline is None else text.replace("\n", self.newline)
