"""Saved states of arms in training: written behind its back, the last two kept, the newest whole one used."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata.core.errors import IikataError
from iikata.core.io import read_json, write_bytes
from iikata.pipeline.arm_log import ArmLog
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Warned
from iikata.run_folder import write_json

if TYPE_CHECKING:
    from iikata.train import ArmRun

KEPT = 2
"""Were the newest torn by a power cut, the one before is there."""


class Checkpoints:
    """Saves all unfinished arms together, so that they go on from the same turn."""

    def __init__(self, ctx: RunContext, runs: Sequence["ArmRun"], logs: Mapping[str, ArmLog]) -> None:
        self._ctx, self._runs, self._logs = ctx, runs, logs
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        self._writing: Future[None] | None = None
        self._last = time.monotonic()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._worker.shutdown()

    @property
    def due(self) -> bool:
        """Whether it is time, and the one before is written; a slow disk makes them rarer, training never waits."""
        rest = self._writing is None or self._writing.done()
        return rest and time.monotonic() - self._last >= self._ctx.experiment.train.checkpoint_seconds

    def save(self) -> None:
        """Copy the states as they are now; a thread writes them. Raises what the one before came to."""
        self.wait()
        copies = [(run, *run.state()) for run in self._runs if not run.done]
        self._writing = self._worker.submit(self._write, copies)
        self._last = time.monotonic()

    def keep(self, run: "ArmRun") -> None:
        """Write the state of a finished arm."""
        self._write([(run, *run.state())])

    def wait(self) -> None:
        """Return once what was saved is on the disk. Raises IikataError where it could not be written."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

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
    """Delete all states in `folder` but the newest."""
    for old in sorted(folder.glob("*.json"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def restore(ctx: RunContext, run: "ArmRun", steps: int) -> None:
    """Put the arm where its newest whole state is, of those whose `steps` steps are all in its log."""
    there = sorted(ctx.store.state(run.arm).glob("*.json"), reverse=True)
    for path in there:
        try:
            values = read_json(path, dict[str, Any], "")
            if values["step"] <= steps:
                run.restore(_tensors(path.with_suffix(".safetensors"), values["sha256"]), values)
                return
        except (IikataError, OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
            ctx.emit(Warned(f"{path}: this saved state is damaged ({error}); an earlier one is used"))


def _tensors(path: Path, sha256: str) -> dict[str, Any]:
    from safetensors.torch import load

    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError("other bytes than were written")
    return load(content)
