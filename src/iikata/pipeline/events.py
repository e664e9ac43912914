"""What a run tells while it works; the faces (terminal, page) decide how to show it."""

from collections.abc import Callable
from dataclasses import dataclass

from iikata.core.evaluation import Evaluation
from iikata.core.records import TrainStep


@dataclass(frozen=True)
class Stage:
    """A stage begins; `todo` is what is not there yet."""

    name: str
    todo: int
    what: str


@dataclass(frozen=True)
class Progress:
    """`done` of the stage's `todo` are finished."""

    stage: str
    done: int
    todo: int
    note: str = ""
    before: int = 0
    """How many of them an earlier process did; they say nothing of this one's speed."""
    left: float | None = None
    """Seconds that the others will take, where it is known better than from what these took."""


@dataclass(frozen=True)
class Stepped:
    """An arm has done an optimizer step."""

    step: TrainStep
    steps: int
    """Steps of the arm's whole training."""
    tokens_per_second: float
    """Real tokens of all arms, since the one before this turn; a speed, so never part of a run's stored numbers."""
    device: str = ""
    """Which of several devices did it."""
    of_device: float = 0.0
    """Its share of the tokens a second."""


@dataclass(frozen=True)
class Evaluated:
    """An arm in training has been evaluated on held-out rows."""

    evaluation: Evaluation
    steps: int
    """Steps of the arm's whole training."""
    lowest: Evaluation | None
    """Of its curve so far; None where nothing was finite."""


@dataclass(frozen=True)
class Warned:
    """Something the user should know; the run goes on."""

    message: str


@dataclass(frozen=True)
class Told:
    """What the user may want to check, such as what the data were taken for."""

    message: str


Event = Stage | Progress | Stepped | Evaluated | Warned | Told
OnEvent = Callable[[Event], None]
