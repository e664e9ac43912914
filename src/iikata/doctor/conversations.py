"""Rules on conversations: system messages, who answers out of turn, answers that are not trained."""

from collections.abc import Iterator

from iikata.core.records import Finding
from iikata.data import TRANSCRIPT
from iikata.doctor.doctor_input import DoctorInput, share, short

SHOWN = 3
CHOICES = (
    "Write {system} into the template where it belongs; or choose data.system: data: {system: keep} leaves system "
    "messages out under this template alone, data: {system: drop} under all of them."
)


def system_place(case: DoctorInput) -> Iterator[Finding]:
    """A system message without a place in the template is never seen, and other templates would show it.

    Templates know of one: where a row has several, they become one.
    """
    yield from _several(case)
    rows = [*case.data.train, *case.data.validation]
    held = [row for row in rows if row.before.system]
    asked = [probe for probe in case.probes if probe.before.system]
    if not held and not asked:
        return
    severity = "error" if case.experiment.data.system is None else "warning"
    for name, template in case.templates.items():
        if template.takes_system:
            continue
        counts = [f"{share(len(held), len(rows))} rows"] if held else []
        counts += [f"{share(len(asked), len(case.probes))} probes"] if asked else []
        message = f"{' and '.join(counts)} have a system message, and the template has no place for it"
        evidence = f"{held[0].source}: {short(held[0].before.system)}" if held else short(asked[0].before.system)
        yield Finding("system_place", severity, name, message, evidence, CHOICES)


def _several(case: DoctorInput) -> Iterator[Finding]:
    counts = case.data.counts
    if counts.systems.rows:
        message = (
            f"{share(counts.systems.rows, counts.rows)} rows have several system messages; they are joined into one, "
            "an empty line between them"
        )
        fix = "Where only one of them is meant, take the others out."
        yield Finding("system_place", "warning", None, message, ", ".join(counts.systems.examples), fix)


def out_of_turn(case: DoctorInput) -> Iterator[Finding]:
    """Conversations in which nobody answers in turn are left out, and questions at their end."""
    counts = case.data.counts
    for why, left in case.data.irregular.items():
        message = f"{share(left.rows, counts.rows)} rows are left out: {why}"
        fix = "A conversation is a system message or none, then user and assistant in turn, the user first."
        yield Finding("out_of_turn", "warning", None, message, ", ".join(left.examples), fix)
    if counts.unanswered.rows:
        ended = share(counts.unanswered.rows, counts.rows)
        message = f"{ended} rows end with a question that is not answered; it is left out"
        yield Finding("out_of_turn", "info", None, message, ", ".join(counts.unanswered.examples))
    rows = [*case.data.train, *case.data.validation]
    if told := [row for row in rows if len(TRANSCRIPT.findall(row.instruction)) > 1]:
        message = f"{share(len(told), len(rows))} rows seem to hold a whole conversation as their question"
        fix = "Every template would be written around it. Give its turns: messages, or history."
        yield Finding("out_of_turn", "warning", None, message, f"{told[0].source}: {short(told[0].instruction)}", fix)


def untrained_answers(case: DoctorInput) -> Iterator[Finding]:
    """An earlier answer that the template writes otherwise once it is not the last must not be trained as it stands."""
    for name, rows in case.encoded.items():
        trained = case.data.train
        apart = [(of, row) for of, row in zip(trained, rows, strict=True) if row.apart and not row.truncated]
        if not apart:
            continue
        answers = sum(row.apart for _, row in apart)
        every = sum(len(row.before.turns) - len(row.marked) for row in trained)
        message = (
            f"{share(answers, every)} earlier answers, in {len(apart)} rows, are not in the loss: in the whole "
            "conversation they stand otherwise than when they were the last (thoughts dropped, a token over an end)"
        )
        fix = "To train on every answer: write each turn as a row of its own, with its history."
        places = ", ".join(of.source or of.id for of, _ in apart[:SHOWN])
        yield Finding("untrained_answers", "warning", name, message, places, fix)
    yield from _marked(case)


def _marked(case: DoctorInput) -> Iterator[Finding]:
    """An answer that its file marks as not to be trained is not in the loss, unless all of the row is."""
    marked = case.data.counts.marked
    if not marked.rows:
        return
    message = (
        f"{share(marked.rows, case.data.counts.rows)} rows mark answers as not to be trained (weight 0, train false)"
    )
    places = ", ".join(marked.examples)
    if all(row.train.loss_on != "all" for row in case.experiment.recipes.values()):
        yield Finding("untrained_answers", "info", None, f"{message}: these are not in the loss", places)
        return
    message += ", and loss_on: all counts them all the same"
    yield Finding("untrained_answers", "warning", None, message, places, "train: {loss_on: completion}")
