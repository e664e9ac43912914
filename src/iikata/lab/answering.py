"""Stage generate: every cell answers every probe, each arm from its adapter reopened from disk."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iikata.disk import Appender
from iikata.encode import stop_ids
from iikata.lab.events import Progress, Stage, Warned
from iikata.lab.gating import check_arms, prove
from iikata.lab.halving import note_halving
from iikata.lab.materials import Materials
from iikata.lab.shapes import ROWS_OF, joined_arms, rows_that_fit
from iikata.lab.signature import digest
from iikata.lab.training import arm_signature, stopped
from iikata.records import Answer, Arm, Cell, Gate, plain
from iikata.store import write_json, write_lines
from iikata.streams import stream_seed

if TYPE_CHECKING:
    from iikata.generate import Reply, Request

Key = tuple[Cell, str, int]
"""A cell, a probe's id, a sample."""
COMPILE_FROM = 4_000_000
"""New tokens, at most, from which on a GPU wins back the seconds that compiling its layers takes."""


def generate(lab: Materials) -> dict[str, int]:
    """Prove every adapter live, then let every cell give the answers it does not have yet."""
    gates = check_arms(lab)
    groups = _groups(lab)
    if any(_unread(lab, cell) for group in groups for arm in group for cell in lab.cells_of(arm)):
        lab.put_aside("answers there are to other probes, or made under other templates, sampling or shapes")
    missing = {arm: _missing(lab, arm) for group in groups for arm in group}
    todo, tokens, done = sum(map(len, missing.values())), 0, 0
    lab.tell(Stage("generate", todo, "answers"))
    rows = _Rows(lab)
    for group in groups:
        gates += [_reopen(lab, arm) for arm in group if arm.template]
        speaking = [arm for arm in group if not arm.template or arm.name in lab.adapters]
        for answer in _all_answers(lab, speaking, rows):
            done, tokens = done + 1, tokens + answer.tokens
            lab.tell(Progress("generate", done, todo, answer.cell))
        for arm in speaking:
            for cell in lab.cells_of(arm):
                _settle(lab, cell)
            if arm.template:
                lab.adapters.drop(arm.name)
    write_json(lab.store.gates, [plain(gate) for gate in gates])
    return {"tokens": tokens, "answers": done}


def _groups(lab: Materials) -> list[list[Arm]]:
    """Return the arms that answer together; the base joins the first of them."""
    arms = lab.experiment.arms()
    size = joined_arms(lab.base.device.type, lab.experiment.train.lora.r)
    groups = [list(arms[start : start + size]) for start in range(0, len(arms), size)]
    groups[0].append(Arm())
    return [[arm for arm in group if not stopped(lab, arm)] for group in groups]


def _reopen(lab: Materials, arm: Arm) -> Gate:
    gate = prove(lab, arm)
    if not gate.passed:
        lab.tell(Warned(f"arm {arm.name}: {gate.detail}; nothing is concluded from it"))
    return gate


def answer_signatures(lab: Materials, cell: Cell) -> dict[str, str]:
    """Return, for each probe, a hash of all that the cell's answers to it follow from."""
    # A longer probe makes slots longer, which moves rounding alone: a run that grows keeps its answers. How many arms
    # are joined moves no bit, nor on CPU does the number of rows (tested).
    of_device = () if lab.base.device.type == "cpu" else ("decode_rows", "prefill_tokens")
    shapes = {key: lab.shapes[key] for key in of_device}
    template = lab.templates[cell.prompted_with]
    stops = sorted(stop_ids(template, lab.tokenizer))
    of_cell = digest([arm_signature(lab, cell.arm), template.hash, stops, lab.signature["generate"], shapes])
    return {probe.id: digest([of_cell, probe.instruction, probe.input]) for probe in lab.probes}


def _missing(lab: Materials, arm: Arm) -> list[Key]:
    wanted = range(lab.experiment.generate.samples)
    return [
        (cell, probe.id, sample)
        for cell in lab.cells_of(arm)
        for have in [_had(lab, cell)]
        for probe in lab.probes
        for sample in wanted
        if (probe.id, sample) not in have
    ]


def _had(lab: Materials, cell: Cell) -> dict[tuple[str, int], Answer]:
    """Return the cell's answers so far, without those to other probes or made from something else."""
    signatures = answer_signatures(lab, cell)
    stored = (answer for path in _files(lab, cell) for answer in lab.store.read_answers(path))
    return {(one.probe, one.sample): one for one in stored if signatures.get(one.probe) == one.signature}


def _unread(lab: Materials, cell: Cell) -> bool:
    """Return whether the cell's files hold answers that `_had` leaves out."""
    signatures = answer_signatures(lab, cell)
    stored = (answer for path in _files(lab, cell) for answer in lab.store.read_answers(path))
    return any(signatures.get(one.probe) != one.signature for one in stored)


def _files(lab: Materials, cell: Cell) -> tuple[Path, Path]:
    return lab.store.answers(cell), lab.store.unfinished_answers(cell)


