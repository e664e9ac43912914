"""Trackers of other tools are told a run's losses as they come, at its end scores, verdict and report."""

import math
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.records import Arm, Cell
from iikata.core.text import redact
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Evaluated, Event, Stage, Stepped, Warned
from iikata.pipeline.stages.compare import score_names
from iikata.run_folder import read_object

ONE_STEP = ("wandb", "trackio")
"""These count one step for all curves and drop what comes out of order, and trackio keeps the name `step` for it; arms
have a step each."""


class Tracking:
    """What a run's experiment reports to. A tracker that fails is told of once and left out; the run goes on."""

    def __init__(self, ctx: RunContext) -> None:
        self.ctx, self._compared = ctx, False
        look_up_trackers(ctx)
        self._trackers = {name: _made(ctx, name) for name in ctx.experiment.report_to}
        self._each(lambda name, tracker: tracker.start())

    def __call__(self, event: Event) -> None:
        """Log a step of an arm, or what it came to on held-out rows."""
        if isinstance(event, Stepped):
            step = event.step
            values = {"loss": step.loss, "learning_rate": step.learning_rate, "grad_norm": step.grad_norm}
            self._log({f"{name}/{step.arm}": value for name, value in values.items()}, step.step)
        elif isinstance(event, Evaluated):
            found = event.evaluation
            self._log({f"held_out/{found.metric}/{found.cell}": found.value}, found.step)
        elif isinstance(event, Stage):
            self._compared |= event.name == "compare"

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(self, fault: type[BaseException] | None, *_: object) -> None:
        self.finish(compared=self._compared and fault is None)

    def finish(self, compared: bool) -> None:
        """Close; where the run was `compared`, log each cell's mean scores, the verdict and the report first."""
        if compared and self._trackers:
            self._log(_means(self.ctx))
            self._each(self._conclude)
        self._each(lambda name, tracker: tracker.finish())

    def _log(self, values: dict[str, float], step: int | None = None) -> None:
        safe = {re.sub(r"[^\w./ -]", "_", key): value for key, value in values.items()}
        stepless = {**safe, **({"train_step": step} if step is not None else {})}
        self._each(lambda name, one: one.log(stepless) if name in ONE_STEP else one.log(safe, step=step or 0))

    def _conclude(self, name: str, tracker: Any) -> None:
        store = self.ctx.store
        verdict = read_object(store.comparisons).get("verdict", {})
        page, text = store.report / "index.html", store.report / "report.md"
        if name == "tensorboard":
            for key in ("sentence_en", "sentence_ja"):
                tracker.writer.add_text(f"verdict/{key}", verdict[key])
            if text.is_file():
                tracker.writer.add_text("report", text.read_text(encoding="utf-8"))
        elif name == "trackio":
            tracker.log({"verdict": verdict["sentence_en"]})
        elif page.is_file():
            tracked = tracker if name == "mlflow" else tracker.tracker
            tracked.log_artifact(str(page))

    def _each(self, act: Callable[[str, Any], object]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                act(name, tracker)
            except Exception as error:  # other people's servers, disks and accounts
                del self._trackers[name]
                why = redact(str(error) or type(error).__name__)[:200]
                self.ctx.emit(Warned(f"report_to: {name} is told nothing more ({why}); the run itself goes on"))


def look_up_trackers(ctx: RunContext) -> None:
    """Raise IikataError for a tracker whose package is missing."""
    for name in ctx.experiment.report_to:
        if missing := [package for package in ("accelerate", name) if find_spec(package) is None]:
            raise IikataError(
                f"{ctx.experiment.at('report_to')}report_to: {name} needs what is not installed: "
                f"pip install {' '.join(missing)} (or 'iikata[track]', for tensorboard). Or take it out of report_to."
            )


def _made(ctx: RunContext, name: str) -> Any:
    from accelerate import PartialState
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    PartialState()  # without it some of the trackers' methods refuse to log
    made: Any = LOGGER_TYPE_TO_CLASS[name]
    if name == "tensorboard":
        return made(ctx.experiment.name, logging_dir=ctx.store.path / "track")
    return made(ctx.experiment.name)


def _means(ctx: RunContext) -> dict[str, float]:
    """Return the mean of each metric in each cell, over the scores that are numbers."""
    found: dict[str, list[float]] = {}
    for metric in score_names(ctx):
        for score in ctx.store.read_scores(metric):
            cell = Cell(Arm(score.trained_on, score.seed), score.prompted_with)
            if math.isfinite(score.value):
                found.setdefault(f"score/{metric}/{cell.name}", []).append(score.value)
    return {name: sum(values) / len(values) for name, values in found.items()}
