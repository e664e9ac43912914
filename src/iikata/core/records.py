"""The nouns: what moves from room to room, as frozen records."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from iikata.core.bilingual import NOT_SAID, Both
from iikata.core.measured import EXACT, Measured


@dataclass(frozen=True)
class Before:
    """What was said before a question."""

    system: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    """(user, assistant) of each earlier turn."""

    @property
    def said(self) -> list[tuple[str, str]]:
        """All messages, each with its role: system, user, assistant."""
        first = [("system", self.system)] if self.system else []
        return [*first, *(one for pair in self.turns for one in zip(("user", "assistant"), pair, strict=True))]

    def transcript(self, last: str) -> str:
        """Return all of it and the last user message as a person reads it; that alone where nothing was said."""
        said = self.said
        return "\n".join(f"[{who}] {text}" for who, text in (*said, ("user", last))) if said else last


NOTHING = Before()


@dataclass(frozen=True)
class Example:
    """One training or validation row: a conversation, whose last turn is `instruction`, `input` and `output`."""

    id: str
    """First 16 hex digits of the content's sha256."""
    instruction: str
    input: str
    output: str
    source: str = ""
    """Where it came from, `file:line`, for error messages."""
    cluster: str = ""
    """The document or conversation it is of; "" where it is on its own."""
    before: Before = NOTHING
    marked: tuple[int, ...] = ()
    """Which of the earlier answers, counted from 0, its file marks as not to be trained; never the last."""

    @property
    def texts(self) -> tuple[str, str, str, Before]:
        """What a template renders."""
        return self.instruction, self.input, self.output, self.before

    @property
    def asked(self) -> tuple[str, str, Before]:
        """What a prompt is made of."""
        return self.instruction, self.input, self.before

    @property
    def outputs(self) -> list[str]:
        """The answers of all turns."""
        return [*(answer for _, answer in self.before.turns), self.output]

    def turns(self) -> Iterator["Example"]:
        """Yield the conversation up to each answer that is to be trained, the whole one last."""
        for n, (user, assistant) in enumerate(self.before.turns):
            if n in self.marked:
                continue
            before = Before(self.before.system, self.before.turns[:n])
            yield replace(self, instruction=user, input="", output=assistant, before=before)
        yield self


@dataclass(frozen=True)
class Probe:
    """A held-out prompt that every cell answers."""

    id: str
    instruction: str
    input: str = ""
    references: tuple[str, ...] = ()
    pattern: str | None = None
    """A regular expression that a right answer matches."""
    cluster: str = ""
    """Probes that belong together share one; its own id where none is given."""
    before: Before = NOTHING
    choices: tuple[str, ...] = ()
    """Answers to choose from."""
    answer: int | None = None
    """Which of the choices is right, counted from 0."""
    sampled: bool = True
    """Whether cells write answers to it; of one that is not, the likelihoods of its choices are read alone."""

    @property
    def asked(self) -> tuple[str, str, Before]:
        """What a prompt is made of."""
        return self.instruction, self.input, self.before

    @property
    def question(self) -> str:
        """All that is asked, as a person reads it."""
        asked = f"{self.instruction}\n\n{self.input}" if self.input.strip() else self.instruction
        return self.before.transcript(asked)


ELSEWHERE = ("adapters", "elsewhere")
"""The level by which score lines tell a variant that was trained elsewhere."""


@dataclass(frozen=True)
class Variant:
    """A recipe: the template or templates trained on, and the settings that tell it from other variants."""

    name: str
    """Where only templates vary, the template's."""
    templates: tuple[str, ...]
    """Names; with several, each row is under one of them."""
    levels: tuple[tuple[str, str], ...] = ()
    """(setting, level) of every factor but the template, as text."""

    @property
    def elsewhere(self) -> bool:
        """Whether it was trained elsewhere, so that its seeds and rows are nobody else's."""
        return ELSEWHERE in self.levels


@dataclass(frozen=True)
class Arm:
    """What was trained: a variant, by its name, under a seed. Both None: the untuned base.

    The base with a number is shown examples: the draw of this number.
    """

    variant: str | None = None
    seed: int | None = None

    @property
    def name(self) -> str:
        if self.variant is None:
            return "base" if self.seed is None else f"base.d{self.seed}"
        return f"{self.variant}.s{self.seed}"


