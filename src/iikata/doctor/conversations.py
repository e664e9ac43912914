"""Rules on conversations: system messages, who answers out of turn, answers that are not trained."""

from collections.abc import Iterator

from iikata.core.bilingual import Both, same
from iikata.core.records import Finding
from iikata.data import TRANSCRIPT
from iikata.doctor.doctor_input import DoctorInput, counted, counted_rows, places, share, short

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
    several = Both(
        " have several system messages; they are joined into one, an empty line between them",
        "にシステムメッセージが複数あり、空行をはさんで一つにつなぎます",
    )
    fix = Both("Where only one of them is meant, take the others out.", "一つだけでよければ、ほかを取り除きます。")
    yield from counted_rows(case, "system_place", "warning", case.data.counts.systems, several, fix)
    held = [row for row in case.rows_read if row.before.system]
    asked = [probe for probe in case.probes if probe.before.system]
    if not held and not asked:
        return
    severity = "error" if case.experiment.data.system is None else "warning"
    for name, template in case.templates.items():
        if template.takes_system:
            continue
        counts = counted(len(held), len(case.rows_read), len(asked), len(case.probes))
        message = counts + Both(
            " have a system message, and the template has no place for it",
            "にシステムメッセージがありますが、テンプレートにその位置がありません",
        )
        evidence = f"{held[0].source}: {short(held[0].before.system)}" if held else short(asked[0].before.system)
        yield Finding.of("system_place", severity, name, message, evidence, CHOICES)


def out_of_turn(case: DoctorInput) -> Iterator[Finding]:
    """Conversations in which nobody answers in turn are left out, and questions at their end."""
    fix = Both(
        "A conversation is a system message or none, then user and assistant in turn, the user first.",
        "会話は、システムメッセージ（なくてもよい）のあと、ユーザーから始めて、ユーザーとアシスタントが交互に話します。",
    )
    for why, left in case.data.irregular.items():
        message = Both(f" are left out: {why}", f"を除きました。理由: {WHY_JA.get(why, why)}")
        yield from counted_rows(case, "out_of_turn", "warning", left, message, fix)
    ended = Both(
        " end with a question that is not answered; it is left out", "は答えのない質問で終わり、その質問を除きました"
    )
    yield from counted_rows(case, "out_of_turn", "info", case.data.counts.unanswered, ended)
    if told := [row for row in case.rows_read if len(TRANSCRIPT.findall(row.instruction)) > 1]:
        message = share(len(told), len(case.rows_read)) + Both(
            " seem to hold a whole conversation as their question", "は、質問の中に会話全体が入っているようです"
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
        apart = {of: row.apart for of, row in zip(trained, rows, strict=True) if row.apart and not row.truncated}
        if not apart:
            continue
        every = sum(len(row.before.turns) - len(row.marked) for row in trained)
        message = Both("", "途中の回答 ") + share(sum(apart.values()), every, "earlier answers", "件")
        message += Both(
            f", in {len(apart)} rows, are not in the loss: in the whole conversation they stand otherwise than when "
            "they were the last (thoughts dropped, a token over an end)",
            f"（{len(apart)} 行）は損失の対象外です。会話全体の中では、最後の回答だったときと書かれ方が違います"
            "（思考が消える、終端の前後でトークンがつながる、など）",
        )
        fix = Both(
            "To train on every answer: write each turn as a row of its own, with its history.",
            "すべての回答を学習するには、発言ごとに履歴つきの行に分けます。",
        )
        yield Finding.of("untrained_answers", "warning", name, message, places(apart), fix)
    marked = Both(
        " mark answers as not to be trained (weight 0, train false)",
        "に「学習しない」印（weight 0、train false）の回答があり",
    )
    if all(row.train.loss_on != "all" for row in case.experiment.recipes.values()):
        marked += Both(": these are not in the loss", "、損失の対象外です")
        yield from counted_rows(case, "untrained_answers", "info", case.data.counts.marked, marked)
    else:
        marked += Both(", and loss_on: all counts them all the same", "ますが、loss_on: all では損失に数えます")
        fix = same("train: {loss_on: completion}")
        yield from counted_rows(case, "untrained_answers", "warning", case.data.counts.marked, marked, fix)
