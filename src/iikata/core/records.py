"""The nouns: what moves from room to room, as frozen records."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal


class NullIsNaN:
    """JSON has no NaN: a null in a file is one."""

    @staticmethod
    def __get_pydantic_core_schema__(source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core.core_schema import no_info_before_validator_function

        return no_info_before_validator_function(lambda seen: math.nan if seen is None else seen, handler(source))


Measured = Annotated[float, NullIsNaN]
EXACT = {"extra": "forbid"}
"""A record that is read from a file has these fields and no others."""


@dataclass(frozen=True)
class Example:
    """One training or validation row."""

    id: str
    """First 16 hex digits of the content's sha256."""
    instruction: str
    input: str
    output: str
    source: str = ""
    """Where it came from, `file:line`, for error messages."""
    cluster: str = ""
    """The document or conversation it is of; "" where it is on its own."""

    @property
    def texts(self) -> tuple[str, str, str]:
        """What a template renders."""
        return self.instruction, self.input, self.output


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


@dataclass(frozen=True)
class Variant:
    """A recipe: the template or templates trained on, and the settings that tell it from other variants."""

    name: str
    """Where only templates vary, the template's."""
    templates: tuple[str, ...]
    """Names; with several, each row is under one of them."""
    levels: tuple[tuple[str, str], ...] = ()
    """(setting, level) of every factor but the template, as text."""


@dataclass(frozen=True)
class Arm:
    """What was trained: a variant, by its name, under a seed. Both None: the untuned base."""

    variant: str | None = None
    seed: int | None = None

    @property
    def name(self) -> str:
        return "base" if self.variant is None else f"{self.variant}.s{self.seed}"


@dataclass(frozen=True)
class Cell:
    """An arm prompted with a template."""

    arm: Arm
    prompted_with: str

    @property
    def name(self) -> str:
        return f"{self.arm.name}@{self.prompted_with}"


Role = Literal["prompt", "written", "answer", "end"]
"""Who a text or a token belongs to: what the model is given; what the template writes inside that which the model must
produce (an empty think block, a blank before the answer); the row's own answer; what ends it."""


@dataclass(frozen=True)
class Segment:
    """A piece of one example's text under one template."""

    text: str
    role: Role


@dataclass(frozen=True)
class Rendered:
    """One example as text under one template: segments in their order, none of them empty."""

    segments: tuple[Segment, ...]

    @property
    def prompt(self) -> str:
        return self.of("prompt")

    @property
    def completion(self) -> str:
        """What the model must produce, without its end; empty where only a prompt was asked for."""
        return self.of("written", "answer")

    @property
    def end(self) -> str:
        """What the template writes after an answer; "" means the tokenizer's own end token."""
        return self.of("end")

    def of(self, *roles: Role) -> str:
        """Return the text of these roles."""
        return "".join(segment.text for segment in self.segments if segment.role in roles)


@dataclass(frozen=True)
class Encoded:
    """One example as tokens under one template."""

    id: str
    prompt: str
    completion: str
    input_ids: tuple[int, ...]
    """Prompt tokens, completion tokens, one end token; cut at cutoff_len where `truncated`."""
    completion_mask: tuple[bool, ...]
    """True where the loss counts (`loss_on: completion`): the completion's tokens and its end token."""
    truncated: bool = False
    """Longer than cutoff_len: shown and counted, never trained on."""
    answer: str = ""
    """The row's own answer, as the completion holds it."""
    roles: tuple[Role, ...] = ()
    """Each token's; one that holds text of both template and answer is the answer's."""
    straddles: bool = False
    """Some token does."""


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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Gate:
    """A check that must hold before comparisons with `subject` may be believed."""

    __pydantic_config__ = EXACT
    name: str
    subject: str
    """An arm (`dolly_ja.s0`), a cell (`dolly_ja.s0@native`), a template, or a pair `a|b` of templates."""
    passed: bool
    detail: str = ""


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
    told = asdict(record)
    if isinstance(record, Score) and not (record.template or record.levels):
        del told["template"], told["levels"]
    return told
