"""Rules on conversations: system messages, who answers out of turn, answers that are not trained."""

from collections.abc import Iterator

from iikata.core.bilingual import Both, same
from iikata.core.records import Finding
from iikata.data import TRANSCRIPT
from iikata.doctor.doctor_input import DoctorInput, counted, share, share_ja, short

SHOWN = 3
CHOICES = Both(
    "Write {system} into the template where it belongs; or choose data.system: data: {system: keep} leaves system "
    "messages out under this template alone, data: {system: drop} under all of them.",
    "テンプレートのふさわしい位置に {system} を書くか、data.system を選びます。data: {system: keep} はこのテンプレート"
    "だけで、data: {system: drop} はすべてのテンプレートで、システムメッセージを使いません。",
)
WHY_JA = {
    "nobody answers": "回答する人がいない",
    "a system message stands in the middle": "途中にシステムメッセージがある",
    "the assistant speaks first": "アシスタントが先に話している",
    "one side speaks twice in a row": "同じ側が続けて話している",
    "it does not end with a question": "質問で終わっていない",
    "every answer is marked as not to be trained": "すべての回答に「学習しない」印がある",
    "tool calls": "ツールの呼び出しがある",
}
"""Why a row is no conversation to train on, as `data` says it."""


def system_place(case: DoctorInput) -> Iterator[Finding]:
    """A system message without a place in the template is never seen, and other templates would show it."""
    # Templates know of one: where a row has several, they become one.
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
        counts = counted(len(held), len(rows), len(asked), len(case.probes))
        message = counts + Both(
            " have a system message, and the template has no place for it",
            "にシステムメッセージがありますが、テンプレートにその位置がありません",
        )
        evidence = f"{held[0].source}: {short(held[0].before.system)}" if held else short(asked[0].before.system)
        yield Finding.of("system_place", severity, name, message, evidence, CHOICES)


def _several(case: DoctorInput) -> Iterator[Finding]:
    counts = case.data.counts
    if counts.systems.rows:
        message = Both(
            f"{share(counts.systems.rows, counts.rows)} rows have several system messages; they are joined into one, "
            "an empty line between them",
            f"{share_ja(counts.systems.rows, counts.rows)}にシステムメッセージが複数あり、"
            "空行をはさんで一つにつなぎます",
        )
        fix = Both("Where only one of them is meant, take the others out.", "一つだけでよければ、ほかを取り除きます。")
        yield Finding.of("system_place", "warning", None, message, ", ".join(counts.systems.examples), fix)


def out_of_turn(case: DoctorInput) -> Iterator[Finding]:
    """Conversations in which nobody answers in turn are left out, and questions at their end."""
    counts = case.data.counts
    for why, left in case.data.irregular.items():
        message = Both(
            f"{share(left.rows, counts.rows)} rows are left out: {why}",
            f"{share_ja(left.rows, counts.rows)}を除きました。理由: {WHY_JA.get(why, why)}",
        )
        fix = Both(
            "A conversation is a system message or none, then user and assistant in turn, the user first.",
            "会話は、システムメッセージ（なくてもよい）のあと、ユーザーから始めて、ユーザーとアシスタントが交互に話します。",
        )
        yield Finding.of("out_of_turn", "warning", None, message, ", ".join(left.examples), fix)
    if counts.unanswered.rows:
        ended, all_rows = counts.unanswered.rows, counts.rows
        message = Both(
            f"{share(ended, all_rows)} rows end with a question that is not answered; it is left out",
            f"{share_ja(ended, all_rows)}は答えのない質問で終わり、その質問を除きました",
        )
        yield Finding.of("out_of_turn", "info", None, message, ", ".join(counts.unanswered.examples))
    rows = [*case.data.train, *case.data.validation]
    if told := [row for row in rows if len(TRANSCRIPT.findall(row.instruction)) > 1]:
        message = Both(
            f"{share(len(told), len(rows))} rows seem to hold a whole conversation as their question",
            f"{share_ja(len(told), len(rows))}は、質問の中に会話全体が入っているようです",
        )
        fix = Both(
            "Every template would be written around it. Give its turns: messages, or history.",
            "このままでは会話全体がテンプレートの一つの質問になります。発言ごとに分け、"
            "messages か history で渡します。",
        )
        yield Finding.of(
            "out_of_turn", "warning", None, message, f"{told[0].source}: {short(told[0].instruction)}", fix
        )


def untrained_answers(case: DoctorInput) -> Iterator[Finding]:
    """An earlier answer that the template writes otherwise once it is not the last must not be trained as it stands."""
    for name, rows in case.encoded.items():
        trained = case.data.train
        apart = [(of, row) for of, row in zip(trained, rows, strict=True) if row.apart and not row.truncated]
        if not apart:
            continue
        answers = sum(row.apart for _, row in apart)
        every = sum(len(row.before.turns) - len(row.marked) for row in trained)
        message = Both(
            f"{share(answers, every)} earlier answers, in {len(apart)} rows, are not in the loss: in the whole "
            "conversation they stand otherwise than when they were the last (thoughts dropped, a token over an end)",
            f"途中の回答 {share_ja(answers, every, '件')}（{len(apart)} 行）は損失の対象外です。"
            "会話全体の中では、最後の回答"
            "だったときと書かれ方が違います（思考が消える、終端の前後でトークンがつながる、など）",
        )
        fix = Both(
            "To train on every answer: write each turn as a row of its own, with its history.",
            "すべての回答を学習するには、発言ごとに履歴つきの行に分けます。",
        )
        places = ", ".join(of.source or of.id for of, _ in apart[:SHOWN])
        yield Finding.of("untrained_answers", "warning", name, message, places, fix)
    yield from _marked(case)


def _marked(case: DoctorInput) -> Iterator[Finding]:
    """An answer that its file marks as not to be trained is not in the loss, unless all of the row is."""
    marked = case.data.counts.marked
    if not marked.rows:
        return
    message = Both(
        f"{share(marked.rows, case.data.counts.rows)} rows mark answers as not to be trained (weight 0, train false)",
        f"{share_ja(marked.rows, case.data.counts.rows)}に「学習しない」印（weight 0、train false）の回答があり",
    )
    places = ", ".join(marked.examples)
    if all(row.train.loss_on != "all" for row in case.experiment.recipes.values()):
        message += Both(": these are not in the loss", "、損失の対象外です")
        yield Finding.of("untrained_answers", "info", None, message, places)
        return
    message += Both(", and loss_on: all counts them all the same", "ますが、loss_on: all では損失に数えます")
    yield Finding.of("untrained_answers", "warning", None, message, places, same("train: {loss_on: completion}"))
