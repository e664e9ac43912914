"""What the template doctor examines: templates, tokenizer and data as a run would use them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from iikata.config import Experiment
from iikata.core.bilingual import Both
from iikata.core.encoded import Encoded
from iikata.core.records import Example, Probe
from iikata.core.registry import did_you_mean
from iikata.data import Dataset
from iikata.templates import TEMPLATES, AlpacaTemplate, Template
from iikata.templates.template import SENTINELS
from iikata.tokenize import Tokenizer
from iikata.tokenize.settings import read_object

ROWS_LOOKED_AT = 1000
"""Rows a template that are tokenized once more, from the first on."""
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


def share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.1%})"


def share_ja(part: int, whole: int, what: str = "行") -> str:
    return f"{whole} {what}中 {part} {what}（{part / whole:.1%}）"


def counted(rows: int, of_rows: int, probes: int, of_probes: int) -> Both:
    """Return how many rows and probes, as far as there are any."""
    en = [f"{share(rows, of_rows)} rows"] if rows else []
    ja = [share_ja(rows, of_rows)] if rows else []
    en += [f"{share(probes, of_probes)} probes"] if probes else []
    ja += [share_ja(probes, of_probes, "問")] if probes else []
    return Both(" and ".join(en), "と".join(ja))


def short(text: str, characters: int = 60) -> str:
    """Return the text as Python writes it, its middle left out where it is long."""
    half = characters // 2
    return repr(text if len(text) <= characters else f"{text[:half]} … {text[-half:]}")
