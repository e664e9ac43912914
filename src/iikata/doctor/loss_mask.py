"""Rules on tokens and masks: the border between prompt and answer, its end token, the BOS, the cut."""

from collections.abc import Iterator

from iikata.core.bilingual import Both, same
from iikata.core.errors import IikataError
from iikata.core.records import Example, Finding
from iikata.doctor.doctor_input import DoctorInput, places, share, short
from iikata.doctor.whitespace import answer_start
from iikata.tokenize import encode_prompt, end_id


def prefix(case: DoctorInput) -> Iterator[Finding]:
    """The prompt's tokens should begin those of prompt and answer; else masks made by length are wrong."""
    for name in case.encoded:
        rows = case.rows(name)
        differ = [row for row in rows if not answer_start(case, row.prompt, row.completion)[1]]
        if not differ:
            continue
        row = differ[0]
        prompt, joint = case.tokens(row.prompt), case.tokens(row.prompt + row.completion)
        message = Both("in ", "調べた ") + share(len(differ), len(rows), "rows looked at")
        message += Both(
            ", the prompt's tokens do not begin those of prompt and answer; iikata tokenizes such answers apart, as at "
            "inference; a mask made by length would be wrong",
            "で、プロンプトのトークン列が、回答までつなげたトークン列の先頭と一致しません。"
            "iikata は推論時と同じく回答を別にトークン化しますが、長さで作ったマスクはずれます",
        )
        evidence = f"{row.id}: prompt {prompt[-3:]}, with the answer {joint[max(0, len(prompt) - 3) : len(prompt) + 2]}"
        fix = Both(
            "End the prompt with a line break, or with a letter and no blank after it.",
            "プロンプトを改行か、後ろに空白のない文字で終えます。",
        )
        yield Finding.of("prefix", "warning", name, message, evidence, fix)


def end_token(case: DoctorInput) -> Iterator[Finding]:
    """Every row must train exactly one end token, as its last; without it no answer ever learns to stop."""
    for name, encoded in case.encoded.items():
        end = end_id(case.templates[name], case.tokenizer)
        whole = [row for row in encoded if not row.truncated]
        bare = [row for row in whole if row.input_ids[-1:] != (end,) or not row.completion_mask[-1]]
        if bare:
            text = case.tokenizer.token(end)
            message = share(len(bare), len(whole))
            message += Both(f" do not train the end token {text!r}", f"で終端トークン {text!r} が学習されません")
            last = [case.tokenizer.token(id) for id in bare[0].input_ids[-4:]]
            fix = Both(
                "This is a fault of iikata: please report it with your template.",
                "iikata の不具合です。テンプレートを添えて報告してください。",
            )
            yield Finding.of("end_token", "error", name, message, f"{bare[0].id}: … {last}", fix)


def trimmed(case: DoctorInput) -> Iterator[Finding]:
    """A template that trims answers trains other text than the data's, and held-out loss leaves such rows out."""
    for name, encoded in case.encoded.items():
        template = case.templates[name]
        train = [(row, own.answer) for row, own in zip(case.data.train, encoded, strict=True)]
        held = [(row, template.render(*row.texts).of("answer")) for row in case.data.validation]
        changed, lost = (
            [row for row, text in rows if _is_trimmed(template.unmapped(text), row)] for rows in (train, held)
        )
        if not (changed or lost):
            continue
        message = Both("white space at the ends of answers is taken away in ", "学習データ ")
        message += share(len(changed), len(train), "training rows") + Both("", "で、回答の両端の空白が取り除かれます")
        if lost:
            message += Both("; nll leaves out ", "。そのため検証データ ") + share(len(lost), len(held), "held-out rows")
            message += Both(" for it, under all templates", "は、どのテンプレートでも nll から除きます")
        shown = (changed or lost)[0]
        fix = Both(
            "Take it from the data's answers too, or choose a template that keeps it.",
            "データの回答からも空白を取り除くか、空白を残すテンプレートを選びます。",
        )
        yield Finding.of("trimmed", "warning", name, message, f"{shown.source}: {short(shown.output)}", fix)


def _is_trimmed(answer: str, row: Example) -> bool:
    return answer != row.output and answer.strip() == row.output.strip()


