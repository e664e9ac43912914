"""Rules on tokens and masks: the border between prompt and answer, its end token, the BOS, the cut."""

from collections.abc import Iterator

from iikata.core.errors import IikataError
from iikata.core.records import Example, Finding
from iikata.doctor.doctor_input import DoctorInput, share, short
from iikata.doctor.whitespace import answer_start
from iikata.templates import native
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
        message = (
            f"in {share(len(differ), len(rows))} rows looked at, the prompt's tokens do not begin those of prompt and "
            "answer; iikata tokenizes such answers apart, as at inference; a mask made by length would be wrong"
        )
        evidence = f"{row.id}: prompt {prompt[-3:]}, with the answer {joint[max(0, len(prompt) - 3) : len(prompt) + 2]}"
        fix = "End the prompt with a line break, or with a letter and no blank after it."
        yield Finding("prefix", "warning", name, message, evidence, fix)


def end_token(case: DoctorInput) -> Iterator[Finding]:
    """Every row must train exactly one end token, as its last; without it no answer ever learns to stop."""
    for name, encoded in case.encoded.items():
        end = end_id(case.templates[name], case.tokenizer)
        whole = [row for row in encoded if not row.truncated]
        bare = [row for row in whole if row.input_ids[-1:] != (end,) or not row.completion_mask[-1]]
        if bare:
            message = f"{share(len(bare), len(whole))} rows do not train the end token {case.tokenizer.token(end)!r}"
            last = [case.tokenizer.token(id) for id in bare[0].input_ids[-4:]]
            fix = "This is a fault of iikata: please report it with your template."
            yield Finding("end_token", "error", name, message, f"{bare[0].id}: … {last}", fix)


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
        message = f"white space at the ends of answers is taken away in {share(len(changed), len(train))} training rows"
        if lost:
            message += f"; nll leaves out {share(len(lost), len(held))} held-out rows for it, under all templates"
        shown = (changed or lost)[0]
        fix = "Take it from the data's answers too, or choose a template that keeps it."
        yield Finding("trimmed", "warning", name, message, f"{shown.source}: {short(shown.output)}", fix)


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
            fix = f"Take {text} from the beginning of the template."
            yield Finding("bos", "warning", name, f"prompts begin with {text} twice", shown, fix)
        if wanted and ids[:1] != [id]:
            fast = (case.folder / "tokenizer.json").is_file()  # whose post_processor alone says so
            where = "a post_processor in tokenizer.json" if fast else '"add_bos_token": true in tokenizer_config.json'
            fix = f"{where}, or templates: [native]"
            yield Finding("bos", "warning", name, f"prompts do not begin with {text}, the model's own do", shown, fix)


def _native_begins(case: DoctorInput, id: int) -> bool:
    """Return whether the model's own prompts begin with `id` and hold it once (a turn marker stands there often)."""
    if case.tokenizer.chat_template is None:
        return False
    try:
        own = native(case.tokenizer.chat_template, case.tokenizer.named_tokens)
        ids = encode_prompt(own, case.tokenizer, "a")
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
        over = [row for _, row in cut]
        limit = len(over[0].input_ids)
        needed = 2 + max(len(case.tokenizer.ids(row.prompt + row.completion)) for row in over)
        message = (
            f"{share(len(over), len(encoded))} rows are longer than train.cutoff_len {limit} and are not trained on"
        )
        evidence = (
            f"the longest has about {needed} tokens; first: {cut[0][0].source or over[0].id} {short(over[0].prompt)}"
        )
        severity = "error" if len(over) == len(encoded) else "warning"
        fix = f"--set train.cutoff_len={needed}"
        if any(list(of.turns())[1:] for of, _ in cut) and case.experiment.train.too_long == "leave_out":
            fix += "; or train: {too_long: cut_at_turn} to keep of a conversation the turns that fit"
        yield Finding("cutoff", severity, name, message, evidence, fix)


def _cut_at_turn(case: DoctorInput, name: str) -> Iterator[Finding]:
    rows = [(of, row) for of, row in zip(case.data.train, case.encoded[name], strict=True) if row.cut]
    if rows:
        answers = f"{sum(row.cut for _, row in rows)} answers at their ends, with their questions, are not trained on"
        message = f"{share(len(rows), len(case.data.train))} conversations are cut at a turn to fit: {answers}"
        places = ", ".join(of.source or of.id for of, _ in rows[:3])
        yield Finding("cutoff", "warning", name, message, places, "Raise train.cutoff_len to train on them.")
