"""Rules on what a model's folder declares of its tokens, and what a template makes of it: ends, rows, markers, BOS."""

import re
from collections.abc import Iterator
from pathlib import Path

from iikata.core.bilingual import Both
from iikata.core.records import Example, Finding, Probe
from iikata.doctor.doctor_input import DoctorInput, counted, literals, short
from iikata.tokenize import encode_prompt, end_id
from iikata.tokenize.declared import declared_ends
from iikata.tokenize.load import piece_file
from iikata.tokenize.settings import embedding_rows, read_object

MARKER = re.compile(r"<[|｜][^|｜<>\s]{1,40}[|｜]>|<NL>|<(?:start|end)_of_turn>")
"""What a template writes as one token of the model it was made for."""


def untrained_stop(case: DoctorInput) -> Iterator[Finding]:
    """A token that ends answers must be one that the model has seen end them; LoRA does not train its row."""
    tokenizer, base = case.tokenizer, _base_vocabulary(case.folder)
    rows = embedding_rows(case.folder) or tokenizer.vocab_size
    known = set(declared_ends(case.folder, tokenizer.vocab_size))
    for name, template in case.templates.items():
        stops = {tokenizer.read_whole[text] for text in template.stop if text in tokenizer.read_whole}
        for id in sorted({end_id(template, tokenizer), *stops} - known):
            text = tokenizer.token(id)
            if id < rows and (not base or text in base or text in (tokenizer.chat_template or "")):
                continue
            message = Both(
                f"answers end with {text!r}, which this model was never trained on, judged by: it was added after the "
                f"{len(base)} tokens of the base vocabulary, and neither eos_token_id in config.json and "
                "generation_config.json nor the chat template has it",
                f"回答の終わりの {text!r} を、このモデルは学習していないようです。元の語彙 {len(base)} トークンのあとに"
                "追加されたもので、config.json と generation_config.json の eos_token_id にも、"
                "チャットテンプレートにもありません",
            )
            if id >= rows:
                message = Both(
                    f"answers end with {text!r}, for which the model has no embedding row (config: {rows})",
                    f"回答の終わりの {text!r} に、モデルの埋め込みの行がありません（config: {rows}）",
                )
            severity = "error" if id >= rows else "warning"
            evidence = f"{text!r} -> id {id}; trained ends: {sorted(known)}"
            eos = tokenizer.token(tokenizer.eos_id)
            fix = Both(f"End the answer with {eos} instead.", f"回答を {eos} で終えます。")
            yield Finding.of("untrained_stop", severity, name, message, evidence, fix)


def no_row(case: DoctorInput) -> Iterator[Finding]:
    """A token beyond the model's embedding cannot be read or written at all."""
    rows = embedding_rows(case.folder)
    if rows is None:
        return
    for name, template in case.templates.items():
        asked = [encode_prompt(template, case.tokenizer, *probe.asked) for probe in case.probes]
        every = [encode_prompt(template, case.tokenizer, "a"), *asked, *(row.input_ids for row in case.rows(name))]
        ids = {id for one in every for id in one if id >= rows}
        if beyond := sorted(ids - {end_id(template, case.tokenizer)}):
            text = case.tokenizer.token(beyond[0])
            message = Both(
                f"{text!r} has no row in the model's embedding of {rows} (config.json), so this would fail",
                f"{text!r} は、モデルの埋め込み {rows} 行（config.json）の中になく、実行すると失敗します",
            )
            fix = Both(
                f"Take {text} from the template and the rows, or give the model that has a row for it.",
                f"テンプレートと行から {text} を取り除くか、その行を持つモデルを指定します。",
            )
            yield Finding.of("no_row", "error", name, message, f"{text!r} -> id {beyond[0]}", fix)


def odd_end(case: DoctorInput) -> Iterator[Finding]:
    """An end that the model declares and that any text may hold cuts answers in the middle, as it does elsewhere."""
    whole = set(case.tokenizer.read_whole.values())
    ids = [id for id in declared_ends(case.folder, case.tokenizer.vocab_size) if id < case.tokenizer.vocab_size]
    for id in sorted({id for id in ids if id not in whole}):
        text = case.tokenizer.token(id)
        message = Both(
            f"the model declares that {text!r} ends an answer, which is no special token: every cell stops there",
            f"モデルは {text!r} を回答の終わりとしていますが、特殊トークンではありません。どのセルもそこで止まります",
        )
        fix = Both(
            "Where that is not meant, take it from eos_token_id in config.json or generation_config.json.",
            "意図しないものなら、config.json か generation_config.json の eos_token_id から外します。",
        )
        yield Finding.of("odd_end", "warning", None, message, f"id {id}: {text!r}", fix)


