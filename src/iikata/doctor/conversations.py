"""Rules on conversations: system messages without a place, who answers out of turn, answers that are not trained."""

from collections.abc import Iterator

from iikata.core.records import Finding
from iikata.data import TRANSCRIPT
from iikata.doctor.doctor_input import DoctorInput, share, short

CHOICES = (
    "Write {system} into the template where it belongs; or choose data.system: data: {system: keep} leaves system "
    "messages out under this template alone, data: {system: drop} under all of them."
)


def system_place(case: DoctorInput) -> Iterator[Finding]:
    """A system message without a place in the template is never seen, and other templates would show it."""
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


def out_of_turn(case: DoctorInput) -> Iterator[Finding]:
    """Conversations in which nobody answers in turn are left out, and questions at their end."""
    counts = case.data.counts
    if counts.irregular.rows:
        message = (
            f"{share(counts.irregular.rows, counts.rows)} rows are left out: user and assistant do not take turns, the "
            "user first"
        )
        fix = "Join messages that follow one another, and take away a greeting by the assistant."
        yield Finding("out_of_turn", "warning", None, message, ", ".join(counts.irregular.examples), fix)
    if counts.unanswered.rows:
        message = (
            f"{share(counts.unanswered.rows, counts.rows)} rows end with a question that is not answered: left out"
        )
        yield Finding("out_of_turn", "info", None, message, ", ".join(counts.unanswered.examples))
    rows = [*case.data.train, *case.data.validation]
    if told := [row for row in rows if len(TRANSCRIPT.findall(row.instruction)) > 1]:
        message = f"{share(len(told), len(rows))} rows seem to hold a whole conversation as their question"
        fix = "Every template would be written around it. Give its turns: messages, or history."
        yield Finding("out_of_turn", "warning", None, message, f"{told[0].source}: {short(told[0].instruction)}", fix)


def untrained_answers(case: DoctorInput) -> Iterator[Finding]:
    """An earlier answer that the template writes otherwise once it is not the last must not be trained as it stands."""
    for name, rows in case.encoded.items():
        apart = [row for row in rows if row.apart and not row.truncated]
        if not apart:
            continue
        answers, every = sum(row.apart for row in apart), sum(len(row.before.turns) for row in case.data.train)
        message = (
            f"{share(answers, every)} earlier answers, in {len(apart)} rows, are not in the loss: in the whole "
            "conversation they stand otherwise than when they were the last (thoughts dropped, a token over an end)"
        )
        fix = "To train on every answer: write each turn as a row of its own, with its history."
        yield Finding("untrained_answers", "warning", name, message, f"row {apart[0].id}", fix)
    yield from _marked(case)


def _marked(case: DoctorInput) -> Iterator[Finding]:
    """An answer that its file marks as not to be trained is trained all the same, unless the last alone is."""
    marked = case.data.counts.marked
    if not marked.rows or case.experiment.train.loss_on == "last":
        return
    message = (
        f"{share(marked.rows, case.data.counts.rows)} rows mark answers as not to be trained (weight 0, train false); "
        "marks are not read, and all answers are trained"
    )
    fix = (
        "Where the last answer alone is meant: train: {loss_on: last}. Else end the conversation before the marked one."
    )
    yield Finding("untrained_answers", "warning", None, message, ", ".join(marked.examples), fix)