@dataclass(frozen=True)
class Cell:
    """An arm prompted with a template."""

    arm: Arm
    prompted_with: str

    @property
    def name(self) -> str:
        return f"{self.arm.name}@{self.prompted_with}"


@dataclass(frozen=True)
class TrainStep:
    """One optimizer step of one arm."""

    __pydantic_config__ = EXACT
    arm: str
    step: int
    """Counts from 1."""
    loss: Measured
    """Mean over the step's loss tokens, in nats."""
    learning_rate: float
    grad_norm: Measured
    """Before clipping."""
    tokens: int
    loss_tokens: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One sampled text of one cell to one probe."""

    __pydantic_config__ = EXACT
    trained_on: str | None
    seed: int | None
    prompted_with: str
    probe: str
    sample: int
    text: str
    finish: str
    """"stop": ended by itself; "length": cut at max_new_tokens."""
    tokens: int
    """New tokens, the end token not counted."""
    signature: str = ""

    @property
    def cell(self) -> str:
        return Cell(Arm(self.trained_on, self.seed), self.prompted_with).name


@dataclass(frozen=True, slots=True)  # a run has millions: 240 bytes each, without slots 650
class Score:
    """One number for one answer or one held-out row; NaN where it could not be scored."""

    __pydantic_config__ = EXACT
    trained_on: str | None
    seed: int | None
    prompted_with: str
    probe: str
    cluster: str
    sample: int
    metric: str
    value: Measured
    signature: str
    template: str | None = None
    """What it was trained on, where `trained_on` is not that template's name."""
    levels: Mapping[str, str] = field(default_factory=dict)
    """The settings that tell it from others that were trained, as {"train.learning_rate": "3e-4"}."""


@dataclass(frozen=True)
class Finding:
    """One thing the template doctor found."""

    __pydantic_config__ = EXACT
    rule: str
    severity: str
    """"error" stops a run, "warning" is shown, "info" is told."""
    template: str | None
    message: str
    evidence: str = ""
    cure: str = ""
    message_ja: str = ""
    cure_ja: str = ""

    @classmethod
    def of(
        cls, rule: str, severity: str, template: str | None, message: Both, evidence: str = "", cure: Both = NOT_SAID
    ) -> "Finding":
        return cls(rule, severity, template, message.en, evidence, cure.en, message.ja, cure.ja)

    def told(self, language: str) -> dict[str, Any]:
        """Return rule, severity, template, message, evidence and cure in "en" or "ja"; English where that is all."""
        told = {key: getattr(self, key) for key in ("rule", "severity", "template", "message", "evidence", "cure")}
        if language == "ja":
            told |= {"message": self.message_ja or self.message, "cure": self.cure_ja or self.cure}
        return told


@dataclass(frozen=True)
class Gate:
    """A check that must hold before comparisons with `subject` may be believed."""

    __pydantic_config__ = EXACT
    name: str
    subject: str
    """An arm (`dolly_ja.s0`), a cell (`dolly_ja.s0@native`), a template, or a pair `a|b` of templates."""
    passed: bool
    detail: str = ""
    detail_ja: str = ""

    @classmethod
    def of(cls, name: str, subject: str, passed: bool, detail: Both) -> "Gate":
        return cls(name, subject, passed, detail.en, detail.ja)


@dataclass(frozen=True)
class Comparison:
    """An effect with its interval and verdict; field meanings in docs/statistics.md."""

    question: str
    treatment: Mapping[str, Any]
    control: Mapping[str, Any]
    metric: str
    difference: float | None
    interval: tuple[float, float] | None
    level: float
    interval_90: tuple[float, float] | None
    p: float | None
    p_holm: float | None
    verdict: str | None
    beyond_margin: bool | None
    scope: str
    n_seeds: int
    n_probes: int
    n_clusters: int
    n_samples: int
    mde: float | None
    needed: Mapping[str, Any] | None
    gates: tuple[Mapping[str, Any], ...] = ()
    signature: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Counts of what was left out, p of the permutation, warnings: never needed to read the verdict."""


def plain(record: Any) -> dict[str, Any]:
    """Return a record as a dict that json can write; a score's recipe only where it is more than a template's name."""
    if type(record) not in (Score, Answer):  # these hold no records: asdict would copy a million of them in depth
        return asdict(record)
    told = {name: getattr(record, name) for name in record.__slots__}
    if isinstance(record, Score) and not (record.template or record.levels):
        del told["template"], told["levels"]
    return told
