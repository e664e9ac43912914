"""Rules on rows: empty and doubled ones, and held-out texts that are trained on."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from iikata.core.bilingual import Both, same
from iikata.core.records import Example, Finding, Probe
from iikata.data import ALSO_CALLED, NULLS, Unused
from iikata.doctor.doctor_input import SHOWN, DoctorInput, counted_rows, places, share

MANY = 20
"""Rows with one input, and the part of all rows, from which on it is told."""
TURNS = ("system", "system_prompt", "history", "tools")
"""Columns that say what an answer follows from."""
UNFILLED = re.compile(r"\{\{\s*\w+\s*\}\}")
BESIDE = ("input", *ALSO_CALLED["input"])
TAKE_OUT = Both("Take these rows from the data.", "データからこれらの行を取り除きます。")


def empty_rows(case: DoctorInput) -> Iterator[Finding]:
    """Rows without an answer, or without anything asked, are left out."""
    nothing = Both(
        " have no answer, or nothing asked; they are left out",
        "に回答か質問がありません。学習にも検証にも使いません",
    )
    yield from counted_rows(case, "empty_rows", "warning", case.data.counts.empty, nothing, TAKE_OUT)
    broken = Both(
        " hold text that UTF-8 cannot (a lone surrogate); they are left out",
        "に UTF-8 で表せない文字（片方だけのサロゲート）があります。学習にも検証にも使いません",
    )
    yield from counted_rows(case, "empty_rows", "warning", case.data.counts.unencodable, broken, TAKE_OUT)

    bare = [row for row in case.rows_read if not row.instruction.strip()]
    if bare:
        message = share(len(bare), len(case.rows_read)) + Both(
            " have an input and no instruction", "に入力だけがあり、指示がありません"
        )
        fix = Both("They are trained as they are.", "そのまま学習します。")
        yield Finding.of("empty_rows", "info", None, message, places(bare), fix)


def null_words(case: DoctorInput) -> Iterator[Finding]:
    """Nothing that was written as a word ("nan") is trained as that word, a place still to be filled as it is."""
    rows = case.rows_read
    for name in ("input", "output"):
        found = [row for row in rows if getattr(row, name).strip().lower() in NULLS]
        if found:
            words = ", ".join(sorted({repr(getattr(row, name).strip()) for row in found}))
            message = Both("in ", "") + share(len(found), len(rows))
            message += Both(
                f" the {name} is the word {words}, which is trained as it is",
                f"の {name} が {words} という文字で、そのまま学習します",
            )
            fix = Both('Where nothing is meant, write "".', '空のつもりなら "" と書きます。')
            yield Finding.of("null_words", "warning", None, message, places(found), fix)
    # As in LLaMA-Factory's identity.json, {{name}}.
    unfilled = {row: held for row in rows if (held := UNFILLED.findall("\n".join(_texts(row))))}
    if unfilled:
        shown = ", ".join(sorted({word for words in unfilled.values() for word in words})[:SHOWN])
        message = share(len(unfilled), len(rows)) + Both(
            f" hold places that look like still to be filled: {shown}",
            f"に、まだ埋めていないと思われる箇所があります: {shown}",
        )
        fix = Both(
            "Put the names in their place in the file. Where the braces are meant, nothing is to be done.",
            "ファイルのその箇所に名前などを入れます。波かっこのままでよければ、何もしなくてかまいません。",
        )
        yield Finding.of("null_words", "warning", None, message, places(unfilled), fix)


def _texts(row: Example) -> list[str]:
    return [*(text for _, text in row.before.said), *row.texts[:3]]


def unused_columns(case: DoctorInput) -> Iterator[Finding]:
    """Text in a column that nothing uses is trained by no template."""
    rows, read = case.data.counts.rows, "; ".join(case.data.read_as)
    others = []
    for column in case.data.unused:
        beside = column.column in BESIDE and not any(row.input for row in case.data.train)
        if not (beside or column.turns or column.column in TURNS):
            others.append(column)
            continue
        message = Both(f'text in "{column.column}" in ', "") + share(column.rows, rows)
        message += Both(f" is not trained on: {read}", f"の列 {column.column} の文は学習に使いません: {read}")
        fix = same(f"data: {{columns: {{input: {column.column}}}}}") if beside else _TURNS_FIX
        yield Finding.of("unused_columns", "warning", None, message, _example(column), fix)
    if others:
        names = ", ".join(f"{column.column} ({column.rows:,} rows)" for column in others)
        names_ja = "、".join(f"{column.column}（{column.rows:,} 行）" for column in others)
        message = Both(f"text in columns that nothing uses: {names}", f"使われない列に文があります: {names_ja}")
        yield Finding.of("unused_columns", "info", None, message, "; ".join(map(_example, others[:SHOWN])))


_TURNS_FIX = Both(
    "Where it belongs to the conversation, name the column: data: {columns: {system: NAME}}, history or messages. "
    "Calls of tools are not read.",
    "会話の一部なら、data: {columns: {system: NAME}} や history、messages で列の名前を指定します。"
    "ツールの呼び出しは読みません。",
)


def _example(column: Unused) -> str:
    return f"{column.source}: {column.column} {column.example!r}"


def held_out(case: DoctorInput) -> Iterator[Finding]:
    """How many rows are held out where the experiment leaves it open, and whether one input ties many together."""
    if case.experiment.data.validation is None and case.experiment.holds_out:
        counts = case.data.counts
        message = share(counts.validation, counts.train + counts.validation) + Both(
            " are held out to measure by", "を学習に使わず、検証行とします"
        )
        fix = Both(
            "data: {validation: N} chooses; 0 for none.", "行数は data: {validation: N} で選びます。0 ならなしです。"
        )
        yield Finding.of("held_out", "info", None, message, cure=fix)
    rows = case.rows_read
    largest = Counter(row.cluster for row in rows if row.cluster).most_common(1)
    together = [row for row in rows if largest and row.cluster == largest[0][0]]
    if case.experiment.data.columns.cluster is None and len(together) > max(MANY, len(rows) // MANY):
        message = share(len(together), len(rows)) + Both(
            " have the same input and count as one document: they are held out together or not at all",
            "の入力が同じで、一つの文書とみなします。検証に回すときはまとめて回します",
        )
        fix = Both(
            "If it is no document: data: {columns: {cluster: none}}, or the column that names the document.",
            "一つの文書でなければ、data: {columns: {cluster: none}} か、文書を表す列を指定します。",
        )
        yield Finding.of("held_out", "warning", None, message, f"{together[0].source}: {together[0].input:.60}", fix)


def duplicate_rows(case: DoctorInput) -> Iterator[Finding]:
    """A row that is there twice counts once."""
    again = Both(
        " are there already, word for word; they are left out",
        "は、ほかの行とまったく同じです。学習にも検証にも使いません",
    )
    yield from counted_rows(case, "duplicate_rows", "warning", case.data.counts.duplicates, again, TAKE_OUT)


def validation_in_train(case: DoctorInput) -> Iterator[Finding]:
    """Held-out loss must not be measured on what was trained."""
    counts = case.data.counts
    if counts.overlap.rows:
        message = Both(
            f"{counts.overlap.rows} training rows are in the validation file too; they are kept there only",
            f"学習データのうち {counts.overlap.rows} 行は検証用のファイルにもあり、検証だけに使います",
        )
        sources = ", ".join(counts.overlap.examples)
        fix = Both("Take these rows from the training file.", "学習用のファイルからこれらの行を取り除きます。")
        yield Finding.of("validation_in_train", "warning", None, message, sources, fix)
    asked = {_key(row): row for row in case.data.train}
    again = [row for row in case.data.validation if _key(row) in asked]
    if again:
        message = Both("", "検証データ ") + share(len(again), len(case.data.validation), "validation rows")
        message += Both(" ask what a training row asks", "が、学習データと同じことを尋ねています")
        yield _held_out("validation_in_train", message, again, asked, len(case.data.validation))


def probe_in_train(case: DoctorInput) -> Iterator[Finding]:
    """A probe that is trained on measures memory."""
    asked = {_key(row): row for row in case.data.train}
    again = [probe for probe in case.probes if _key(probe) in asked]
    if again:
        message = Both("", "質問 ") + share(len(again), len(case.probes), "probes", "問")
        message += Both(
            " are among the training rows: their answers are memory", "が学習データにあり、回答は記憶の再現になります"
        )
        yield _held_out("probe_in_train", message, again, asked, len(case.probes))


def _held_out(
    rule: str, message: Both, again: Iterable[Example | Probe], asked: dict[tuple[str, str], Example], all: int
) -> Finding:
    pairs = [(item, asked[_key(item)]) for item in again]
    sources = "; ".join(f"{item.id} is {row.source or row.id}: {row.instruction[:40]!r}" for item, row in pairs[:SHOWN])
    fix = Both("Take from the training data: ", "学習データから取り除く行: ")
    fix += same(", ".join(row.source or row.id for _, row in pairs))
    return Finding.of(rule, "error" if len(pairs) == all else "warning", None, message, sources, fix)


def _key(row: Example | Probe) -> tuple[str, str]:
    return " ".join(row.before.transcript(row.instruction).split()), " ".join(row.input.split())
