"""A worker: one process that holds the base on one device, and does arms in a folder of its own."""

import os
import platform
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from iikata.core import signals
from iikata.core.errors import IikataError
from iikata.core.io import write_bytes
from iikata.core.records import Arm
from iikata.pipeline import signature
from iikata.pipeline.bringing import bring_in
from iikata.pipeline.buffer_plan import Work, choose
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Progress
from iikata.pipeline.executor.messages import About, Ended, Failed, Files, Halved, Inputs, Order, Scored
from iikata.pipeline.likelihood import choices, held_out, references, score_cells
from iikata.pipeline.machine import peak_bytes
from iikata.pipeline.stages.generate import CellAnswers, Tally, answer_arms
from iikata.pipeline.stages.train import arm_signature, train_arms
from iikata.run_folder import read_json

BESIDE_A_GPU = 4
"""Threads."""
GATHER = 0.1
"""Seconds in which what is made is gathered into one reply."""

FOLDER = "iikata-worker-"
NEW = 60.0
"""Seconds in which a folder may not be held yet by the worker that has just made it."""


class Worker:
    """What Ray makes an actor of. It answers one call at a time; `stop` comes beside them."""

    def __init__(self, inputs: Inputs) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the head's, which then says when to stop
        self._inputs = inputs
        self._folder, self._lock = _own_folder()
        self._thread = ThreadPoolExecutor(1)  # always the same: compiled code and the device's state belong to threads
        self._made: SimpleQueue[Any] = SimpleQueue()
        self._stopping = False
        self._ctx = _AwayContext(inputs, self._folder / "run", self._tell)

    def join(self) -> About | Failed:
        """Load the base and say what is here."""
        return self._thread.submit(self._tried, self._about).result()

    def shapes(self, work: Work, stored: Mapping[str, int]) -> dict[str, int] | Failed:
        """Choose the run's shapes for this device."""
        return self._thread.submit(self._tried, lambda: choose(self._ctx.base, work, stored)).result()

    def do(self, order: Order) -> list[Any]:
        """Begin an order; return the first of what is made."""
        self._thread.submit(self._do, order)
        return self.more()

    def more(self) -> list[Any]:
        """Return what is made next, at least one message."""
        found, end = [self._made.get()], time.monotonic() + GATHER
        with suppress(Empty):
            while not isinstance(found[-1], Ended):
                found.append(self._made.get(timeout=max(0.0, end - time.monotonic())))
        return found

    def stop(self) -> None:
        """Ask for an end after this step, the arms saved."""
        self._stopping = True
        signals.ask()

    def close(self) -> None:
        """Leave nothing on the disk."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _tell(self, message: Any) -> None:
        if not isinstance(message, Progress):  # the head counts over all workers
            self._made.put(message)
        if self._stopping:  # it may have come before there was a step to end
            signals.ask()

    def _do(self, order: Order) -> None:
        if (failed := self._tried(lambda: self._done(order))) is not None:
            self._made.put(failed)
        self._made.put(Ended(peak_bytes()))

    def _done(self, order: Order) -> None:
        ctx = self._ctx
        ctx.begin(order.files)
        if order.stage == "train":
            with suppress(signals.Stopped):
                train_arms(ctx, order.arms, order.tokens)
        elif order.stage == "bring":
            bring_in(ctx, arm := order.arms[0], arm_signature(ctx, arm))
            ctx.made(arm)
        elif order.stage == "generate":
            cells = {arm: [CellAnswers(ctx, cell, order.keys) for cell in ctx.cells_of(arm)] for arm in order.arms}
            todo = sum(len(cell.missing()) for own in cells.values() for cell in own)
            for gate in answer_arms(ctx, cells, Tally(ctx, todo)):
                self._tell(gate)
        else:
            asked = {"held_out": held_out, "references": references, "choices": choices}[order.stage](ctx)
            for cell, scores in score_cells(ctx, asked, order.cells):
                self._tell(Scored(cell, scores))

    def _tried(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except IikataError as error:
            return Failed(str(error))
        except Exception as error:
            from iikata.model.memory import is_oom

            if is_oom(error):
                return Failed(
                    f"memory ran out on {platform.node()}: {str(error).splitlines()[0]}. What is saved is kept."
                )
            return Failed(f"a worker on {platform.node()} failed, a fault of iikata:\n{traceback.format_exc()}")

    def _about(self) -> About:
        import torch

        from iikata.model.memory import free_bytes

        ctx = self._ctx
        cuda = ctx.base.device.type == "cuda"
        # On a CPU as many as in one process, for the same bytes; beside a GPU all cores a worker would fight for them.
        torch.set_num_threads(min(BESIDE_A_GPU, self._inputs.threads) if cuda else self._inputs.threads)
        label = f"GPU {os.environ.get('CUDA_VISIBLE_DEVICES', '0')}" if cuda else f"CPU {os.getpid()}"
        packages = signature.software("", self._inputs.threads)
        software = {name: packages[name] for name in (*signature.PACKAGES, "python")}
        free = free_bytes(ctx.base.device) if cuda else 0
        return About(ctx.machine, platform.node(), label, ctx.weights, software, free)


def _own_folder() -> tuple[Path, Any]:
    """Return a new folder and what holds it; those of workers that were killed are removed."""
    from filelock import FileLock, Timeout

    for left in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with suppress(OSError, Timeout):  # another user's, or one that is at work
            if not left.is_symlink() and time.time() - left.stat().st_mtime > NEW:
                with FileLock(left / "lock", timeout=0):
                    shutil.rmtree(left, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=FOLDER))
    (made / "run").mkdir()
    lock = FileLock(made / "lock")
    lock.acquire()
    return made, lock


class _AwayContext(RunContext):
    """A run's context away from its folder: what is made in this one is told to the head."""

    def __init__(self, inputs: Inputs, folder: Path, tell: Callable[[Any], None]) -> None:
        super().__init__(inputs.experiment, folder, tell)
        self._hand = tell
        self.templates, self.data, self.probes = dict(inputs.templates), inputs.data, list(inputs.probes)
        self._hold(inputs.files)

    def begin(self, files: Mapping[str, bytes]) -> None:
        """Hold these files of the run and nothing of what was done before."""
        for path in self.store.path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._hold(files)
        vars(self).pop("signature", None)
        self.buffer_plan = read_json(self.store.shapes)

    def _hold(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            write_bytes(self.store.path / name, content)

    def made(self, what: Any) -> None:
        self._hand(Files(what, self._files(what)) if isinstance(what, Arm) else what)

    def halved(self, stage: str, to: int, unit: str) -> None:
        self._hand(Halved(stage, to, unit))

    def _files(self, arm: Arm) -> tuple[tuple[str, bytes], ...]:
        """Return a finished arm's files, DONE last; else its log and then its newest state."""
        folder = self.store.arm(arm)
        if (folder / "DONE").is_file():
            names = sorted(
                (path.name for path in folder.iterdir() if path.is_file()), key=lambda name: (name == "DONE", name)
            )
        else:
            newest = max(self.store.state(arm).glob("*.json")).stem
            logs = [path.name for path in (self.store.steps(arm), self.store.evaluations(arm)) if path.is_file()]
            names = [*logs, f"state/{newest}.safetensors", f"state/{newest}.json"]
        return tuple((name, (folder / name).read_bytes()) for name in names)
