"""Stage generate: every cell answers every probe, each arm from its adapter reopened from disk."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iikata.core.io import Appender
from iikata.core.records import Answer, Arm, Cell, Gate, plain
from iikata.core.rng import stream_seed
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Progress, Stage, Warned
from iikata.pipeline.gates import check_arms, prove
from iikata.pipeline.oom_retry import note_halving
from iikata.pipeline.shapes import ROWS_OF, joined_arms, rows_that_fit
from iikata.pipeline.signature import digest
from iikata.pipeline.stages.train import arm_signature, stopped
from iikata.run_folder import write_json, write_lines
from iikata.tokenize import stop_ids

if TYPE_CHECKING:
    from iikata.generate import Completion, Request

Key = tuple[Cell, str, int]
"""A cell, a probe's id, a sample."""
COMPILE_FROM = 4_000_000
"""New tokens, at most, from which on a GPU wins back the seconds that compiling its layers takes."""


def generate(ctx: RunContext) -> dict[str, int]:
    """Prove every adapter live, then let every cell give the answers it does not have yet."""
    gates = check_arms(ctx)
    groups = _groups(ctx)
    if any(_unread(ctx, cell) for group in groups for arm in group for cell in ctx.cells_of(arm)):
        ctx.put_aside("answers there are to other probes, or made under other templates, sampling or shapes")
    missing = {arm: _missing(ctx, arm) for group in groups for arm in group}
    todo, tokens, done = sum(map(len, missing.values())), 0, 0
    ctx.emit(Stage("generate", todo, "answers"))
    rows = _Rows(ctx)
    for group in groups:
        gates += [_reopen(ctx, arm) for arm in group if arm.template]
        speaking = [arm for arm in group if not arm.template or arm.name in ctx.adapters]
        for answer in _all_answers(ctx, speaking, rows):
            done, tokens = done + 1, tokens + answer.tokens
            ctx.emit(Progress("generate", done, todo, answer.cell))
        for arm in speaking:
            for cell in ctx.cells_of(arm):
                _settle(ctx, cell)
            if arm.template:
                ctx.adapters.drop(arm.name)
    write_json(ctx.store.gates, [plain(gate) for gate in gates])
    return {"tokens": tokens, "answers": done}


def _groups(ctx: RunContext) -> list[list[Arm]]:
    """Return the arms that answer together; the base joins the first of them."""
    arms = ctx.experiment.arms()
    size = joined_arms(ctx.base.device.type, ctx.experiment.train.lora.r)
    groups = [list(arms[start : start + size]) for start in range(0, len(arms), size)]
    groups[0].append(Arm())
    return [[arm for arm in group if not stopped(ctx, arm)] for group in groups]


def _reopen(ctx: RunContext, arm: Arm) -> Gate:
    gate = prove(ctx, arm)
    if not gate.passed:
        ctx.emit(Warned(f"arm {arm.name}: {gate.detail}; nothing is concluded from it"))
    return gate


def answer_signatures(ctx: RunContext, cell: Cell) -> dict[str, str]:
    """Return, for each probe, a hash of all that the cell's answers to it follow from."""
    # A longer probe makes slots longer, which moves rounding alone: a run that grows keeps its answers. How many arms
    # are joined moves no bit, nor on CPU does the number of rows (tested).
    of_device = () if ctx.base.device.type == "cpu" else ("decode_rows", "prefill_tokens")
    shapes = {key: ctx.shapes[key] for key in of_device}
    template = ctx.templates[cell.prompted_with]
    stops = sorted(stop_ids(template, ctx.tokenizer))
    of_cell = digest([arm_signature(ctx, cell.arm), template.hash, stops, ctx.signature["generate"], shapes])
    return {probe.id: digest([of_cell, probe.instruction, probe.input]) for probe in ctx.probes}


def _missing(ctx: RunContext, arm: Arm) -> list[Key]:
    wanted = range(ctx.experiment.generate.samples)
    return [
        (cell, probe.id, sample)
        for cell in ctx.cells_of(arm)
        for have in [_had(ctx, cell)]
        for probe in ctx.probes
        for sample in wanted
        if (probe.id, sample) not in have
    ]


def _had(ctx: RunContext, cell: Cell) -> dict[tuple[str, int], Answer]:
    """Return the cell's answers so far, without those to other probes or made from something else."""
    signatures = answer_signatures(ctx, cell)
    stored = (answer for path in _files(ctx, cell) for answer in ctx.store.read_answers(path))
    return {(one.probe, one.sample): one for one in stored if signatures.get(one.probe) == one.signature}


def _unread(ctx: RunContext, cell: Cell) -> bool:
    """Return whether the cell's files hold answers that `_had` leaves out."""
    signatures = answer_signatures(ctx, cell)
    stored = (answer for path in _files(ctx, cell) for answer in ctx.store.read_answers(path))
    return any(signatures.get(one.probe) != one.signature for one in stored)


def _files(ctx: RunContext, cell: Cell) -> tuple[Path, Path]:
    return ctx.store.answers(cell), ctx.store.unfinished_answers(cell)


