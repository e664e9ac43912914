"""Stage generate: every cell answers every probe, each arm from its adapter reopened from disk."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from iikata.core.io import Appender
from iikata.core.records import NOTHING, Answer, Arm, Cell, Gate, Probe, plain
from iikata.core.rng import stream_seed
from iikata.pipeline.buffer_plan import ROWS_OF, joined_arms, rows_that_fit, whole_rows
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Progress, Stage, Warned
from iikata.pipeline.gates import check_arms, prove
from iikata.pipeline.signature import digest
from iikata.pipeline.stages.train import arm_signature, stopped
from iikata.run_folder import write_json, write_lines
from iikata.templates import Template
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
    cells = {arm: [CellAnswers(ctx, cell) for cell in ctx.cells_of(arm)] for group in groups for arm in group}
    if any(cell.outdated for own in cells.values() for cell in own):
        ctx.put_aside("answers there are to other probes, or made under other templates, sampling or shapes")
    work = _Answering(ctx, sum(len(cell.missing()) for own in cells.values() for cell in own))
    ctx.emit(Stage("generate", work.todo, "answers"))
    for group in groups:
        gates += [_reopen(ctx, arm) for arm in group if arm.variant]
        speaking = [arm for arm in group if not arm.variant or arm.name in ctx.adapters]
        work.answer([cell for arm in speaking for cell in cells[arm]])
        for arm in speaking:
            for cell in cells[arm]:
                cell.settle()
            if arm.variant:
                ctx.adapters.drop(arm.name)
    write_json(ctx.store.gates, [plain(gate) for gate in gates])
    return {"tokens": work.tokens, "answers": work.done}


def _groups(ctx: RunContext) -> list[list[Arm]]:
    """Return the arms that answer together; the base joins the first of them."""
    arms = ctx.experiment.arms()
    size = joined_arms(ctx.base.device.type, max(shape.r for shape in ctx.adapters.shapes.values()))
    groups = [list(arms[start : start + size]) for start in range(0, len(arms), size)]
    groups[0] += ctx.experiment.bases()
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
    shapes = {key: ctx.buffer_plan[key] for key in of_device}
    template = ctx.prompts.of(cell)
    stops = sorted(stop_ids(template, ctx.tokenizer))
    of_cell = digest([arm_signature(ctx, cell.arm), template.hash, stops, ctx.signature["generate"], shapes])
    return {probe.id: digest([of_cell, *_asked(probe)]) for probe in ctx.probes}


def _asked(probe: Probe) -> list[Any]:
    before = [] if probe.before == NOTHING else [probe.before.system, probe.before.turns]
    return [probe.instruction, probe.input, *before]


class CellAnswers:
    """The answers of one cell: those that are there, read once, and those still to give."""

    def __init__(self, ctx: RunContext, cell: Cell) -> None:
        self.ctx, self.cell = ctx, cell
        self.path, self.unfinished = ctx.store.answers(cell), ctx.store.unfinished_answers(cell)
        self.signatures = answer_signatures(ctx, cell)
        self._settled = ctx.store.read_answers(self.path)
        stored = [*self._settled, *ctx.store.read_answers(self.unfinished)]
        self.have = {(one.probe, one.sample): one for one in stored if self.signatures.get(one.probe) == one.signature}
        self.outdated = any(self.signatures.get(one.probe) != one.signature for one in stored)
        """Whether there are answers to other probes, or made from something else."""

    def missing(self) -> list[Key]:
        samples = range(self.ctx.experiment.generate.samples)
        wanted = ((probe.id, sample) for probe in self.ctx.probes for sample in samples)
        return [(self.cell, *key) for key in wanted if key not in self.have]

    def settle(self) -> None:
        """Write the answers in (probe, sample) order, without outdated ones; drop the unfinished file."""
        order = {probe.id: index for index, probe in enumerate(self.ctx.probes)}
        answers = sorted(self.have.values(), key=lambda one: (order.get(one.probe, len(order)), one.sample))
        if self.unfinished.is_file() or answers != self._settled:
            write_lines(self.path, map(plain, answers))
        for empty in (self.unfinished, *(() if answers else (self.path,))):
            empty.unlink(missing_ok=True)


class _Answering:
    """How far the answers are, and how many rows are in flight: as the run's shapes say where memory has room."""

    def __init__(self, ctx: RunContext, todo: int) -> None:
        self.ctx, self.todo, self.done, self.tokens = ctx, todo, 0, 0
        self.rows = ctx.buffer_plan["decode_rows"]

    def answer(self, cells: Sequence[CellAnswers]) -> None:
        """Let these cells give what is missing; where memory runs out, go on with fewer rows."""
        from iikata.model.memory import retry_smaller

        retry_smaller(lambda: self._answer(cells), self.halve)

    def _answer(self, cells: Sequence[CellAnswers]) -> None:
        ctx, by_cell = self.ctx, {one.cell: one for one in cells}
        if not (missing := [key for one in cells for key in one.missing()]):
            return
        self.fit()
        with ExitStack() as stack:
            files = {one.cell: stack.enter_context(Appender(one.unfinished)) for one in cells if one.missing()}
            for reply in _completions(ctx, missing, self.rows):
                cell = by_cell[reply.key[0]]
                answer = _read(ctx, reply, cell.signatures[reply.key[1]])
                files[cell.cell].add(plain(answer))
                cell.have[answer.probe, answer.sample] = answer
                self.done, self.tokens = self.done + 1, self.tokens + answer.tokens
                ctx.emit(Progress("generate", self.done, self.todo, answer.cell))

    def fit(self) -> None:
        """On a GPU, where rounding is not promised, have no more rows than fit what is free now."""
        base = self.ctx.base
        if base.device.type != "cpu" and (fit := rows_that_fit(base, self.ctx.buffer_plan)) < self.rows:
            self.ctx.emit(Warned(f"memory is free for {fit} rows in flight, where {self.rows} were planned"))
            self.rows = whole_rows(fit)

    def halve(self) -> bool:
        if self.rows <= ROWS_OF:
            return False
        self.rows = whole_rows(self.rows // 2)
        self.ctx.halved("generate", self.rows, "rows in flight")
        return True


def _completions(ctx: RunContext, missing: Sequence[Key], rows: int) -> "Iterator[Completion]":
    from iikata.generate import Sampling, Shapes
    from iikata.generate import generate as completions

    settings = ctx.experiment.generate
    sampling = Sampling(settings.temperature, settings.top_p, settings.top_k, settings.repetition_penalty)
    shapes = Shapes(rows, ctx.buffer_plan["kv_length"], ctx.buffer_plan["prefill_tokens"])
    names = list(dict.fromkeys(cell.arm.name for cell, _, _ in missing if cell.arm.variant))
    ctx.base.run_layers(compiled=len(missing) * settings.max_new_tokens >= COMPILE_FROM)
    return completions(ctx.base, names, _requests(ctx, missing), sampling, settings.max_new_tokens, shapes)


def _read(ctx: RunContext, reply: "Completion", signature: str) -> Answer:
    cell, probe, sample = reply.key
    read = ctx.tokenizer.whole_text if reply.finish == "length" else ctx.tokenizer.text
    text = ctx.prompts.of(cell).answer(read(reply.ids))
    who = (cell.arm.variant, cell.arm.seed, cell.prompted_with)
    return Answer(*who, probe, sample, text, reply.finish, len(reply.ids), signature)


def _requests(ctx: RunContext, missing: Sequence[Key]) -> "list[Request]":
    from iikata.generate import Request

    probes = {probe.id: probe for probe in ctx.probes}
    requests: dict[tuple[Cell, str], list[int]] = {}
    for cell, probe, sample in missing:
        requests.setdefault((cell, probe), []).append(sample)
    made = []
    for (cell, probe), samples in requests.items():
        template = ctx.prompts.of(cell)
        made.append(
            Request(
                keys=tuple((cell, probe, sample) for sample in samples),
                prompt_ids=ctx.prompts.ids(cell, probes[probe]),
                seeds=tuple(
                    stream_seed("answer", ctx.experiment.generate.seed, cell.name, probe, sample) for sample in samples
                ),
                end_ids=stop_ids(template, ctx.tokenizer),
                arm=cell.arm.name if cell.arm.variant else None,
                prefixes=ctx.prompts.prefixes_of(cell),
                stopped=_stop_strings(ctx, template),
            )
        )
    return made


def _stop_strings(ctx: RunContext, template: Template) -> Callable[[tuple[int, ...]], bool] | None:
    stop = template.stop
    return (lambda ids: any(text in ctx.tokenizer.text(ids) for text in stop)) if stop else None
