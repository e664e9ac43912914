"""Every finding and gate that any test of the suite makes is said in English and in Japanese, with the same numbers."""

import re
from collections import Counter

import pytest

from iikata.core.bilingual import Both
from iikata.core.records import Finding, Gate

JAPANESE = re.compile("[ぁ-んァ-ヶ一-龠]")
MET: set[str] = set()
"""The rules and gates that were made so far."""


def in_both(text: Both, what: str, code: bool = False) -> None:
    """Fail where a text is not said in Japanese, or with other numbers; `code` may be the same in both."""
    assert bool(text.en) == bool(text.ja), f"{what} is said in one language alone: {text.en or text.ja}"
    assert (code and text.en == text.ja) or not text.en or JAPANESE.search(text.ja), f"{what}: {text.ja}"
    numbers = [Counter(re.findall(r"\d+", one)) for one in (text.en, text.ja)]
    assert numbers[0] == numbers[1], f"{what}: other numbers in {text.ja!r} than in {text.en!r}"


def watch(patch: pytest.MonkeyPatch) -> None:
    """Look at all that is made from now on."""
    finding, gate = Finding.of.__func__, Gate.of.__func__

    def finding_of(cls, rule, severity, template, message, evidence="", cure=Both("", "")):  # noqa: B008
        in_both(message, f"{rule}: message")
        in_both(cure, f"{rule}: cure", code=True)
        MET.add(rule)
        return finding(cls, rule, severity, template, message, evidence, cure)

    def gate_of(cls, name, subject, passed, detail):
        in_both(detail, name)
        MET.add(name)
        return gate(cls, name, subject, passed, detail)

    patch.setattr(Finding, "of", classmethod(finding_of))
    patch.setattr(Gate, "of", classmethod(gate_of))
