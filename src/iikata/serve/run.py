"""What a run folder tells while it grows: how far each stage is, losses, newest answers, who can be asked."""

import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

from iikata.config import read, template_name
from iikata.core.errors import IikataError
from iikata.core.lock import refuse_links
from iikata.core.records import Answer, Arm, Cell, Probe
from iikata.metrics import Context
from iikata.pipeline.context import RunContext
from iikata.pipeline.signature import probe_hashes
from iikata.pipeline.stages.train import stopped, trained
from iikata.rating import Pair, pairs
from iikata.report.curves import Panel, panels
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
    def whole(self) -> bool:
        return self.todo > 0 and self.done >= self.todo


class Run:
    """One run folder, read anew whenever it is asked; another process may be writing it."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "experiment.yaml").is_file():
            raise IikataError(f"{folder}: no experiment.yaml in this folder, so it is not a run folder.")
        refuse_links(folder)
        self.folder = folder
        self.store = RunFolder(folder)
        self._kept: dict[Hashable, tuple[Hashable, Any]] = {}
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
            return {
                probe.id: probe for probe in self.ctx.probes if signed.get(probe.id, now[probe.id]) == now[probe.id]
            }
        except IikataError:
            return {}

    @property
    def page(self) -> Path | None:
        """The finished report."""
        page = self.store.report / "index.html"
        return page if page.is_file() else None

    def bars(self) -> list[Bar]:
        """Return how far each stage is; what follows an unfinished stage will be made anew and counts as not begun."""
        found: list[Bar] = []
        for bar in self._bars():
            begun = all(before.whole for before in found)
            found.append(bar if begun else Bar(bar.stage, 0, bar.todo))
        return found

    def _bars(self) -> Iterator[Bar]:
        experiment, store = self.ctx.experiment, self.store
        encoded = read_json(store.counts, {"templates": {}})["templates"]
        yield Bar("encode", len(encoded), len(experiment.templates))
        steps = {arm: self._steps(arm, encoded) for arm in experiment.arms()}
        yield Bar("train", sum(done for done, _ in steps.values()), sum(todo for _, todo in steps.values()))
        if experiment.probes is not None:
            answers = [self._answers(cell) for cell in self._cells()]
            yield Bar("generate", sum(done for done, _ in answers), sum(todo for _, todo in answers))
        for stage, made in self._last().items():
            yield Bar(stage, int(made), 1)

    def _last(self) -> dict[str, bool]:
        """Return which of the last stages are done.

        Files of an earlier, smaller run may still lie there. So either the log of times ends with the stage or a
        later one, or its file is as new as the answers; a copied folder has lost its times, but not the log.
        """
        primary = self.store.scores(self.ctx.experiment.score.primary)
        files = {"score": primary, "compare": self.store.comparisons, "report": self.store.report / "index.html"}
        answered = max((_stamp(self.store.answers(cell))[0] for cell in self._cells()), default=0)
        last = next(
            (line["stage"] for line in reversed(list(read_lines(self.store.timing))) if "part" not in line), None
        )
        stages = list(files)
        return {
            stage: files[stage].is_file() and (_stamp(files[stage])[0] >= answered or last in stages[place:])
            for place, stage in enumerate(stages)
        }

    def _steps(self, arm: Arm, encoded: dict[str, dict[str, int]]) -> tuple[int, int]:
        """Return the arm's steps done and to do; an arm that was given up has none left."""
        settings, counts = self.ctx.experiment.train, encoded.get(str(arm.template))
        done = _lines(self.store.steps(arm))
        if trained(self.ctx, arm):
            return done, done
        rows = counts["rows"] - counts["over_length"] if counts else 0
        return done, max(done, settings.epochs * ceil(rows / settings.batch_size))

    def _cells(self) -> list[Cell]:
        return [cell for cell in self.ctx.experiment.cells() if not stopped(self.ctx, cell.arm)]

    def _answers(self, cell: Cell) -> tuple[int, int]:
        todo = len(self.probes) * self.ctx.experiment.generate.samples
        done = _lines(self.store.answers(cell)) + _lines(self.store.unfinished_answers(cell))
        return (min(done, todo), todo) if todo else (done, done)

    def quiet(self) -> float | None:
        """Return the seconds since the run last wrote, None where it has written nothing yet."""
        folders = [self.folder, *(self.folder / name for name in ("train", "generate", "score", "compare", "report"))]
        files = [self.store.steps(arm) for arm in self.ctx.experiment.arms()]
        files += [path for cell in self._cells() for path in self._paths(cell)]
        newest = max(_stamp(path)[0] for path in (*folders, *files))
        return max(0.0, time.time() - newest / 1e9) if newest else None

    def losses(self) -> list[Panel]:
        """Return the loss curves so far, one panel a template."""
        arms, store = self.ctx.experiment.arms(), self.store
        return panels({a.name: self._read(store.steps(a), partial(store.read_steps, a)) for a in arms})

    def newest(self) -> list[Answer]:
        """Return the answers that came last, newest first."""
        paths = [path for cell in self._cells() for path in self._paths(cell)]
        paths = sorted(paths, key=_stamp, reverse=True)[:NEWEST]
        return [answer for path in paths for answer in reversed(self.store.read_answers(path)[-NEWEST:])][:NEWEST]

    def answers(self) -> list[Answer]:
        """Return all answers so far, cell by cell."""
        read = self.store.read_answers
        paths = [path for cell in self._cells() for path in self._paths(cell)]
        probes = self.probes
        return [one for path in paths for one in self._read(path, partial(read, path)) if one.probe in probes]

    def about(self) -> Context:
        """Return the templates' own texts, by which an answer could be told to be of one."""
        cards = read_json(self.store.templates, {})
        return Context(template_literals={name: tuple(card["markers"]) for name, card in cards.items()})

    def pairs(self, rater: str) -> list[Pair]:
        """Return what the rater is shown, in order."""
        paths = [path for cell in self._cells() for path in self._paths(cell)]
        given = (self.store.experiment, self.store.templates, *paths)
        seed = self.ctx.experiment.generate.seed
        others = [name for name in list(self._kept) if isinstance(name, tuple) and name != ("pairs", rater)]
        for other in others[: 1 - MOST_RATERS]:  # any number of names may be given
            self._kept.pop(other, None)
        return self._keep(
            ("pairs", rater),
            tuple(_stamp(path) for path in given),
            lambda: pairs(self.answers(), list(self.probes.values()), self.about().template_literals, rater, seed),
        )

    def adapters(self) -> dict[str, Path | None]:
        """Return who can be asked now: the trained arms with their folders, then the base."""
        done = [a for a in self.ctx.experiment.arms() if trained(self.ctx, a) and not stopped(self.ctx, a)]
        return {**{arm.name: self.store.arm(arm) for arm in done}, Arm().name: None}

    def templates(self) -> list[str]:
        """Return the templates that anyone can be prompted with."""
        experiment = self.ctx.experiment
        return [template_name(spec) for spec in (*experiment.templates, *experiment.prompt_only)]

    def _read(self, path: Path, reader: Callable[[], T]) -> T:
        """Return what `reader` makes of the file, once for as long as the file stays as it is."""
        return self._keep(path, _stamp(path), reader)

    def _keep(self, name: Hashable, stamp: Hashable, maker: Callable[[], T]) -> T:
        kept = self._kept.get(name)
        if kept is None or kept[0] != stamp:
            kept = self._kept[name] = stamp, maker()
        return kept[1]  # type: ignore[no-any-return]

    def _paths(self, cell: Cell) -> tuple[Path, Path]:
        return self.store.answers(cell), self.store.unfinished_answers(cell)


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
