"""The spine: the stages in order."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from iikata.config import Experiment
from iikata.core.errors import IikataError
from iikata.core.io import Appender
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Event, OnEvent, Progress
from iikata.pipeline.executor.engage import workers
from iikata.pipeline.machine import peak_bytes
from iikata.pipeline.stages import check, compare, encode, generate, report, score, train
from iikata.pipeline.tracking import Tracking

READING = ("compare", "report")
"""Stages that read millions of lines and open no model."""
Work = Callable[[RunContext], dict[str, int]]

STAGES: dict[str, Work] = {
    "check": check.check,
    "encode": encode.encode,
    "train": train.train,
    "generate": generate.generate,
    "score": score.score,
    "compare": compare.compare,
    "report": report.report,
}
"""Each stage does what is not done yet and returns counts for `timing.jsonl`."""
NOTED_SECONDS = 20
"""Of a killed process's work at most so much is missing from the report's times."""


class Pipeline:
    """One experiment in one run folder."""

    def __init__(self, experiment: Experiment, out: Path, emit: OnEvent = lambda event: None) -> None:
        self.context = RunContext(experiment, out, self._tell)
        self._told, self._clock = emit, _Clock(self.context, "")
        self._tracking: Tracking | None = None

    def run(self, to: str = "report", force: bool = False) -> None:
        """Do all stages up to and including `to`; what is finished is not done again.

        Raises IikataError where the run folder was made from something else, or where the template doctor finds an
        error and `force` does not say to go on.
        """
        self.context.force = force
        stages = list(STAGES)[: list(STAGES).index(to) + 1]
        with self.context.store.locked(), Tracking(self.context) as self._tracking, workers(self.context):
            for name in stages:
                self._timed(name)

    def only(self, name: str) -> None:
        """Do one stage on what the run folder holds; for those that need no model."""
        if not self.context.store.signature.is_file():
            path = self.context.store.path
            raise IikataError(f"{path}: no signature.json, so no run yet. First: iikata run EXP --out {path}")
        with self.context.store.locked():
            self._timed(name)

    def _timed(self, name: str) -> None:
        self._clock = _Clock(self.context, name)
        try:
            with _no_collection() if name in READING else nullcontext():
                counts = STAGES[name](self.context)
            self._clock.note(counts)
        except (RuntimeError, MemoryError) as error:
            if not _is_oom(error):
                raise
            raise IikataError(
                f"memory ran out in stage {name}: {str(error).splitlines()[0] if str(error) else 'no more was said'}. "
                "What is finished is kept, and the same command goes on where there is more. Less is needed with "
                "a smaller model, model.quantize, train.cutoff_len or generate.max_new_tokens."
            ) from None
        except BaseException:
            if not self.context.store.signature.is_file():
                raise  # refused input leaves nothing behind
            with suppress(IikataError):  # what ended the stage is the error to tell, not a full disk beside it
                self._clock.note()
            raise

    def _tell(self, event: Event) -> None:
        self._told(event)
        if self._tracking:
            self._tracking(event)
        if isinstance(event, Progress):
            self._clock.tick()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python from looking for cycles among millions of lines that have none: half of the time to read them."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class _Clock:
    """Notes how long a stage has worked, so that a report counts the time of a process that was killed too."""

    def __init__(self, ctx: RunContext, stage: str) -> None:
        self._ctx, self._stage, self._begun = ctx, stage, round(time.time(), 3)
        self._start = self._noted = time.monotonic()

    def tick(self) -> None:
        """Note the time so far, where the last note is long ago."""
        if time.monotonic() - self._noted >= NOTED_SECONDS:
            self.note()

    def note(self, counts: dict[str, int] | None = None) -> None:
        """Add a line; of those that begun together the last one counts. Without counts the stage is not done."""
        self._noted = time.monotonic()
        seconds = {"begun": self._begun, "seconds": round(self._noted - self._start, 2)}
        done = {"part": True} if counts is None else counts
        peak = self._ctx.crew.peak_bytes if self._ctx.crew else peak_bytes()
        with Appender(self._ctx.store.timing) as file:
            file.add({"stage": self._stage, **seconds, **done, "peak_bytes": peak})


def _is_oom(error: BaseException) -> bool:
    import sys

    if "torch" not in sys.modules:  # compare and report never import it
        return isinstance(error, MemoryError)
    from iikata.model.memory import is_oom

    return is_oom(error)
