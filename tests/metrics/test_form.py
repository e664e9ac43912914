"""finish, length, repetition, script and distinct."""

import math

import pytest
from said import asked, said

from iikata.metrics import Context
from iikata.metrics.distinct import Distinct
from iikata.metrics.finish import Finish
from iikata.metrics.length import Length
from iikata.metrics.repetition import Repetition
from iikata.metrics.script import Script, script_of


def test_finish_is_told_by_the_reason_that_the_answer_ended() -> None:
    assert [Finish()(said("x", end), asked(), Context()) for end in ("stop", "length")] == [1.0, 0.0]


def test_length_counts_characters_not_bytes() -> None:
    assert Length()(said(" 富士山\n"), asked(), Context()) == 3.0


def test_repetition_is_the_share_of_4_grams_said_before() -> None:
    # "abcd" ten times: 40 characters, 37 4-grams, of them 4 different ones.
    assert Repetition()(said("abcd" * 10), asked(), Context()) == pytest.approx(33 / 37)
    assert Repetition()(said("abcdefghijklmnopqrstuvwxyz0123456789"), asked(), Context()) == 0.0


def test_a_short_answer_has_no_repetition_score() -> None:
    assert math.isnan(Repetition()(said("a" * 29), asked(), Context()))
    assert Repetition()(said("a" * 30), asked(), Context()) == pytest.approx(26 / 27)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("富士山", "japanese"),  # what language detectors call Chinese
        ("赤、青、黄", "japanese"),
        ("ﾌｼﾞｻﾝ", "japanese"),
        ("iPhoneを買う人", "japanese"),
        ("Mt. Fuji (富士山) is the highest mountain.", "latin"),
        ("É", "latin"),
        ("서울", "hangul"),
        ("Москва", "other"),
        ("日本最高的山是富士山位于静冈县和山梨县之间是一座活火山", "han"),
        ("9。", None),
        ("", None),
    ],
)
def test_scripts_are_counted(text: str, script: str | None) -> None:
    assert script_of(text) == script


@pytest.mark.parametrize(
    ("text", "references", "instruction", "value"),
    [
        ("東京です", ("東京",), "日本の首都は？", 1.0),
        ("Tokyo", ("東京",), "日本の首都は？", 0.0),
        ("dog", ("dog",), "犬は英語で？", 1.0),
        ("九", ("9", "九"), "4たす5は？", 1.0),
        ("九です", ("9",), "4たす5は？", 1.0),
        ("nine", ("9",), "4たす5は？", 0.0),
    ],
)
def test_the_script_asked_for_is_the_references_else_the_instructions(
    text: str, references: tuple[str, ...], instruction: str, value: float
) -> None:
    assert Script()(said(text), asked(*references, instruction=instruction), Context()) == value


@pytest.mark.parametrize(("text", "instruction"), [("9", "4 plus 5?"), ("", "Who?"), ("nine", "4 + 5 = ?")])
def test_without_letters_the_script_cannot_be_told(text: str, instruction: str) -> None:
    assert math.isnan(Script()(said(text), asked(instruction=instruction), Context()))


def test_distinct_counts_answers_that_say_the_same_once() -> None:
    answers = [said(text) for text in ("Paris.", "paris", "ＰＡＲＩＳ", "Rome")]
    assert Distinct().score_group(answers, asked(), Context()) == 2 / 4
    assert math.isnan(Distinct().score_group(answers[:1], asked(), Context()))


def test_distinct_2_is_distinct_n_of_words_or_of_japanese_characters() -> None:
    words = [said("the cat sat"), said("the cat ran")]  # the-cat twice, cat-sat, cat-ran
    assert Distinct(2).score_group(words, asked(), Context()) == 3 / 4
    assert Distinct(2).score_group([said("富士山"), said("富士")], asked(), Context()) == 2 / 3
    assert math.isnan(Distinct(2).score_group([said("a"), said("b")], asked(), Context()))
