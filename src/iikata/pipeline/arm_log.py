"""What an arm in training leaves line by line: its steps, and what it came to on held-out rows."""

from collections.abc import Sequence
from types import TracebackType

from iikata.core.evaluation import Evaluation
from iikata.core.io import Appender
from iikata.core.records import Arm, TrainStep, plain
from iikata.run_folder import RunFolder, write_lines


class ArmLog:
    """Both files of an arm; they are on the disk before a state that lies behind them."""

    def __init__(self, store: RunFolder, arm: Arm, evaluations: Sequence[Evaluation], evaluated: bool) -> None:
        """Go on behind these evaluations; without any there is no such file, unless the arm is to be `evaluated`."""
        path = store.evaluations(arm)
        if path.exists() or evaluated:
            write_lines(path, map(plain, evaluations))
        self._steps = Appender(store.steps(arm))
        self._evaluations = Appender(path) if evaluated else None

    def __enter__(self) -> "ArmLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for file in self._files():
            file.close()

    def add(self, step: TrainStep) -> None:
        self._steps.add(plain(step))

    def evaluated(self, found: Sequence[Evaluation]) -> None:
        for one in found:
            if self._evaluations is not None:
                self._evaluations.add(plain(one))

    def sync(self) -> None:
        """Wait until both have reached the disk."""
        for file in self._files():
            file.sync()

    def _files(self) -> list[Appender]:
        return [self._steps] if self._evaluations is None else [self._steps, self._evaluations]
