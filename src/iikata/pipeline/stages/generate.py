"""Stage generate: every cell answers every probe, each arm from its adapter reopened from disk."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

from iikata.core.errors import IikataError
from iikata.core.io import Appender
from iikata.core.records import NOTHING, Answer, Arm, Cell, Gate, plain
from iikata.core.rng import stream_seed
from iikata.pipeline.bringing import prove
from iikata.pipeline.buffer_plan import joined_arms, rows_that_fit, whole_rows
from iikata.pipeline.context import RunContext
from iikata.pipeline.evaluating import Halving
from iikata.pipeline.events import Progress, Stage, Warned
from iikata.pipeline.executor.messages import Halved, Job, Key, Order
from iikata.pipeline.gates import check_arms, proof, proved
from iikata.pipeline.prompts import request, sampling_of
from iikata.pipeline.signature import digest
from iikata.pipeline.stages.train import arm_signature, stopped
from iikata.run_folder import read_object, write_json, write_lines
from iikata.tokenize import stop_ids

if TYPE_CHECKING:
    from iikata.generate import Completion, Request
    from iikata.model.base import Base
    from iikata.pipeline.executor.crew import Crew

COMPILE_FROM = 4_000_000
"""New tokens, at most, from which on a GPU wins back the seconds that compiling its layers takes."""


def generate(ctx: RunContext) -> dict[str, int]:
    """Prove every adapter live, then let every cell give the answers it does not have yet."""
    gates = check_arms(ctx)
    arms = [arm for arm in (*ctx.experiment.arms(), *ctx.experiment.bases()) if not stopped(ctx, arm)]
    cells = {arm: [CellAnswers(ctx, cell) for cell in ctx.cells_of(arm)] for arm in arms}
    if any(cell.outdated for own in cells.values() for cell in own):
        ctx.put_aside("answers there are to other probes, or made under other templates, sampling or shapes")
    told = Tally(ctx, sum(len(cell.missing()) for own in cells.values() for cell in own))
    ctx.emit(Stage("generate", told.todo, "answers"))
    gates += _answer_away(ctx, ctx.crew, cells, told) if ctx.crew else answer_arms(ctx, cells, told)
    write_json(ctx.store.gates, [plain(gate) for gate in gates])
    write_json(ctx.store.proofs, {arm.name: proof(ctx, arm) for arm in arms if arm.variant})
    return {"tokens": told.tokens, "answers": told.done}


def answer_arms(ctx: RunContext, cells: "Mapping[Arm, Sequence[CellAnswers]]", told: "Tally") -> list[Gate]:
    """Prove these arms live and let them give what is missing, here; return the gates.

    An arm that misses nothing and has been proved from the same file is not proved again.
    """
    rows, proofs = Halving(ctx, "generate", "decode_rows"), read_object(ctx.store.proofs)
    whole = [arm for arm, own in cells.items() if not any(cell.missing() for cell in own)]
    gates: dict[Arm, Gate] = {}
    with suppress(IikataError):  # a damaged file of gates is made again
        same = [arm for arm in whole if arm.variant and proofs.get(arm.name) == proof(ctx, arm)]
        gates = {arm: gate for arm in same if (gate := proved(ctx, arm))}
    done = [arm for arm in whole if not arm.variant or arm in gates]
    for arm in done:
        for cell in cells[arm]:
            cell.settle()
    for group in _groups(ctx, [arm for arm in cells if arm not in done]):
        gates |= {arm: prove(ctx, arm, ctx.store.arm(arm)) for arm in group if arm.variant}
        for arm in group:
            if arm.variant and not gates[arm].passed:
                ctx.emit(Warned(f"arm {arm.name}: {gates[arm].detail}; nothing is concluded from it"))
        merged = [arm for arm in group if arm in ctx.merged and gates[arm].passed]
        speaking = [arm for arm in group if arm in merged or arm.name in ctx.adapters or not arm.variant]
        asked = [cell for arm in speaking for cell in cells[arm]]
        rows.fitted(partial(_answer, ctx, asked, told, rows))
        for arm in speaking:
            for cell in cells[arm]:
                cell.settle()
            if arm.name in ctx.adapters:
                ctx.adapters.drop(arm.name)
    ctx.copies.drop()
    return [gates[arm] for arm in cells if arm.variant]


def _answer_away(
    ctx: RunContext, crew: "Crew", cells: "Mapping[Arm, Sequence[CellAnswers]]", told: "Tally"
) -> list[Gate]:
    """Let workers do so, each an equal share of what is missing: an answer depends on no other."""
    by_cell = {one.cell: one for own in cells.values() for one in own}

    def order(share: Mapping[Arm, Sequence[Key]]) -> Order:
        keys = tuple(key for own in share.values() for key in own if key[1:] not in by_cell[key[0]].have)
        return Order("generate", tuple(share), ctx.store.read_files(share), keys=keys)

    shares = _shares(cells, crew.size)
    jobs = [Job(f"{sum(map(len, share.values())):,} answers", partial(order, share)) for share in shares]
    gates: dict[str, Gate] = {}
    with ExitStack() as stack:
        files = {one.cell: stack.enter_context(Appender(one.unfinished)) for one in by_cell.values() if one.missing()}
        for _, _, message in crew.work(jobs):
            if isinstance(message, Answer):
                cell = by_cell[Cell(Arm(message.trained_on, message.seed), message.prompted_with)]
                told.add(cell, message, files[cell.cell])
            elif isinstance(message, Gate):
                gates[message.subject] = message
            elif isinstance(message, Halved):
                ctx.halved(message.stage, message.to, message.unit)
    for one in by_cell.values():
        one.settle()
    return [gates[arm.name] for arm in cells if arm.variant]


def _shares(cells: "Mapping[Arm, Sequence[CellAnswers]]", count: int) -> list[dict[Arm, list[Key]]]:
    """Cut what is missing into shares of one size; arms that miss nothing are among them, to be proved."""
    wanted = [(arm, key) for arm, own in cells.items() for one in own for key in one.missing()]
    size = max(1, math.ceil(len(wanted) / count))
    shares: list[dict[Arm, list[Key]]] = [{} for _ in range(count)]
    for number, (arm, key) in enumerate(wanted):
        shares[number // size].setdefault(arm, []).append(key)
    missing = {arm for arm, _ in wanted}
    for number, arm in enumerate(arm for arm in cells if arm.variant and arm not in missing):
        shares[number % count].setdefault(arm, [])
    return [share for share in shares if share]


def _groups(ctx: RunContext, arms: Sequence[Arm]) -> list[list[Arm]]:
    """Return the arms that answer together; the base joins the first of them. One that is merged answers alone."""
    r = max((shape.r for shape in ctx.adapters.shapes.values()), default=ctx.adapters.shape.r)
    size = joined_arms(ctx.base.device.type, r)
    tuned = [arm for arm in arms if arm.variant and arm not in ctx.merged]
    groups = [tuned[start : start + size] for start in range(0, len(tuned), size)] or [[]]
    groups[0] += [arm for arm in arms if not arm.variant]
    return groups + [[arm] for arm in arms if arm in ctx.merged]


def answer_signatures(ctx: RunContext, cell: Cell) -> dict[str, str]:
    """Return, for each probe, a hash of all that the cell's answers to it follow from."""
    # A longer probe makes slots longer, which moves rounding alone: a run that grows keeps its answers. How many arms
    # are joined moves no bit, nor on CPU does the number of rows (tested).
    of_device = () if ctx.machine.device == "cpu" else ("decode_rows", "prefill_tokens")
    shapes = {key: ctx.buffer_plan[key] for key in of_device}
    template = ctx.prompts.of(cell)
    stops = sorted(stop_ids(template, ctx.tokenizer))
    of_cell = digest([arm_signature(ctx, cell.arm), template.hash, stops, ctx.signature["generate"], shapes])
    before = {one.id: [] if one.before == NOTHING else [one.before.system, one.before.turns] for one in ctx.probes}
    return {one.id: digest([of_cell, one.instruction, one.input, *before[one.id]]) for one in ctx.probes}


