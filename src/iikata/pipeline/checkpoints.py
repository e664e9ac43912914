"""What arms in training leave: logs, and saved states, the last two kept and the newest whole one used."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata.core.errors import IikataError
from iikata.core.evaluation import Evaluation
from iikata.core.io import Appender, read_json, write_bytes
from iikata.core.records import Arm, TrainStep, plain
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Warned
from iikata.run_folder import RunFolder, write_json, write_lines

if TYPE_CHECKING:
    from iikata.train import ArmRun

KEPT = 2
"""Were the newest torn by a power cut, the one before is there."""


class ArmLog(ExitStack):
    """An arm's steps and held-out losses, a line each; they are on the disk before a state that lies behind them."""

    def __init__(self, store: RunFolder, arm: Arm, evaluations: Sequence[Evaluation], evaluated: bool) -> None:
        """Go on behind these evaluations; without any there is no such file, unless the arm is to be `evaluated`."""
        super().__init__()
        path = store.evaluations(arm)
        if path.exists() or evaluated:
            write_lines(path, map(plain, evaluations))
        self._files = [self.enter_context(Appender(one)) for one in (store.steps(arm), *([path] if evaluated else ()))]

    def add(self, step: TrainStep) -> None:
        self._files[0].add(plain(step))

    def evaluated(self, found: Sequence[Evaluation]) -> None:
        for one in found:
            self._files[1].add(plain(one))

    def sync(self) -> None:
        """Wait until both have reached the disk."""
        for file in self._files:
            file.sync()


class Checkpoints:
    """Saves all unfinished arms together, so that they go on from the same turn."""

    def __init__(self, ctx: RunContext, runs: Sequence["ArmRun"], logs: Mapping[str, ArmLog]) -> None:
        self._ctx, self._runs, self._logs = ctx, runs, logs
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: Future[None] = self._worker.submit(lambda: None)
        self._last = time.monotonic()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.shutdown()

    @property
    def due(self) -> bool:
        """Whether it is time, and the one before is written; a slow disk makes them rarer, training never waits."""
        return self._writing.done() and time.monotonic() - self._last >= self._ctx.experiment.train.checkpoint_seconds

    def save(self) -> None:
        """Copy the states as they are now; a thread writes them. Raises what the one before came to."""
        self.wait()
        copies = [(run, *run.state()) for run in self._runs if not run.done]
        self._writing = self._worker.submit(self._write, copies)
        self._last = time.monotonic()

    def keep(self, run: "ArmRun") -> None:
        self._write([(run, *run.state())])

    def wait(self) -> None:
        """Return once what was saved is on the disk. Raises IikataError where it could not be written."""
        self._writing.result()

    def _write(self, copies: Sequence[tuple["ArmRun", Mapping[str, Any], Mapping[str, Any]]]) -> None:
        from safetensors.torch import save

        for run, tensors, values in copies:
            self._logs[run.arm.name].sync()  # a state must not outlive the steps that led to it
            folder, name = self._ctx.store.state(run.arm), f"{values['step']:08d}"
            content = save(dict(tensors))
            write_bytes(folder / f"{name}.safetensors", content)
            write_json(folder / f"{name}.json", {**values, "sha256": hashlib.sha256(content).hexdigest()})
            keep_newest(folder)
            self._ctx.made(run.arm)


def keep_newest(folder: Path) -> None:
    for old in sorted(folder.glob("*.json"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def restore(ctx: RunContext, run: "ArmRun", steps: int) -> None:
    """Put the arm where its newest whole state is, of those whose `steps` steps are all in its log."""
    from safetensors.torch import load

    for path in sorted(ctx.store.state(run.arm).glob("*.json"), reverse=True):
        try:
            values = read_json(path, dict[str, Any], "")
            if values["step"] > steps:
                continue
            content = path.with_suffix(".safetensors").read_bytes()
            if hashlib.sha256(content).hexdigest() != values["sha256"]:
                raise ValueError("other bytes than were written")
            run.restore(load(content), values)
            return
        except (IikataError, OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
            ctx.emit(Warned(f"{path}: this saved state is damaged ({error}); an earlier one is used"))
