"""Rules on the vocabulary: unknown tokens, ids that coincide, the model's own SentencePiece file, the way out."""

from collections.abc import Iterator, Sequence

from iikata.core.bilingual import NOT_SAID, Both, same
from iikata.core.errors import IikataError
from iikata.core.japanese import japanese
from iikata.core.records import Finding
from iikata.doctor.doctor_input import DoctorInput, literals, share, short
from iikata.tokenize import disagreement, other_tokens
from iikata.tokenize.load import piece_file

ROWS_COMPARED = 200
"""Training rows on which the two tokenizers are compared."""
MANY = 0.01
"""Share of texts tokenized otherwise above which a model is fed what it was not trained on."""


def unknown_token(case: DoctorInput) -> Iterator[Finding]:
    """Letters that the vocabulary lacks all become one unknown token: the template is not what is written."""
    for name, template in case.templates.items():
        parts = [part for part in (*literals(template), template.newline or "") if case.unknown(part)]
        if parts:
            around = _around_unknown(case, parts)
            message = Both(
                f"the vocabulary lacks some of the template's letters: {around}",
                f"テンプレートの文字の一部が語彙にありません: {around}",
            )
            evidence = f"{parts[0]!r} -> {case.tokens(parts[0])}"
            yield Finding.of("unknown_token", "error", name, message, evidence, _writable(case))
    rows = [row for row in case.turns[:ROWS_COMPARED] if case.unknown(row.output)]
    if rows:
        looked_at = len(case.turns[:ROWS_COMPARED])
        message = Both("", "調べた回答 ") + share(len(rows), looked_at, "answers looked at", "件")
        message += Both(" hold letters that the vocabulary lacks", "に、語彙にない文字があります")
        evidence = f"{rows[0].source}: {_around_unknown(case, [rows[0].output])}"
        fix = Both(
            "Nothing to paste: the model can neither read nor write them. Take these rows out if they matter.",
            "直し方はありません。モデルはこの文字を読み書きできません。困るなら、これらの行を取り除きます。",
        )
        yield Finding.of("unknown_token", "warning", None, message, evidence, fix)


def _around_unknown(case: DoctorInput, texts: Sequence[str]) -> str:
    """Return the first unknown token between its neighbours."""
    ids = case.tokenizer.ids(texts[0])
    first = ids.index(case.tokenizer.unk_id) if case.tokenizer.unk_id in ids else 0
    return " ".join(case.tokenizer.token(id) for id in ids[max(0, first - 1) : first + 2])


def _writable(case: DoctorInput) -> Both:
    if not case.writable:
        return Both(
            "Write the template in letters of this vocabulary.", "テンプレートを、この語彙にある文字だけで書きます。"
        )
    named = f"templates: [{', '.join(case.writable)}]"
    return Both(f"{named}  # whose letters this vocabulary has", f"{named}  # この語彙で書けるもの")


def sentencepiece(case: DoctorInput) -> Iterator[Finding]:
    """A converted tokenizer must give the ids of the SentencePiece file the model was trained with."""
    rows = [text for row in case.turns[:ROWS_COMPARED] for text in (row.instruction, row.output)]
    texts = [*(part for template in case.templates.values() for part in literals(template)), *rows]
    differ = disagreement(case.tokenizer, case.folder, texts)
    own_file = piece_file(case.folder)
    if differ and own_file:
        text, ids, own = min(differ, key=lambda found: len(found[0]))
        severity = "error" if len(differ) > MANY * len(texts) else "warning"
        message = Both(f"tokenizer.json and {own_file.name} differ in the tokens of ", "")
        message += share(len(differ), len(texts), "texts", "件")
        message += Both("", f"の文で、tokenizer.json と {own_file.name} のトークンが違います")
        evidence = f"{text[:40]!r} -> {ids[:12]}, SentencePiece {own[:12]}"
        path = case.folder / "tokenizer.json"
        yield Finding.of("sentencepiece", severity, None, message, evidence, same(f"mv {path} {path}.off"))


def ids_coincide(case: DoctorInput) -> Iterator[Finding]:
    """One id for two meanings: an unknown letter that ends the answer, padding that looks like the end."""
    tokenizer = case.tokenizer
    named = {"unknown": tokenizer.unk_id, "end": tokenizer.eos_id, "pad": tokenizer.pad_id}
    for first, second in (("unknown", "end"), ("unknown", "pad"), ("pad", "end")):
        id = named[first]
        if id is None or id != named[second]:
            continue
        ends = (first, second) == ("unknown", "end") and id in tokenizer.ids("\ue000")
        why = ENDS if ends else HARMLESS[first]
        message = Both(
            f"the {first} and the {second} token are one and the same: {why.en}",
            f"{NAMED_JA[first]}と{NAMED_JA[second]}が同じです。{why.ja}",
        )
        evidence, path = f"id {id}: {tokenizer.token(id)!r}", case.folder / "tokenizer_config.json"
        another = f"Name another unk_token or eos_token in {path}."
        fix = Both(another, f"{path} の unk_token か eos_token を別のものにします。") if ends else NOT_SAID
        yield Finding.of("ids_coincide", "error" if ends else "info", None, message, evidence, fix)


NAMED_JA = {"unknown": "未知語トークン", "end": "終端トークン", "pad": "パディングトークン"}
ENDS = Both(
    "any letter that the vocabulary lacks would end the answer",
    "語彙にない文字があると、そこで回答が終わってしまいます",
)
HARMLESS = {
    "unknown": Both(
        "harmless, for nothing is padded and this vocabulary can write every letter or has another end",
        "パディングを使わず、どの文字も書けるか別の終端があるので、問題はありません",
    ),
    "pad": Both(
        "harmless, for masks are explicit and nothing is padded",
        "マスクを明示し、パディングも使わないので、問題はありません",
    ),
}


def exported_tokens(case: DoctorInput) -> Iterator[Finding]:
    """What cannot be exported is said before it is trained: a SentencePiece model needs an exact tokenizer.json."""
    rows = [row for name in case.encoded for row in case.rows(name)[:ROWS_COMPARED]]
    texts = [*(row.prompt + row.completion for row in rows), *(row.prompt for row in rows)]
    try:
        differ = other_tokens(case.tokenizer, texts)
    except IikataError as error:
        message = Both(f"no arm could be exported: {error}", f"どのアームも書き出せません: {japanese(str(error))}")
        yield Finding.of("exported_tokens", "warning", None, message, "", _OWN_FILE)
        return
    if differ:
        message = Both(
            "no arm could be exported: the tokenizer.json made from this SentencePiece model gives ",
            "どのアームも書き出せません。この SentencePiece モデルから作った tokenizer.json では、",
        )
        message += share(len(differ), len(texts), "texts", "件") + Both(" other tokens", "の文のトークンが変わります")
        yield Finding.of("exported_tokens", "warning", None, message, short(min(differ, key=len)), _OWN_FILE)


_OWN_FILE = Both(
    "Put the model's own tokenizer.json into its folder, or go on where only the comparison matters.",
    "モデル自身の tokenizer.json をフォルダに置きます。比較だけが目的なら、このまま進めます。",
)