class CellAnswers:
    """The answers of one cell: those that are there, read once, and those still to give."""

    def __init__(self, ctx: RunContext, cell: Cell, asked: Collection[Key] | None = None) -> None:
        self.ctx, self.cell = ctx, cell
        self.asked = asked if asked is None else {key[1:] for key in asked if key[0] == cell}
        """The only ones that are to be given here."""
        self.path, self.unfinished = ctx.store.answers(cell), ctx.store.unfinished_answers(cell)
        self.signatures = answer_signatures(ctx, cell)
        self._settled = ctx.store.read_answers(self.path)
        stored = [*self._settled, *ctx.store.read_answers(self.unfinished)]
        self.have = {(one.probe, one.sample): one for one in stored if self.signatures.get(one.probe) == one.signature}
        self.outdated = any(self.signatures.get(one.probe) != one.signature for one in stored)
        """Whether there are answers to other probes, or made from something else."""

    def missing(self) -> list[Key]:
        samples = range(self.ctx.experiment.generate.samples)
        wanted = ((probe.id, sample) for probe in self.ctx.sampled for sample in samples)
        missing = (key for key in wanted if key not in self.have)
        return [(self.cell, *key) for key in missing if self.asked is None or key in self.asked]

    def settle(self) -> None:
        """Write the answers in (probe, sample) order, without outdated ones; drop the unfinished file."""
        order = {probe.id: index for index, probe in enumerate(self.ctx.probes)}
        answers = sorted(self.have.values(), key=lambda one: (order.get(one.probe, len(order)), one.sample))
        if self.unfinished.is_file() or answers != self._settled:
            write_lines(self.path, map(plain, answers))
        for empty in (self.unfinished, *(() if answers else (self.path,))):
            empty.unlink(missing_ok=True)


