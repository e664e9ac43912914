"""Byte-level tokens are shown as the characters they spell."""

import pytest

from iikata.report.characters import _BYTES, whole


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        (["4", "ãģ", "²", "ãģ", "ı", "1"], ["4", "ひ", "く", "1"]),  # as SmolLM2's tokenizer cuts 4ひく1
        (["ãĥ", "¦", "ー"], ["ユ", "ー"]),
        (["ï¼", "Ł", "<"], ["？", "<"]),
        (["caf", "é", " noir"], ["caf", "é", " noir"]),
        (["łódź", "é"], ["łódź", "é"]),
        (["ãģ"], ["ãģ"]),
        (["▁日本", "の", "<|im_end|>"], ["▁日本", "の", "<|im_end|>"]),
        ([], []),
    ],
)
def test_bytes_become_characters_and_text_stays(tokens, shown):
    assert [text for text, _ in whole((token, True) for token in tokens)] == shown


def test_every_letter_is_one_byte():
    assert sorted(_BYTES.values()) == list(range(256))


def test_the_paint_stays():
    assert list(whole([("Q", False), ("ãģ", True), ("²", True)])) == [("Q", False), ("ひ", True)]
