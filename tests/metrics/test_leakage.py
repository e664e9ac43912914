"""leakage."""

import pytest
from said import asked, said

from iikata.metrics import Context
from iikata.metrics.leakage import Leakage, without_leaks
from iikata.templates.built_in import TEMPLATES

ALL = Context({name: template.template_literals() for name, template in TEMPLATES.items()})


@pytest.mark.parametrize("template", [template for template in TEMPLATES.values() if template.template_literals()])
def test_every_line_of_every_built_in_template_is_a_leak(template) -> None:
    for line in template.template_literals():
        assert Leakage()(said(f"Paris\n{line}"), asked(), ALL) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "富士山です。\n### 質問: 次は",
        "富士山です。 ユーザー: 次は",
        "富士山ユーザー: 次は",
        "富士山<NL>",
        "### Instruction:\nNext",
        "ユーザー：次は",  # full-width colon
        "Paris\nuser\nNext",
        "Paris<|im_start|>",
        "Paris</s>",
        "[INST] Next",
        "＃＃＃ 指示：",
    ],
)
def test_well_known_template_text_is_a_leak_without_any_template(text: str) -> None:
    assert Leakage()(said(text), asked(), Context()) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "Paris (city)",
        "オペレーティングシステム: Linux",
        "The user asks the system.",
        "# Answer",
        "a < b | c > d",
        "ユーザーの入力を待つ",
        "",
    ],
)
def test_ordinary_text_is_no_leak(text: str) -> None:
    assert Leakage()(said(text), asked(), ALL) == 0.0


def test_one_sentence_of_a_longer_line_is_a_leak() -> None:
    assert Leakage()(said("Write a response that appropriately completes the request."), asked(), ALL) == 1.0


def test_a_line_is_found_when_the_decoder_has_dropped_its_special_tokens() -> None:
    native = Context({"native": ("<|im_start|>system", "You are SmolLM, a helpful model<|im_end|>")})
    assert Leakage()(said("You are SmolLM, a helpful model"), asked(), native) == 1.0
    assert Leakage()(said("The solar system"), asked(), native) == 0.0


def test_what_the_probe_says_is_no_leak() -> None:
    probe = asked(instruction="What does <NL> mean?")
    assert Leakage()(said("<NL> is a line break"), probe, Context()) == 0.0


def test_stripped_text_leaks_nothing() -> None:
    for line in {line for lines in ALL.template_literals.values() for line in lines}:
        assert without_leaks(f"Paris\n{line}", ALL) == "Paris"
