"""The held-out loss of arms while they are trained: what `iikata score` would say of them as they are now."""

import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, TypeVar

from iikata.core.evaluation import Evaluation, lowest, told
from iikata.core.records import Arm, Cell, Example
from iikata.pipeline.buffer_plan import ROWS_OF
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Evaluated, Told
from iikata.templates import Shots
from iikata.tokenize import encode_all

if TYPE_CHECKING:
    from iikata.score.nll import HeldOut, Laid, LaidAs
    from iikata.train import ArmRun

T = TypeVar("T")
HALVED = {"buffer_tokens": (128, 1, "tokens a buffer"), "decode_rows": (ROWS_OF, ROWS_OF, "rows in flight")}
"""A shape -> the least of it, what it is a multiple of, and its unit."""


class Halving:
    """One of the run's shapes, halved where memory runs out."""

    def __init__(self, ctx: RunContext, stage: str, shape: str = "buffer_tokens") -> None:
        self.ctx, self.stage, self.size = ctx, stage, ctx.buffer_plan[shape]
        self._least, self._of, self._unit = HALVED[shape]

    def fitted(self, work: Callable[[int], T]) -> T:
        """Return what `work` makes of so many."""
        from iikata.model.memory import retry_smaller

        return retry_smaller(lambda: work(self.size), self.halve)

    def halve(self) -> bool:
        if self.size <= self._least:
            return False
        self.size = max(self._of, self.size // 2 // self._of * self._of)
        self.ctx.base.graphs.clear()
        self.ctx.halved(self.stage, self.size, self._unit)
        return True


def likelihoods(
    ctx: RunContext, cell: Cell, rows: Sequence[Example], kept: "dict[LaidAs, Laid]", tokens: int, last: bool = False
) -> "list[HeldOut]":
    """Return how likely a cell finds the rows' answers, in buffers of `tokens`; of a conversation all, or the last.

    `kept` holds the rows as other cells have read them.
    """
    from iikata.score import nll

    template, shared = ctx.prompts.of(cell), ctx.prompts.prefixes_of(cell)
    if isinstance(template, Shots) or any(size != tokens for _, size, _ in kept):
        kept.clear()  # examples are one cell's alone; halved buffers are not read again
    found = nll.held_out_nll(
        *ctx.speaker(cell.arm),
        [row for row in rows if row.output],  # a chat template may refuse an empty answer
        template,
        ctx.tokenizer,
        shared,
        ctx.experiment.train.cutoff_len + (max(map(len, shared)) if isinstance(template, Shots) else 0),
        tokens,
        last,
        kept,
    )
    return list(found)


class Evaluator:
    """Evaluates arms in training where train.eval_steps says so, and keeps their curves.

    It draws no random number and writes to no weight, so an arm is trained to the same bytes with it and without.
    """

    def __init__(self, ctx: RunContext) -> None:
        train = ctx.experiment.train
        self._ctx, self._every = ctx, train.eval_steps
        # Ids are hashes of the content, so the first of them in order are rows drawn by chance, and always the same.
        drawn = set(sorted(row.id for row in ctx.data.validation)[: train.eval_rows or None])
        self._rows = [row for row in ctx.data.validation if row.id in drawn] if self._every else []
        self._buffers = Halving(ctx, "train")
        self._untuned = cache(lambda template: self._at(Cell(Arm(), template)))
        """The untuned base's loss, which is every arm's before its first step."""
        self._curves: dict[str, list[Evaluation]] = {}
        self._kept: dict[LaidAs, Laid] = {}
        self.on = bool(self._rows)

    def earlier(self, arm: Arm, step: int) -> list[Evaluation]:
        """Return what an earlier process came to until this step, and go on from there; at step 0 begin anew."""
        found = [one for one in self._ctx.store.read_evaluations(arm) if one.step <= step] if step else []
        for one in found:
            self._curves.setdefault(one.cell, []).append(one)
        return found

    def due(self, run: "ArmRun", step: int | None = None) -> bool:
        """Return whether an arm is to be evaluated as it is now, or will be after a step."""
        step = run.step if step is None else step
        if not self.on or run.stopped:
            return False
        every = run.epoch_steps if self._every == "epoch" else int(self._every)
        return step % every == 0 or step >= run.steps

    def evaluated(self, run: "ArmRun") -> list[Evaluation]:
        """Return what an arm comes to now, under each template that it is trained on, and tell it."""
        made = []
        for name in self._ctx.recipe(run.arm).variant.templates:
            value, rows = self._untuned(name) if run.step == 0 else self._at(Cell(run.arm, name))
            if rows:
                made.append(one := Evaluation(run.arm.name, run.step, name, self._metric, value, rows))
                curve = self._curves.setdefault(one.cell, [])
                curve.append(one)
                self._ctx.emit(Evaluated(one, run.steps, lowest(curve)))
                if run.done:
                    self._ctx.emit(Told(told(curve, run.steps)))
        return made

    @property
    def _metric(self) -> str:
        return "nll" if self._ctx.measures else "loss"

    def _at(self, cell: Cell) -> tuple[float, int]:
        """Return the mean, and of how many rows it is."""
        with self._ctx.base.layers_as_they_are():
            if self._metric == "loss":
                return self._buffers.fitted(partial(mean_loss, self._ctx, cell, self._rows))
            rows = self._buffers.fitted(partial(likelihoods, self._ctx, cell, self._rows, self._kept))
        values = [row.nll for row in rows if not math.isnan(row.nll)]
        return math.fsum(values) / max(1, len(values)), len(values)


def mean_loss(ctx: RunContext, cell: Cell, examples: Sequence[Example], tokens: int) -> tuple[float, int]:
    """Return the nats a token over the rows' tokens that train.loss_on counts, as Trainer's eval_loss, and how many."""
    from iikata.train import step

    train, template = ctx.experiment.train, ctx.templates[cell.prompted_with]
    every = encode_all(examples, template, ctx.tokenizer, train.cutoff_len, train.loss_on)
    rows = [row for row in every if not row.truncated]
    arm = cell.arm.name if cell.arm.variant else None
    return (step.mean_loss(ctx.base, arm, rows, tokens) if rows else 0.0), len(rows)