def bos(case: DoctorInput) -> Iterator[Finding]:
    """A prompt begins with one BOS where the model was trained with one, and never with two."""
    text = case.tokenizer.named_tokens.get("bos_token")
    id = case.tokenizer.special_tokens.get(text or "")
    if id is None:
        return
    wanted = case.tokenizer.bos_id == id or _native_begins(case, id)
    for name, template in case.templates.items():
        ids = encode_prompt(template, case.tokenizer, "a")
        shown = f"{[case.tokenizer.token(token) for token in ids[:4]]} …"
        if ids[:2] == [id, id]:
            message = Both(f"prompts begin with {text} twice", f"プロンプトの先頭に {text} が二つあります")
            fix = Both(
                f"Take {text} from the beginning of the template.", f"テンプレートの先頭から {text} を取り除きます。"
            )
            yield Finding.of("bos", "warning", name, message, shown, fix)
        if wanted and ids[:1] != [id]:
            fast = (case.folder / "tokenizer.json").is_file()  # whose post_processor alone says so
            where = "a post_processor in tokenizer.json" if fast else '"add_bos_token": true in tokenizer_config.json'
            where_ja = "tokenizer.json に post_processor" if fast else 'tokenizer_config.json に "add_bos_token": true'
            fix = Both(f"{where}, or templates: [native]", f"{where_ja} を加えるか、templates: [native] を使います。")
            message = Both(
                f"prompts do not begin with {text}, the model's own do",
                f"プロンプトが {text} で始まりません。モデル自身のプロンプトは {text} で始まります",
            )
            yield Finding.of("bos", "warning", name, message, shown, fix)


def _native_begins(case: DoctorInput, id: int) -> bool:
    """Return whether the model's own prompts begin with `id` and hold it once (a turn marker stands there often)."""
    try:
        ids = encode_prompt(case.native, case.tokenizer, "a") if case.native else []
    except IikataError:  # a chat template that wants what a row does not have
        return False
    return ids[:1] == [id] and ids.count(id) == 1


def cutoff(case: DoctorInput) -> Iterator[Finding]:
    """Rows longer than cutoff_len are left out, for a cut answer would be trained to stop in mid-sentence."""
    for name, encoded in case.encoded.items():
        yield from _cut_at_turn(case, name)
        cut = [(of, row) for of, row in zip(case.data.train, encoded, strict=True) if row.truncated]
        if not cut:
            continue
        first, limit = cut[0][1], len(cut[0][1].input_ids)
        needed = 2 + max(len(case.tokenizer.ids(row.prompt + row.completion)) for _, row in cut)
        message = share(len(cut), len(encoded)) + Both(
            f" are longer than train.cutoff_len {limit} and are not trained on",
            f"が train.cutoff_len {limit} より長く、学習に使われません",
        )
        evidence = f"the longest has about {needed} tokens; first: {cut[0][0].source or first.id} {short(first.prompt)}"
        severity = "error" if len(cut) == len(encoded) else "warning"
        fix = same(f"--set train.cutoff_len={needed}")
        if any(list(of.turns())[1:] for of, _ in cut) and case.experiment.train.too_long == "leave_out":
            fix += Both(
                "; or train: {too_long: cut_at_turn} to keep of a conversation the turns that fit",
                "。または train: {too_long: cut_at_turn} で、会話のうち収まる発言だけを残します",
            )
        yield Finding.of("cutoff", severity, name, message, evidence, fix)


def _cut_at_turn(case: DoctorInput, name: str) -> Iterator[Finding]:
    rows = {of: row.cut for of, row in zip(case.data.train, case.encoded[name], strict=True) if row.cut}
    if rows:
        answers = sum(rows.values())
        message = Both("", "会話 ") + share(len(rows), len(case.data.train), "conversations", "件")
        message += Both(
            f" are cut at a turn to fit: {answers} answers at their ends, with their questions, are not trained on",
            f"を、収まるように発言の切れ目で切りました。末尾の回答 {answers} 件とその質問は学習に使いません",
        )
        fix = Both("Raise train.cutoff_len to train on them.", "学習に使うには train.cutoff_len を上げます。")
        yield Finding.of("cutoff", "warning", name, message, places(rows), fix)
