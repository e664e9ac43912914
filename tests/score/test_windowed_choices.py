"""Choices in buffers for flash kernels are as likely as transformers and peft say, where a window ends inside them."""

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
import torch

import models
import oracle
import replayed
from iikata.core.records import Probe
from iikata.model.base import Base
from iikata.model.buffers import computed
from iikata.score.choice import Asked, _parts, laid
from iikata.score.nll import _buffers, nats_in

EXAMPLES = (tuple(range(10, 50)), tuple(range(10, 54)))
"""What prompts begin with: longer than the window of six tokens."""


def asked(examples):
    """Return questions of three choices whose prompts are shorter and longer than the window."""
    draw, made = Random(3), []
    for number in range(12):
        begun = examples[number % 2] if examples and number != 5 else ()  # one whose words merge with what is before
        prompt = [*begun, *draw.choices(range(60, models.VOCAB), k=draw.randint(2, 14))]
        texts = [draw.choices(range(60, models.VOCAB), k=draw.randint(1, 8)) for _ in range(3)]
        rows = [models.sample([*prompt, *text], len(prompt)) for text in texts]
        rows = [replace(row, roles=("answer",) * len(row.input_ids)) for row in rows]
        made.append(Asked(Probe(str(number), "Which?"), tuple(rows)))
    return made


@pytest.mark.parametrize("near", [4, 6])
@pytest.mark.parametrize("examples", [(), EXAMPLES], ids=["prompts", "examples"])
def test_buffers_are_cut_by_what_they_hold_also_where_a_window_is_too_wide_for_sharing(
    model_folder, examples, near, monkeypatch
):
    monkeypatch.setattr("iikata.model.base.NEAR", near)
    base, questions = replayed.opened(model_folder("gemma3")), asked(EXAMPLES)
    rows = [row for one in questions for row in one.rows]
    cut = [buffer for _, buffer in laid(base, questions, 256, examples)]
    for buffers in (cut, [buffer for _, buffer in _buffers(base, rows, examples, 256)]):
        assert max(buffer.input_ids.numel() for buffer in buffers) <= 256
        assert len(buffers) > 1


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("examples", [(), EXAMPLES], ids=["prompts", "examples"])
def test_each_choice_is_as_likely_as_alone(model_folder, examples, recorded, tmp_path, monkeypatch):
    folder = model_folder("gemma3")
    replays = replayed.instead_of_graphs(monkeypatch)
    monkeypatch.setattr(Base, "asking_bound", recorded)
    base = models.with_arms(replayed.opened(folder), "one")
    oracle.exact_norms(base.model)
    peft = oracle.with_adapter(folder, oracle.save_adapter(base, "one", tmp_path), "float64")
    questions = asked(examples)
    buffers = laid(base, questions, 192, examples)
    assert len(buffers) > 1
    for arm, reference in {None: oracle.plain(folder, "float64"), "one": peft}.items():
        found = [sums["answer"] for rows, buffer in buffers for sums in nats_in(base, arm, rows, buffer)]
        with torch.no_grad():
            wanted = [float(oracle.token_losses(reference, row).sum()) for one in questions for row in one.rows]
        assert found == pytest.approx(wanted, rel=1e-6)  # rotary tables are float32
    assert bool(sum(replays)) == recorded


@pytest.mark.parametrize("examples", [(), EXAMPLES], ids=["prompts", "examples"])
def test_a_buffer_holds_as_many_questions_as_fit(examples):
    def tokens(part):
        """What the buffer computes: examples once, a prompt once, each choice."""
        prompts = examples or [one.prompt for one in part]
        return sum(map(len, prompts)) + sum(computed(row, prompts) for one in part for row in one.rows)

    questions = asked(examples)
    parts = list(_parts(questions, 192, examples))
    assert [one for part in parts for one in part] == questions
    assert all(tokens(part) <= 192 for part in parts)
    assert all(tokens([*part, following[0]]) > 192 for part, following in pairwise(parts))