class Tally:
    """How far the answers are."""

    def __init__(self, ctx: RunContext, todo: int) -> None:
        self.ctx, self.todo, self.done, self.tokens = ctx, todo, 0, 0

    def add(self, cell: CellAnswers, answer: Answer, file: Appender) -> None:
        """Keep an answer and tell of it."""
        file.add(plain(answer))
        cell.have[answer.probe, answer.sample] = answer
        self.done, self.tokens = self.done + 1, self.tokens + answer.tokens
        self.ctx.made(answer)
        self.ctx.emit(Progress("generate", self.done, self.todo, answer.cell))


def _answer(ctx: RunContext, cells: Sequence[CellAnswers], told: Tally, rows: Halving, count: int) -> None:
    """Let these cells give what is missing; on a GPU, where rounding is not promised, in what rows fit it now."""
    by_cell = {one.cell: one for one in cells}
    if not (missing := [key for one in cells for key in one.missing()]):
        return
    base = ctx.speaker(cells[0].cell.arm)[0]
    if base.device.type != "cpu" and (fit := rows_that_fit(base, ctx.buffer_plan)) < count:
        ctx.emit(Warned(f"memory is free for {fit} rows in flight, where {count} were planned"))
        count = rows.size = whole_rows(fit)
    with ExitStack() as stack:
        files = {one.cell: stack.enter_context(Appender(one.unfinished)) for one in cells if one.missing()}
        for reply in _completions(ctx, base, missing, count):
            cell = by_cell[reply.key[0]]
            told.add(cell, _read(ctx, reply, cell.signatures[reply.key[1]]), files[cell.cell])


def _completions(ctx: RunContext, base: "Base", missing: Sequence[Key], rows: int) -> "Iterator[Completion]":
    from iikata.generate import Shapes
    from iikata.generate import generate as completions

    settings = ctx.experiment.generate
    shapes = Shapes(rows, ctx.buffer_plan["kv_length"], ctx.buffer_plan["prefill_tokens"])
    names = list(dict.fromkeys(name for cell, _, _ in missing if (name := ctx.adapter_of(cell.arm))))
    base.run_layers(compiled=len(missing) * settings.max_new_tokens >= COMPILE_FROM)
    requests = list(_requests(ctx, missing))
    return completions(base, names, requests, sampling_of(ctx.experiment), settings.max_new_tokens, shapes)


def _read(ctx: RunContext, reply: "Completion", signature: str) -> Answer:
    cell, probe, sample = reply.key
    read = ctx.tokenizer.whole_text if reply.finish == "length" else ctx.tokenizer.text
    text = ctx.prompts.of(cell).answer(read(reply.ids))
    who = (cell.arm.variant, cell.arm.seed, cell.prompted_with)
    return Answer(*who, probe, sample, text, reply.finish, len(reply.ids), signature)


def _requests(ctx: RunContext, missing: Sequence[Key]) -> "Iterator[Request]":
    probes, prompts, seed = {probe.id: probe for probe in ctx.probes}, ctx.prompts, ctx.experiment.generate.seed
    wanted: dict[tuple[Cell, str], list[Key]] = {}
    for key in missing:
        wanted.setdefault(key[:2], []).append(key)
    for (cell, probe), keys in wanted.items():
        ids = prompts.ids(cell, probes[probe])
        seeds = [stream_seed("answer", seed, cell.name, probe, sample) for _, _, sample in keys]
        arm, prefixes = ctx.adapter_of(cell.arm), prompts.prefixes_of(cell)
        yield request(prompts.of(cell), ctx.tokenizer, ids, keys, seeds, arm, prefixes)