class _Rows:
    """How many rows are in flight: as the run's shapes say, but no more than memory has room for."""

    def __init__(self, ctx: RunContext) -> None:
        self.ctx, self.now = ctx, ctx.shapes["decode_rows"]

    def fit(self) -> int:
        """Return the rows; on a GPU, where rounding is not promised, no more than fit what is free now."""
        if self.ctx.base.device.type != "cpu" and (fit := rows_that_fit(self.ctx, self.ctx.shapes)) < self.now:
            self.ctx.emit(Warned(f"memory is free for {fit} rows in flight, where {self.now} were planned"))
            self.now = max(ROWS_OF, ROWS_OF * (fit // ROWS_OF))
        return self.now

    def halve(self) -> bool:
        """Go on with half the rows, if that is possible."""
        if self.now <= ROWS_OF:
            return False
        self.now = ROWS_OF * max(1, self.now // 2 // ROWS_OF)
        note_halving(self.ctx, "generate", self.now, "rows in flight")
        return True


def _all_answers(ctx: RunContext, arms: Sequence[Arm], rows: _Rows) -> Iterator[Answer]:
    """Yield the answers of these arms that are missing; where memory runs out, go on with fewer rows."""
    from iikata.model import memory

    while missing := [key for arm in arms for key in _missing(ctx, arm)]:
        try:
            yield from _answers(ctx, arms, missing, rows.fit())
        except (RuntimeError, MemoryError) as error:
            if not memory.is_oom(error) or not rows.halve():
                raise
        memory.free_memory()  # behind the clause: the error is gone, and with it what its frames held


def _answers(ctx: RunContext, arms: Sequence[Arm], missing: Sequence[Key], rows: int) -> Iterator[Answer]:
    """Yield these answers, each once it is in its cell's file."""
    from iikata.generate import Sampling, Shapes
    from iikata.generate import generate as replies

    settings, chosen = ctx.experiment.generate, ctx.shapes
    sampling = Sampling(settings.temperature, settings.top_p, settings.top_k, settings.repetition_penalty)
    shapes = Shapes(rows, chosen["kv_length"], chosen["prefill_tokens"])
    cells = dict.fromkeys(key[0] for key in missing)
    signatures = {cell: answer_signatures(ctx, cell) for cell in cells}
    files = {cell: Appender(ctx.store.unfinished_answers(cell)) for cell in cells}
    names = [arm.name for arm in arms if arm.template]
    ctx.base.run_layers(compiled=len(missing) * settings.max_new_tokens >= COMPILE_FROM)
    try:
        for reply in replies(ctx.base, names, _requests(ctx, missing), sampling, settings.max_new_tokens, shapes):
            cell = reply.key[0]
            answer = _answer(ctx, reply, signatures[cell][reply.key[1]])
            files[cell].add(plain(answer))
            yield answer
    finally:
        for file in files.values():
            file.close()


def _answer(ctx: RunContext, reply: "Completion", signature: str) -> Answer:
    cell, probe, sample = reply.key
    read = ctx.tokenizer.whole_text if reply.finish == "length" else ctx.tokenizer.text
    text = ctx.templates[cell.prompted_with].answer(read(reply.ids))
    arm = cell.arm
    return Answer(
        arm.template,
        arm.seed,
        cell.prompted_with,
        probe,
        sample,
        text,
        reply.finish,
        len(reply.ids),
        signature,
    )


def _requests(ctx: RunContext, missing: Sequence[Key]) -> "list[Request]":
    from iikata.generate import Request

    probes = {probe.id: probe for probe in ctx.probes}
    requests: dict[tuple[Cell, str], list[int]] = {}
    for cell, probe, sample in missing:
        requests.setdefault((cell, probe), []).append(sample)
    made = []
    for (cell, probe), samples in requests.items():
        template = ctx.templates[cell.prompted_with]
        made.append(
            Request(
                keys=tuple((cell, probe, sample) for sample in samples),
                prompt_ids=ctx.prompt_ids(cell.prompted_with, probes[probe]),
                seeds=tuple(
                    stream_seed("answer", ctx.experiment.generate.seed, cell.name, probe, sample) for sample in samples
                ),
                end_ids=stop_ids(template, ctx.tokenizer),
                arm=cell.arm.name if cell.arm.template else None,
                prefixes=ctx.prefixes[cell.prompted_with],
                stopped=_stop_strings(ctx, cell.prompted_with),
            )
        )
    return made


def _stop_strings(ctx: RunContext, template: str) -> Callable[[tuple[int, ...]], bool] | None:
    stop = ctx.templates[template].stop
    return (lambda ids: any(text in ctx.tokenizer.text(ids) for text in stop)) if stop else None


def _settle(ctx: RunContext, cell: Cell) -> None:
    """Once all answers are there, write them in (probe, sample) order, without others; drop the unfinished file."""
    have, (path, unfinished) = _had(ctx, cell), _files(ctx, cell)
    order = {probe.id: index for index, probe in enumerate(ctx.probes)}
    ordered = sorted(have.values(), key=lambda answer: (order.get(answer.probe, len(order)), answer.sample))
    if unfinished.is_file() or ordered != ctx.store.read_answers(path):
        write_lines(path, (plain(answer) for answer in ordered))
    for empty in (unfinished, *(() if ordered else (path,))):
        empty.unlink(missing_ok=True)
