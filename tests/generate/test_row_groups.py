"""A base laid over several devices answers as on one, its groups of rows one behind the other."""

import pytest
import torch

import models
from iikata.generate import Request, Sampling, Shapes, generate
from iikata.generate.decoder import Decoder

CPU = torch.device("cpu")
PREFIX = (5, 9, 4, 7)
PROMPTS = [(*PREFIX, *row.input_ids[:6]) for row in models.samples(7, seed=3)]


def answers(folder, stages, sampling, rows=8):
    """Return each sample's answer, of two arms and the base, by its key."""
    base = models.with_arms(models.opened(folder, devices=[CPU] * stages), "a", "b")
    requests = [
        Request(
            keys=tuple((arm, number, sample) for sample in range(3)), prompt_ids=prompt, end_ids=frozenset({2, 40}),
            seeds=tuple(100 * number + sample for sample in range(3)), arm=arm, prefixes=(PREFIX,),
        )
        for number, prompt in enumerate(PROMPTS) for arm in ("a", "b", None)
    ]  # fmt: skip
    found = generate(base, ["a", "b"], requests, sampling, 12, Shapes(rows, 32, 24))
    return {one.key: (one.ids, one.finish) for one in found}


@pytest.mark.parametrize(
    "sampling",
    [Sampling(temperature=0), Sampling(temperature=1.3, top_p=0.9, repetition_penalty=1.2)],
    ids=["greedy", "sampled"],
)
def test_answers_are_those_of_one_device(deep_folder, sampling, monkeypatch):
    steps = []
    before = Decoder.step
    monkeypatch.setattr(Decoder, "step", lambda self: steps.append(id(self)) or before(self))
    wanted = answers(deep_folder, 1, sampling)
    assert len(wanted) == len(PROMPTS) * 9
    assert len(set(wanted.values())) > len(PROMPTS)
    for stages in (2, 3):
        steps.clear()
        assert answers(deep_folder, stages, sampling) == wanted
        first = steps[: 2 * stages]
        assert len(set(steps)) == stages, "a group of rows a stage"
        assert first == first[:stages] * 2, "each group's step follows the one before's"


@pytest.mark.parametrize("family", ["neox_parallel", "gemma2", "gemma3"])
def test_families_answer_alike_in_stages(model_folder, family):
    sampling = Sampling(temperature=0.8)
    assert answers(model_folder(family), 2, sampling) == answers(model_folder(family), 1, sampling)
