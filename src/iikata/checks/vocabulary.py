"""Rules on the vocabulary: unknown tokens, ids that coincide, stop tokens, the model's own SentencePiece file."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from iikata.checks.case import Case, literals, share
from iikata.encode import disagreement, end_id
from iikata.encode.load import piece_file
from iikata.encode.settings import end_ids, fault
from iikata.records import Finding

ROWS_COMPARED = 200
"""Training rows on which the two tokenizers are compared."""
MANY = 0.01
"""Share of texts tokenized otherwise above which a model is fed what it was not trained on."""


def unknown_token(case: Case) -> Iterator[Finding]:
    """Letters that the vocabulary lacks all become one unknown token: the template is not what is written."""
    for name, template in case.templates.items():
        parts = [part for part in (*literals(template), template.newline or "") if case.unknown(part)]
        if parts:
            message = f"the vocabulary lacks some of the template's letters: {_around_unknown(case, parts)}"
            evidence = f"{parts[0]!r} -> {case.tokens(parts[0])}"
            yield Finding("unknown_token", "error", name, message, evidence, _writable(case))
    rows = [row for row in case.data.train[:ROWS_COMPARED] if case.unknown(row.output)]
    if rows:
        looked_at = len(case.data.train[:ROWS_COMPARED])
        message = f"{share(len(rows), looked_at)} answers looked at hold letters that the vocabulary lacks"
        evidence = f"{rows[0].source}: {_around_unknown(case, [rows[0].output])}"
        cure = "Nothing to paste: the model can neither read nor write them. Take these rows out if they matter."
        yield Finding("unknown_token", "warning", None, message, evidence, cure)


def _around_unknown(case: Case, texts: Sequence[str]) -> str:
    """Return the first unknown token between its neighbours."""
    ids = case.tokenizer.ids(texts[0])
    first = ids.index(case.tokenizer.unk_id) if case.tokenizer.unk_id in ids else 0
    return " ".join(case.tokenizer.token(id) for id in ids[max(0, first - 1) : first + 2])


def _writable(case: Case) -> str:
    if not case.writable:
        return "Write the template in letters of this vocabulary."
    return f"templates: [{', '.join(case.writable)}]  # whose letters this vocabulary has"


def sentencepiece(case: Case) -> Iterator[Finding]:
    """A converted tokenizer must give the ids of the SentencePiece file the model was trained with."""
    rows = [text for row in case.data.train[:ROWS_COMPARED] for text in (row.instruction, row.output)]
    texts = [*(part for template in case.templates.values() for part in literals(template)), *rows]
    differ = disagreement(case.tokenizer, case.folder, texts)
    own_file = piece_file(case.folder)
    if differ and own_file:
        text, ids, own = min(differ, key=lambda found: len(found[0]))
        severity = "error" if len(differ) > MANY * len(texts) else "warning"
        message = f"tokenizer.json and {own_file.name} differ in the tokens of {share(len(differ), len(texts))} texts"
        evidence = f"{text[:40]!r} -> {ids[:12]}, SentencePiece {own[:12]}"
        path = case.folder / "tokenizer.json"
        yield Finding("sentencepiece", severity, None, message, evidence, f"mv {path} {path}.off")


def ids_coincide(case: Case) -> Iterator[Finding]:
    """One id for two meanings: an unknown letter that ends the answer, padding that looks like the end."""
    tokenizer = case.tokenizer
    named = {"unknown": tokenizer.unk_id, "end": tokenizer.eos_id, "pad": tokenizer.pad_id}
    for first, second in (("unknown", "end"), ("unknown", "pad"), ("pad", "end")):
        id = named[first]
        if id is None or id != named[second]:
            continue
        ends = (first, second) == ("unknown", "end") and id in tokenizer.ids("\ue000")
        why = "any letter that the vocabulary lacks would end the answer" if ends else HARMLESS[first]
        message = f"the {first} and the {second} token are one and the same: {why}"
        cure = f"Name another unk_token or eos_token in {case.folder / 'tokenizer_config.json'}." if ends else ""
        severity, evidence = "error" if ends else "info", f"id {id}: {tokenizer.token(id)!r}"
        yield Finding("ids_coincide", severity, None, message, evidence, cure)


HARMLESS = {
    "unknown": "harmless, for nothing is padded and this vocabulary can write every letter or has another end",
    "pad": "harmless, for masks are explicit and nothing is padded",
}


def untrained_stop(case: Case) -> Iterator[Finding]:
    """A token that ends answers must be one that the model has seen end them; LoRA does not train its row."""
    known, base = _ends(case), _base_vocabulary(case.folder)
    rows = case.settings("config.json").get("vocab_size", case.tokenizer.vocab_size)
    if type(rows) is not int or rows < 1:
        raise fault(case.folder / "config.json", "vocab_size", rows, "a whole number from 1 on is allowed")
    for name, template in case.templates.items():
        special = case.tokenizer.special_tokens
        ids = {end_id(template, case.tokenizer), *(special[text] for text in template.stop if text in special)}
        for id in sorted(ids - known):
            text = case.tokenizer.token(id)
            if id < rows and (not base or text in base or text in (case.tokenizer.chat_template or "")):
                continue
            message = (
                f"answers end with {text!r}, which this model was never trained on, judged by: it was added after the "
                f"{len(base)} tokens of the base vocabulary, and neither eos_token_id in config.json and "
                "generation_config.json nor the chat template has it"
            )
            if id >= rows:
                message = f"answers end with {text!r}, for which the model has no embedding row (config: {rows})"
            own = case.tokenizer.token(case.tokenizer.eos_id)
            severity, evidence = (
                "error" if id >= rows else "warning",
                f"{text!r} -> id {id}; trained ends: {sorted(known)}",
            )
            yield Finding("untrained_stop", severity, name, message, evidence, f"End the answer with {own} instead.")


def _ends(case: Case) -> set[int]:
    """Return the ids that the model's own files say end an answer."""
    return {id for file in ("config.json", "generation_config.json") for id in end_ids(case.folder, file)}


def _base_vocabulary(folder: Path) -> set[str]:
    """Return the tokens that the vocabulary was trained with, added ones left out; empty where no file tells."""
    path, model = folder / "tokenizer.json", piece_file(folder)
    if path.is_file():
        vocabulary = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
        return {token if isinstance(token, str) else token[0] for token in vocabulary}
    if model is None:
        return set()
    from iikata.encode.pieces import parsed

    return {piece.piece for piece in parsed(model.read_bytes()).pieces}
