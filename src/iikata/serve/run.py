"""What a run folder tells while it grows: how far each stage is, losses, newest answers, who can be asked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from math import ceil
from pathlib import Path
from time import time
from typing import Any, TypeVar

from iikata.config import read
from iikata.core.errors import IikataError
from iikata.core.lock import refuse_links
from iikata.core.records import Answer, Arm, Probe
from iikata.pipeline.ask import adapters_of
from iikata.pipeline.context import RunContext
from iikata.pipeline.rating import own_templates, written
from iikata.pipeline.signature import probe_hashes
from iikata.pipeline.stages.train import stopped, trained
from iikata.rating import RatedPair, pairs
from iikata.report.curves import CurvePanel, panels
from iikata.run_folder import RunFolder, read_json, read_lines

NEWEST = 4
"""Answers that are shown as they come."""
MOST_RATERS = 8
"""Whose pairs are kept in memory."""
T = TypeVar("T")


@dataclass(frozen=True)
class Bar:
    """How far a stage is."""

    stage: str
    done: int
    todo: int

    @property
    def finished(self) -> bool:
        return self.todo > 0 and self.done >= self.todo


class ServedRun:
    """One run folder, read again whenever it is asked; another process may be writing it."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "experiment.yaml").is_file():
            raise IikataError(f"{folder}: no experiment.yaml there, so it is no run folder. First: iikata run EXP")
        refuse_links(folder)
        self.folder = folder
        self.store = RunFolder(folder)
        self._kept: dict[Path, tuple[tuple[int, int], Any]] = {}
        self._drawn = lru_cache(MOST_RATERS)(self._draw)  # any number of names may be given
        _ = self.ctx  # a file that cannot be read is told at the start

    @property
    def ctx(self) -> RunContext:
        path = self.store.experiment
        return self._read(path, lambda: RunContext(read(path), self.folder, lambda event: None))

    @property
    def name(self) -> str:
        return self.ctx.experiment.name

    @property
    def probes(self) -> dict[str, Probe]:
        """The probes by id; none where their file is gone since, nor those that were edited after they were signed."""
        try:
            signed = read_json(self.store.signature, {}).get("probes", {})
            now = probe_hashes(self.ctx.probes)
            return {one.id: one for one in self.ctx.probes if signed.get(one.id, now[one.id]) == now[one.id]}
        except IikataError:
            return {}

    @property
    def page(self) -> Path | None:
        """The finished report."""
        page = self.store.report / "index.html"
        return page if page.is_file() else None

    def bars(self) -> list[Bar]:
        """Return how far each stage is; what follows an unfinished stage is to be made again: it has not begun."""
        found: list[Bar] = []
        for bar in self._bars():
            begun = all(before.finished for before in found)
            found.append(bar if begun else Bar(bar.stage, 0, bar.todo))
        return found

    def _bars(self) -> Iterator[Bar]:
        experiment = self.ctx.experiment
        encoded = read_json(self.store.counts, {"templates": {}})["templates"]
        yield Bar("encode", len(encoded), len(experiment.trained_templates))
        steps = [self._steps(arm, encoded.get(self.ctx.recipe(arm).variant.templates[0])) for arm in experiment.arms()]
        yield Bar("train", sum(done for done, _ in steps), sum(todo for _, todo in steps))
        if experiment.probes is not None:
            answers = [sum(map(_lines, files)) for files in self._answer_files()]
            each = sum(probe.sampled for probe in self.probes.values()) * experiment.generate.samples
            done = sum(min(one, each or one) for one in answers)
            yield Bar("generate", done, each * len(answers) or done)
        yield from self._last()

    def _steps(self, arm: Arm, counts: dict[str, int] | None) -> tuple[int, int]:
        """Return the arm's steps done and to do; an arm that was given up has none left."""
        settings, done = self.ctx.recipe(arm).train, _lines(self.store.steps(arm))
        if trained(self.ctx, arm) or self.ctx.recipe(arm).adapters:
            return done, done
        rows = counts["rows"] - counts["over_length"] if counts else 0
        return done, max(done, settings.epochs * ceil(rows / settings.batch_size))

    def _last(self) -> Iterator[Bar]:
        """Yield the stages after the answers.

        Files of an earlier, smaller run may still be there. So a stage is done if the log of times ends with it or a
        later one, or if its file is as new as the answers; a copied folder has lost its times, but not the log.
        """
        primary = self.store.scores(self.ctx.experiment.score.primary)
        files = {"score": primary, "compare": self.store.comparisons, "report": self.store.report / "index.html"}
        answered = max((_stamp(finished)[0] for finished, _ in self._answer_files()), default=0)
        log = [line["stage"] for line in read_lines(self.store.timing) if "part" not in line]
        for index, (stage, file) in enumerate(files.items()):
            logged = log and log[-1] in list(files)[index:]
            yield Bar(stage, int(file.is_file() and (bool(logged) or _stamp(file)[0] >= answered)), 1)

    def quiet(self) -> float | None:
        """Return the seconds since the run last wrote, None where it has written nothing yet."""
        folders = [self.folder, *(self.folder / name for name in ("train", "generate", "score", "compare", "report"))]
        steps = [self.store.steps(arm) for arm in self.ctx.experiment.arms()]
        newest = max(_stamp(path)[0] for path in (*folders, *steps, *self._all_answer_files()))
        return max(0.0, time() - newest / 1e9) if newest else None

    def losses(self) -> list[CurvePanel]:
        """Return the loss curves so far, one panel a template."""
        arms, store = self.ctx.experiment.arms(), self.store
        return panels({a.name: self._read(store.steps(a), partial(store.read_steps, a)) for a in arms})

    def newest(self) -> list[Answer]:
        """Return the answers that came last, newest first."""
        paths = sorted(self._all_answer_files(), key=_stamp, reverse=True)[:NEWEST]
        return [answer for path in paths for answer in reversed(self.store.read_answers(path)[-NEWEST:])][:NEWEST]

    def answers(self) -> list[Answer]:
        """Return all answers so far, cell by cell."""
        probes, read = self.probes, self.store.read_answers
        files = [self._read(path, partial(read, path)) for path in self._all_answer_files()]
        return [answer for found in files for answer in found if answer.probe in probes]

    def pairs(self, rater: str) -> list[RatedPair]:
        """Return what the rater is shown, in order."""
        files = (self.store.experiment, self.store.templates, *self._all_answer_files())
        return self._drawn(rater, tuple(map(_stamp, files)))

    def _draw(self, rater: str, stamps: tuple[tuple[int, int], ...]) -> list[RatedPair]:
        literals, seed = written(self.ctx).template_literals, self.ctx.experiment.generate.seed
        return pairs(self.answers(), list(self.probes.values()), literals, rater, seed, own_templates(self.ctx))

    def adapters(self) -> dict[str, Path | None]:
        """Return who can be asked now, with its folder."""
        return adapters_of(self.ctx)

    def templates(self) -> list[str]:
        """Return the templates that anyone can be prompted with."""
        return list(self.ctx.specs)

    def _answer_files(self) -> list[tuple[Path, Path]]:
        """Return each cell's file of answers and that of answers in the making."""
        cells = [cell for cell in self.ctx.experiment.cells() if not stopped(self.ctx, cell.arm)]
        return [(self.store.answers(cell), self.store.unfinished_answers(cell)) for cell in cells]

    def _all_answer_files(self) -> list[Path]:
        return [path for files in self._answer_files() for path in files]

    def _read(self, path: Path, reader: Callable[[], T]) -> T:
        """Return what `reader` makes of the file, once for as long as the file stays as it is."""
        stamp = _stamp(path)
        if path not in self._kept or self._kept[path][0] != stamp:
            self._kept[path] = stamp, reader()
        return self._kept[path][1]  # type: ignore[no-any-return]


def _stamp(path: Path) -> tuple[int, int]:
    """Return a file's time and size, zeros where there is none: another stamp, another content."""
    try:
        found = path.stat()
    except FileNotFoundError:  # asking first whether it is there leaves time for it to go
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0