def plain_marker(case: DoctorInput) -> Iterator[Finding]:
    """A template's marker that is no token here is read as letters: a model made for it has it as one token."""
    for name, template in case.templates.items():
        end = template.render("instruction", "", "answer").end
        convention = [template.newline] if template.newline and template.newline.strip() else []
        found = [mark for text in (*literals(template), end) for mark in MARKER.findall(text)]
        for mark in dict.fromkeys([*convention, *found]):
            tokens = case.tokens(mark, start=False)
            if len(tokens) > 1:
                what = _LINE_BREAK if mark in (*convention, "<NL>") else _MARKER
                message = Both(
                    f"{mark!r}, {what.en}, is no token of this vocabulary: it is read and written as plain letters",
                    f"{what.ja}の {mark!r} は、この語彙では一つのトークンでなく、ただの文字として読み書きされます",
                )
                fix = Both(
                    "Nothing to paste where that is meant. Else a template in this model's own markers: native.",
                    "それでよければ何もしません。よくなければ、モデル自身の目印を使うテンプレート（native）にします。",
                )
                yield Finding.of("plain_marker", "warning", name, message, f"{mark!r} -> {tokens}", fix)
    yield from _quoted(case)


_LINE_BREAK = Both("what this template writes for a line break", "このテンプレートの改行")
_MARKER = Both("a marker", "目印")


def _quoted(case: DoctorInput) -> Iterator[Finding]:
    """The text of a special token in what is asked becomes that token, as in transformers' own chat templates."""
    found = [(row.source, text) for row in case.rows_read if (text := _quoting(case, row))]
    asked = [(probe.id, text) for probe in case.probes if (text := _quoting(case, probe))]
    if not found and not asked:
        return
    message = counted(len(found), len(case.rows_read), len(asked), len(case.probes)) + Both(
        " hold the text of a special token in what is asked or was said before: in a prompt it is that token, and may "
        "end a message or begin another",
        "で、質問やそれまでの発言に特殊トークンの文字列があります。プロンプトではそのトークンになり、"
        "発言を終わらせたり始めたりすることがあります",
    )
    shown = "; ".join(f"{source}: {short(text)}" for source, text in [*found, *asked][:3])
    fix = Both(
        "Take it out, or write a blank into it. In a row's last answer it is plain text.",
        "取り除くか、間に空白を入れます。行の最後の回答の中では、ただの文字として扱います。",
    )
    yield Finding.of("plain_marker", "warning", None, message, shown, fix)


def _quoting(case: DoctorInput, one: Example | Probe) -> str:
    """Return the first text before the answer that holds a special token's, "" where none does."""
    texts = (*(text for _, text in one.before.said), one.instruction, one.input)
    return next(filter(case.tokenizer.has_special, texts), "")


def bos_flag(case: DoctorInput) -> Iterator[Finding]:
    """`add_bos_token` says one thing and tokenizer.json's post-processor another; transformers 5 reads the latter."""
    flag, path = case.settings("tokenizer_config.json").get("add_bos_token"), case.folder / "tokenizer.json"
    begins = case.tokenizer.bos_id is not None
    if path.is_file() and isinstance(flag, bool) and flag != begins and "bos_token" in case.tokenizer.named_tokens:
        message = Both(
            f"tokenizer_config.json says add_bos_token: {str(flag).lower()}, but tokenizer.json's post_processor "
            f"{'puts a BOS' if begins else 'puts no BOS'} before a text. The latter is taken, as transformers 5 does; "
            "transformers 4 may have trained with the other",
            f"tokenizer_config.json は add_bos_token: {str(flag).lower()} ですが、tokenizer.json の post_processor は"
            f"先頭に BOS を{'置きます' if begins else '置きません'}。transformers 5 と同じく後者に従います。"
            "transformers 4 では前者で学習したかもしれません",
        )
        fix = Both("Make both say what the model was trained with.", "両方を、モデルの学習時の設定に合わせます。")
        yield Finding.of("bos_flag", "warning", None, message, case.tokenizer.named_tokens["bos_token"], fix)


def _base_vocabulary(folder: Path) -> set[str]:
    """Return the tokens that the vocabulary was trained with, added ones left out; empty where no file tells."""
    path, model = folder / "tokenizer.json", piece_file(folder)
    if path.is_file():
        vocabulary = read_object(path)["model"]["vocab"]
        return {token if isinstance(token, str) else token[0] for token in vocabulary}
    if model is None:
        return set()
    from iikata.tokenize.sentencepiece import parsed

    return {piece.piece for piece in parsed(model.read_bytes()).pieces}