class _Rows:
    """How many rows are in flight: as the run's shapes say, but no more than memory has room for."""

    def __init__(self, lab: Materials) -> None:
        self.lab, self.now = lab, lab.shapes["decode_rows"]

    def fit(self) -> int:
        """Return the rows; on a GPU, where rounding is not promised, no more than fit what is free now."""
        if self.lab.base.device.type != "cpu" and (fit := rows_that_fit(self.lab, self.lab.shapes)) < self.now:
            self.lab.tell(Warned(f"memory is free for {fit} rows in flight, where {self.now} were planned"))
            self.now = max(ROWS_OF, ROWS_OF * (fit // ROWS_OF))
        return self.now

    def halve(self) -> bool:
        """Go on with half the rows, if that is possible."""
        if self.now <= ROWS_OF:
            return False
        self.now = ROWS_OF * max(1, self.now // 2 // ROWS_OF)
        note_halving(self.lab, "generate", self.now, "rows in flight")
        return True


def _all_answers(lab: Materials, arms: Sequence[Arm], rows: _Rows) -> Iterator[Answer]:
    """Yield the answers of these arms that are missing; where memory runs out, go on with fewer rows."""
    from iikata.model import memory

    while missing := [key for arm in arms for key in _missing(lab, arm)]:
        try:
            yield from _answers(lab, arms, missing, rows.fit())
        except (RuntimeError, MemoryError) as error:
            if not memory.ran_out(error) or not rows.halve():
                raise
        memory.give_back()  # behind the clause: the error is gone, and with it what its frames held


def _answers(lab: Materials, arms: Sequence[Arm], missing: Sequence[Key], rows: int) -> Iterator[Answer]:
    """Yield these answers, each once it is in its cell's file."""
    from iikata.generate import Sampling, Shapes
    from iikata.generate import generate as replies

    settings, chosen = lab.experiment.generate, lab.shapes
    sampling = Sampling(settings.temperature, settings.top_p, settings.top_k, settings.repetition_penalty)
    shapes = Shapes(rows, chosen["kv_length"], chosen["prefill_tokens"])
    cells = dict.fromkeys(key[0] for key in missing)
    signatures = {cell: answer_signatures(lab, cell) for cell in cells}
    files = {cell: Appender(lab.store.unfinished_answers(cell)) for cell in cells}
    names = [arm.name for arm in arms if arm.template]
    lab.base.run_layers(compiled=len(missing) * settings.max_new_tokens >= COMPILE_FROM)
    try:
        for reply in replies(lab.base, names, _requests(lab, missing), sampling, settings.max_new_tokens, shapes):
            cell = reply.key[0]
            answer = _answer(lab, reply, signatures[cell][reply.key[1]])
            files[cell].add(plain(answer))
            yield answer
    finally:
        for file in files.values():
            file.close()


def _answer(lab: Materials, reply: "Reply", signature: str) -> Answer:
    cell, probe, sample = reply.key
    read = lab.tokenizer.whole_text if reply.finish == "length" else lab.tokenizer.text
    text = lab.templates[cell.prompted_with].answer(read(reply.ids))
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


def _requests(lab: Materials, missing: Sequence[Key]) -> "list[Request]":
    from iikata.generate import Request

    probes = {probe.id: probe for probe in lab.probes}
    requests: dict[tuple[Cell, str], list[int]] = {}
    for cell, probe, sample in missing:
        requests.setdefault((cell, probe), []).append(sample)
    made = []
    for (cell, probe), samples in requests.items():
        template = lab.templates[cell.prompted_with]
        made.append(
            Request(
                keys=tuple((cell, probe, sample) for sample in samples),
                prompt_ids=lab.prompt_ids(cell.prompted_with, probes[probe]),
                seeds=tuple(
                    stream_seed("answer", lab.experiment.generate.seed, cell.name, probe, sample) for sample in samples
                ),
                end_ids=stop_ids(template, lab.tokenizer),
                arm=cell.arm.name if cell.arm.template else None,
                prefixes=lab.prefixes[cell.prompted_with],
                stopped=_stop_strings(lab, cell.prompted_with),
            )
        )
    return made


def _stop_strings(lab: Materials, template: str) -> Callable[[tuple[int, ...]], bool] | None:
    stop = lab.templates[template].stop
    return (lambda ids: any(text in lab.tokenizer.text(ids) for text in stop)) if stop else None


def _settle(lab: Materials, cell: Cell) -> None:
    """Once all answers are there, write them in (probe, sample) order, without others; drop the unfinished file."""
    have, (path, unfinished) = _had(lab, cell), _files(lab, cell)
    order = {probe.id: index for index, probe in enumerate(lab.probes)}
    ordered = sorted(have.values(), key=lambda answer: (order.get(answer.probe, len(order)), answer.sample))
    if unfinished.is_file() or ordered != lab.store.read_answers(path):
        write_lines(path, (plain(answer) for answer in ordered))
    for empty in (unfinished, *(() if ordered else (path,))):
        empty.unlink(missing_ok=True)
