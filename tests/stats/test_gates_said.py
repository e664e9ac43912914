"""Every gate that a comparison finds itself gives its reason in both languages, with the same numbers."""

import string

import numpy as np
import pytest
from made_scores import NUMBER, RATE, made, normal

from both_languages import JAPANESE
from iikata.core.bilingual import Both
from iikata.core.records import Gate
from iikata.stats import compare
from iikata.stats.phrases import GATES_JA, REASONS
from iikata.stats.short_phrases import GATES_SHORT


@pytest.mark.parametrize("name", REASONS["en"])
def test_a_gate_has_a_reason_and_names_in_both(name):
    english, japanese = (REASONS[language][name] for language in ("en", "ja"))
    numbers = [
        sorted(field[1:3] for field in string.Formatter().parse(text) if field[1]) for text in (english, japanese)
    ]
    assert numbers[0] == numbers[1]
    assert JAPANESE.search(japanese)
    assert GATES_JA[name]
    assert all(GATES_SHORT[name])


def test_a_sentence_gives_the_reason_in_its_own_language():
    level = np.full((3, 12), 0.01)
    result = compare(made({("A", "A"): level, ("B", "B"): level}), {"m": RATE}, "m")
    (gate,) = result.comparisons[0].gates
    assert gate["detail"] == "rates of 1.0% and 1.0% leave no room for a difference"
    assert gate["detail_ja"] == "率が 1.0% と 1.0% で、差が現れる余地がありません"
    assert f"floor: {gate['detail']}" in result.verdict["sentence_en"]
    assert GATES_JA["floor"] in result.verdict["sentence_ja"]
    assert "評価できません" in result.verdict["sentence_ja"]


@pytest.mark.parametrize(
    ("gate", "english", "japanese"),
    [
        (Gate.of("live_adapter", "A.s1", False, Both("||B|| = 0", "||B|| = 0 です")), "||B|| = 0", "||B|| = 0 です"),
        (Gate("live_adapter", "A.s1", False, "an earlier run's"), "an earlier run's", "an earlier run's"),
    ],
)
def test_a_gate_that_was_handed_in_keeps_its_reason_and_an_old_one_its_english(gate, english, japanese):
    tables = {("A", "A"): normal(3, 12, 0.5, rng=1), ("B", "B"): normal(3, 12, 0.4, rng=2)}
    verdict = compare(made(tables), {"m": NUMBER}, "m", gates=[gate]).verdict
    assert f"live_adapter A.s1: {english})" in verdict["sentence_en"]
    assert f"live_adapter A.s1: {japanese})" in verdict["sentence_ja"]
