"""The spine: the stages in order."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from iikata.disk import Appender
from iikata.errors import IikataError
from iikata.experiment import Experiment
from iikata.lab import answering, checking, comparing, encoding, reporting, scoring, training
from iikata.lab.events import Event, Progress, Tell
from iikata.lab.materials import Materials

Work = Callable[[Materials], dict[str, int]]

STAGES: dict[str, Work] = {
    "check": checking.check,
    "encode": encoding.encode,
    "train": training.train,
    "generate": answering.generate,
    "score": scoring.score,
    "compare": comparing.compare,
    "report": reporting.report,
}
"""Each stage does what is not done yet and returns counts for `timing.jsonl`."""
NOTED_SECONDS = 20
"""Of a killed process's work at most so much is missing from the report's times."""


class Lab:
    """One experiment in one run folder."""

    def __init__(self, experiment: Experiment, out: Path, tell: Tell = lambda event: None) -> None:
        self.materials = Materials(experiment, out, self._tell)
        self._told, self._clock = tell, _Clock(self.materials.store.timing, "")

    def run(self, to: str = "report", force: bool = False) -> None:
        """Do all stages up to and including `to`; what is finished is not done again.

        Raises IikataError where the run folder was made from something else, or where the template doctor finds an
        error and `force` does not say to go on.
        """
        self.materials.force = force
        with self.materials.store.held():
            for name in list(STAGES)[: list(STAGES).index(to) + 1]:
                self._timed(name)

    def only(self, name: str) -> None:
        """Do one stage on what the run folder holds; for those that need no model."""
        if not self.materials.store.signature.is_file():
            path = self.materials.store.path
            raise IikataError(f"{path}: no signature.json, so no run yet. First: iikata run EXP --out {path}")
        with self.materials.store.held():
            self._timed(name)

    def _timed(self, name: str) -> None:
        self._clock = _Clock(self.materials.store.timing, name)
        try:
            self._clock.note(STAGES[name](self.materials))
        except (RuntimeError, MemoryError) as error:
            if not _ran_out(error):
                raise
            raise IikataError(
                f"memory ran out in stage {name}: {str(error).splitlines()[0] if str(error) else 'no more was said'}. "
                "What is finished is kept, and the same command goes on where there is more. Less is needed with "
                "a smaller model, model.quantize, train.cutoff_len or generate.max_new_tokens."
            ) from None
        except BaseException:
            if not self.materials.store.signature.is_file():
                raise  # refused input leaves nothing behind
            with suppress(IikataError):  # what ended the stage is the error to tell, not a full disk beside it
                self._clock.note()
            raise

    def _tell(self, event: Event) -> None:
        self._told(event)
        if isinstance(event, Progress):
            self._clock.tick()


class _Clock:
    """Notes how long a stage has worked, so that a report counts the time of a process that was killed too."""

    def __init__(self, path: Path, stage: str) -> None:
        self._path, self._stage, self._begun = path, stage, round(time.time(), 3)
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
        with Appender(self._path) as file:
            file.add({"stage": self._stage, **seconds, **done, "peak_bytes": _peak_bytes()})


def _ran_out(error: BaseException) -> bool:
    import sys

    if "torch" not in sys.modules:  # compare and report never import it
        return isinstance(error, MemoryError)
    from iikata.model.memory import ran_out

    return ran_out(error)


def _peak_bytes() -> int:
    import resource
    import sys

    torch = sys.modules.get("torch")  # compare and report never import it
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
