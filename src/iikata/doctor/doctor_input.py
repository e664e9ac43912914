"""What the template doctor examines: templates, tokenizer and data as a run would use them."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from iikata.config import Experiment
from iikata.core.bilingual import NOT_SAID, Both
from iikata.core.encoded import Encoded
from iikata.core.records import Example, Finding, Probe
from iikata.core.registry import did_you_mean
from iikata.data import Dataset, LeftOut
from iikata.templates import TEMPLATES, AlpacaTemplate, Template, native
from iikata.templates.template import SENTINELS
from iikata.tokenize import Tokenizer
from iikata.tokenize.settings import read_object

ROWS_LOOKED_AT = 1000
"""Rows a template that are tokenized once more, from the first on."""
SHOWN = 3
FIELDS = ("instruction", "input")
PLACEHOLDERS = (*FIELDS, "system")
NEUTRAL = ("a", "色", "1")
"""Letters to stand on both sides of a text; the first that the tokenizer gives back is taken."""


@dataclass(frozen=True)
class DoctorInput:
    """One experiment's inputs. No model weights."""

    experiment: Experiment

    templates: Mapping[str, Template]
    """By name, those trained on first; without the broken ones."""
    broken: Mapping[str, str]
    """Templates that cannot be used, and why."""
    encoded: Mapping[str, Sequence[Encoded]]
    """The training rows, in their order, under each template that is trained on."""
    tokenizer: Tokenizer
    folder: Path
    """The model's."""
    data: Dataset
    probes: Sequence[Probe] = ()

    def tokens(self, text: str, start: bool = True) -> list[str]:
        """Return the tokens of a text as the vocabulary writes them; with `start=False`, of one that goes on."""
        ids, before = self.tokenizer.ids(text), self.tokenizer.ids(self._neutral)
        if not start:
            ids = self.tokenizer.ids(self._neutral + text)
            ids = ids[len(before) :] if ids[: len(before)] == before else ids
        return [self.tokenizer.token(id) for id in ids]

    def back(self, text: str) -> str:
        """Return `text` encoded and decoded, as it fares in the middle of a longer text."""
        decoded = self.tokenizer.text(self.tokenizer.ids(self._neutral + text + self._neutral))
        return decoded.removeprefix(self._neutral).removesuffix(self._neutral)

    def unknown(self, text: str) -> bool:
        """Return whether some of `text` becomes the unknown token."""
        return self._writes_unknown and self.tokenizer.unk_id in self.tokenizer.ids(self._neutral + text)

    def whole(self, text: str) -> bool:
        """Return whether `text` holds no unknown token and comes back as it is."""
        return not self.unknown(text) and self.back(text) == text

    @property
    def rows_read(self) -> list[Example]:
        """The rows to train on and those held out."""
        return [*self.data.train, *self.data.validation]

    @cached_property
    def turns(self) -> list[Example]:
        """The training conversations up to each of their answers."""
        return [turn for row in self.data.train for turn in row.turns()]

    def rows(self, template: str) -> Sequence[Encoded]:
        """Return the first training rows under a template; none where it is not trained on."""
        return self.encoded.get(template, ())[:ROWS_LOOKED_AT]

    def settings(self, file: str) -> dict[str, Any]:
        """Return a JSON file of the model folder, {} where there is none."""
        return read_object(self.folder / file)

    @cached_property
    def writable(self) -> list[str]:
        """The templates of which the tokenizer knows every letter: native, where there is one, and built-in ones."""
        native = ["native"] if self.tokenizer.chat_template else []
        return native + [name for name, template in TEMPLATES.items() if not any(map(self.unknown, literals(template)))]

    @property
    def native(self) -> Template | None:
        """The model's own chat template; raises IikataError where that cannot be read."""
        own = self.tokenizer.chat_template
        return None if own is None else native(own, self.tokenizer.named_tokens)

    @cached_property
    def _writes_unknown(self) -> bool:
        # Byte-level vocabularies name an unknown token and never write it.
        return self.tokenizer.unk_id in self.tokenizer.ids("\ue000")

    @cached_property
    def _neutral(self) -> str:
        tokenizer = self.tokenizer
        whole = (letter for letter in NEUTRAL if tokenizer.text(tokenizer.ids(letter * 2)) == letter * 2)
        return next(whole, NEUTRAL[0])


def prompts(template: Template) -> Iterator[tuple[str, str]]:
    """Yield the template's two prompts with stand-ins: ("prompt_no_input", text), ("prompt_input", text)."""
    instruction, input, _ = SENTINELS
    yield "prompt_no_input", template.render(instruction).prompt
    yield "prompt_input", template.render(instruction, input).prompt


def literals(template: Template) -> list[str]:
    """Return the texts that stand around instruction, input and answer in both prompts, each once."""
    prompt = "|".join(SENTINELS[:2])
    parts = [part for _, text in prompts(template) for part in re.split(prompt, text)] + [template.around[0]]
    return [part for part in dict.fromkeys(parts) if part]


def placeholders(template: Template) -> list[str]:
    """Return the words in braces that the template writes as they are."""
    return [word for part in literals(template) for word in re.findall(r"\{\s*(\w+)\s*\}", part)]


def garbled(template: Template) -> bool:
    """Return whether a placeholder is missing or misspelt, which the rule `placeholder` tells."""
    return any(template.faults()) or any(did_you_mean(word, PLACEHOLDERS) for word in placeholders(template))


def as_file(template: Template) -> str:
    """Return a template's JSON on one line, to be saved as a file and named under `templates:`."""
    keys = ("prompt_input", "prompt_no_input") if isinstance(template, AlpacaTemplate) else ("kind", "chat_template")
    content = template.as_dict()
    more = [key for key in ("response_split", "newline", "date") if content.get(key)]
    return json.dumps({key: content[key] for key in (*keys, *more)}, ensure_ascii=False)


def share(part: int, whole: int, what: str = "rows", what_ja: str = "行") -> Both:
    """Return how many of how many, as a message counts them."""
    return Both(
        f"{part} of {whole} ({part / whole:.1%}) {what}",
        f"{whole} {what_ja}中 {part} {what_ja}（{part / whole:.1%}）",
    )


def counted(rows: int, of_rows: int, probes: int, of_probes: int) -> Both:
    """Return how many rows and probes, as far as there are any."""
    told = share(rows, of_rows) if rows else NOT_SAID
    if probes:
        told += (Both(" and ", "と") if rows else NOT_SAID) + share(probes, of_probes, "probes", "問")
    return told


def places(rows: Iterable[Example]) -> str:
    """Return where the first of these rows stand."""
    return ", ".join(row.source or row.id for row in islice(rows, SHOWN))


def counted_rows(
    case: "DoctorInput", rule: str, severity: str, left: LeftOut, message: Both, fix: Both = NOT_SAID
) -> Iterator[Finding]:
    """Yield what is to be told of rows that were counted while they were read, where there are any."""
    if left.rows:
        told = share(left.rows, case.data.counts.rows) + message
        yield Finding.of(rule, severity, None, told, ", ".join(left.examples), fix)


def short(text: str) -> str:
    """Return the text as Python writes it, its middle left out where it is long."""
    return repr(text if len(text) <= 60 else f"{text[:30]} … {text[-30:]}")
