"""The template doctor: every rule, and one walk over all of them."""

from collections.abc import Callable, Iterable, Iterator

from iikata.core.io import fits
from iikata.core.records import Finding, plain
from iikata.core.registry import Shelf, called_with
from iikata.doctor import (
    base_model,
    conversations,
    loss_mask,
    reach,
    rows,
    template_text,
    tokens,
    vocabulary,
    whitespace,
)
from iikata.doctor.doctor_input import DoctorInput

RULES: Shelf[Callable[[DoctorInput], Iterator[Finding]]] = Shelf(
    "rule",
    {
        "template": template_text.template,
        "placeholder": template_text.placeholder,
        "same_tokens": template_text.same_tokens,
        "unknown_token": vocabulary.unknown_token,
        "sentencepiece": vocabulary.sentencepiece,
        "ids_coincide": vocabulary.ids_coincide,
        "untrained_stop": tokens.untrained_stop,
        "no_row": tokens.no_row,
        "odd_end": tokens.odd_end,
        "plain_marker": tokens.plain_marker,
        "bos_flag": tokens.bos_flag,
        "exported_tokens": vocabulary.exported_tokens,
        "newline": whitespace.newline,
        "whitespace": whitespace.whitespace,
        "trailing_space": whitespace.trailing_space,
        "prefix": loss_mask.prefix,
        "end_token": loss_mask.end_token,
        "trimmed": loss_mask.trimmed,
        "bos": loss_mask.bos,
        "cutoff": loss_mask.cutoff,
        "variants": template_text.variants,
        "response_split": template_text.response_split,
        "dated": template_text.dated,
        "native_differs": template_text.native_differs,
        "answer_length": reach.answer_length,
        "device": reach.device,
        "architecture": base_model.architecture,
        "lora_targets": base_model.lora_targets,
        "export": base_model.export,
        "empty_rows": rows.empty_rows,
        "null_words": rows.null_words,
        "unused_columns": rows.unused_columns,
        "duplicate_rows": rows.duplicate_rows,
        "held_out": rows.held_out,
        "validation_in_train": rows.validation_in_train,
        "probe_in_train": rows.probe_in_train,
        "system_place": conversations.system_place,
        "out_of_turn": conversations.out_of_turn,
        "untrained_answers": conversations.untrained_answers,
    },
    called_with("case"),
    "a function of one argument, the DoctorInput, which yields a Finding for each thing that is wrong",
)
"""What the doctor looks for (docs/templates.md has a line on each); a package adds to it under `iikata.rules`."""

SEVERITIES = ("error", "warning", "info")
YIELDS = (
    f"It yields iikata.core.records.Finding, whose severity is one of {', '.join(SEVERITIES)}, whose template is a "
    "text or None, and whose other fields are texts"
)


def examine(case: DoctorInput) -> list[Finding]:
    """Return what the rules find, errors first."""
    found = [finding for name in RULES.names() for finding in _found(name, case)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def _found(name: str, case: DoctorInput) -> Iterator[Finding]:
    findings = RULES.find(name)(case)
    if name in RULES:
        return (yield from findings)
    if not isinstance(findings, Iterable):
        raise RULES.refused(name, f"returned {findings!r:.100}", YIELDS)
    for finding in findings:
        if not (isinstance(finding, Finding) and finding.severity in SEVERITIES and fits(plain(finding), Finding)):
            raise RULES.refused(name, f"yielded {finding!r:.200}", YIELDS)
        yield finding
