"""The template doctor: every rule, and one walk over all of them."""

from collections.abc import Callable, Iterator

from iikata.checks import base_model, blanks, masks, reach, rows, tokens, vocabulary, wording
from iikata.checks.case import Case
from iikata.records import Finding

RULES: dict[str, Callable[[Case], Iterator[Finding]]] = {
    "template": wording.template,
    "placeholder": wording.placeholder,
    "same_tokens": wording.same_tokens,
    "unknown_token": vocabulary.unknown_token,
    "sentencepiece": vocabulary.sentencepiece,
    "ids_coincide": vocabulary.ids_coincide,
    "untrained_stop": tokens.untrained_stop,
    "no_row": tokens.no_row,
    "odd_end": tokens.odd_end,
    "plain_marker": tokens.plain_marker,
    "bos_flag": tokens.bos_flag,
    "exported_tokens": vocabulary.exported_tokens,
    "newline": blanks.newline,
    "whitespace": blanks.whitespace,
    "trailing_space": blanks.trailing_space,
    "prefix": masks.prefix,
    "end_token": masks.end_token,
    "bos": masks.bos,
    "cutoff": masks.cutoff,
    "variants": wording.variants,
    "response_split": wording.response_split,
    "dated": wording.dated,
    "native_differs": wording.native_differs,
    "answer_length": reach.answer_length,
    "device": reach.device,
    "architecture": base_model.architecture,
    "export": base_model.export,
    "empty_rows": rows.empty_rows,
    "null_words": rows.null_words,
    "unused_columns": rows.unused_columns,
    "duplicate_rows": rows.duplicate_rows,
    "held_out": rows.held_out,
    "validation_in_train": rows.validation_in_train,
    "probe_in_train": rows.probe_in_train,
}
"""What the doctor looks for; docs/templates.md has a line on each."""

SEVERITIES = ("error", "warning", "info")


def examine(case: Case) -> list[Finding]:
    """Return what the rules find, errors first."""
    found = [finding for rule in RULES.values() for finding in rule(case)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))
