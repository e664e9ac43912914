"""Whose answer it is: one near tie excuses the turn, not what is said behind it."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from iikata.core.records import Before
from iikata.generate import Completion
from iikata.pipeline.openai_server import Reply
from iikata.pipeline.served_answer import TIE, Attributor, Expected
from iikata.templates import load
from iikata.tokenize import load_tokenizer

WAYS = {"Ax": 0.0, "Byéw": -0.9 * TIE, "Byz": -1.2 * TIE}
"""What the arm finds about as likely, token by token: to turn to B is a near tie, and so is z behind it."""


@pytest.fixture
def judge(llama_folder):
    tokenizer = load_tokenizer(llama_folder)

    def tokens(text):
        return [id for character in text for id in tokenizer.ids(character, start=False)]

    def next_token(who, prompt, ids):
        likely = torch.full((2000,), -20.0)
        for way, value in (WAYS if who else {"QQ": 0.0}).items():
            if (written := tokens(way))[: len(ids)] == list(ids) and len(written) > len(ids):
                likely[written[len(ids)]] = max(value, likely[written[len(ids)]])
        return likely

    assert len(tokens("é")) == 2  # half a character is a token of its own
    speakers = SimpleNamespace(
        arm="arm", template=load("plain", Path()), ctx=SimpleNamespace(tokenizer=tokenizer), next_token=next_token
    )
    own = {"arm": Completion("", tuple(tokens("Ax")), "stop"), None: Completion("", tuple(tokens("QQ")), "stop")}
    asked = Expected(("Which?", "", Before()), (1,), own)
    return lambda text: Attributor(speakers).attribute(asked, Reply(text, "length", None)).by


@pytest.mark.parametrize(
    ("text", "by"),
    [
        ("Ax", "arm"),
        ("By", "arm"),
        ("Byz", "arm"),
        ("Byéw", "arm"),
        ("QQ", "base"),
        ("Bx", "neither"),
        ("Byx", "neither"),
        ("C", "neither"),
    ],
)
def test_behind_a_near_tie_each_token_must_still_be_the_arm_s(judge, text, by):
    assert judge(text) == by
