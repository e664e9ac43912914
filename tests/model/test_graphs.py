"""Texts scored and prompts read by graphs give what they give without; a graph's replay is emulated by its work."""

import math
from dataclasses import replace

import pytest
import torch

import models
import replayed
from iikata.generate import Request, Sampling, Shapes, generate
from iikata.model.base import Base
from iikata.model.graphs import Graphs
from iikata.score.nll import nats
from iikata.train.step import mean_loss

PREFIX = (5, 9, 4, 7, 30)
ARMS = ("one", "two", None)


@pytest.fixture
def replays(monkeypatch):
    return replayed.instead_of_graphs(monkeypatch)


@pytest.fixture
def base(llama_folder):
    base = replayed.opened(llama_folder)
    models.with_arms(base, "one", "two")
    return base


def scored(base, buffer_tokens):
    """Return the nats of every row under every arm, and the mean losses, in an order in which arms take turns."""
    rows = models.samples(30, seed=3, prefix=PREFIX)
    rows = [replace(row, roles=("answer",) * len(row.input_ids)) for row in rows]
    found = [[sums["answer"] for sums in nats(base, arm, rows, (PREFIX,), buffer_tokens)] for arm in ARMS * 2]
    return found, [mean_loss(base, arm, rows, buffer_tokens) for arm in ARMS * 2]


@pytest.mark.parametrize("buffer_tokens", [128, 4096])
def test_texts_scored_by_graphs_are_as_likely_as_without(base, replays, monkeypatch, buffer_tokens):
    found, means = scored(base, buffer_tokens)
    assert sum(replays) >= 6
    monkeypatch.setattr(Base, "asking_bound", False)
    wanted, wanted_means = scored(base, buffer_tokens)
    assert found[0] != pytest.approx(found[2], rel=1e-3)
    for own, other in zip([*found, means], [*wanted, wanted_means], strict=True):
        assert own == pytest.approx(other, rel=1e-9)


def test_an_arm_that_has_learnt_since_is_scored_as_it_is_now(base, replays):
    rows = models.samples(10, seed=1)
    before = [mean_loss(base, "one", rows, 4096) for _ in range(3)]
    models.stir(base.adapters.weights("one"), 7)
    after = mean_loss(base, "one", rows, 4096)
    assert sum(replays) == 3
    assert len(set(before)) == 1
    assert not math.isclose(before[0], after, rel_tol=1e-3)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_prompts_read_and_tokens_decoded_by_graphs_are_answers_as_without(model_folder, replays, monkeypatch, family):
    base = models.with_arms(replayed.opened(model_folder(family)), "one", "two")
    prompts = [(*PREFIX, *sample.input_ids) for sample in models.samples(20, seed=5)]

    def answers():
        asked = [
            Request(((arm, i, 0), (arm, i, 1)), prompt, (i, i + 1), frozenset({2}), arm, (PREFIX,))
            for i, prompt in enumerate(prompts)
            for arm in ARMS
        ]
        arms = [arm for arm in ARMS if arm]
        return {one.key: one.ids for one in generate(base, arms, asked, sampling, 8, Shapes(8, 64, 96))}

    sampling = Sampling(0.9, top_p=0.9, repetition_penalty=1.2)
    found = answers()
    assert len(replays) > 1  # buffers of prompts, and a step of decoding
    assert sum(replays) > 20, replays
    monkeypatch.setattr(Base, "asking_bound", False)
    assert found == answers()


def work(given):
    return given[0] + given[1]


def test_each_shape_has_a_graph_of_its_own(replays):
    graphs = Graphs(torch.device("cpu"), "adding")

    for length in (2, 3, 2, 3, 2, 3, 2):
        x = torch.full((length,), float(length))
        assert graphs(work, (x, torch.ones(length)), "sum").tolist() == [length + 1.0] * length
    assert len(replays) == 2
    graphs.clear()
    graphs(work, (torch.ones(2), torch.ones(2)), "sum")
    assert len(replays) == 2


def test_what_memory_was_short_for_is_recorded_once_graphs_were_let_go(replays, monkeypatch):
    graphs, given = Graphs(torch.device("cpu"), "adding"), (torch.ones(2), torch.ones(2))

    def refuse(device):
        raise RuntimeError("0.1 GB are free, the work takes 2.0 GB")

    with monkeypatch.context() as full:
        full.setattr("iikata.model.graphs.refuse_short_memory", refuse)
        graphs(work, given)
        with pytest.warns(UserWarning, match=r"0\.1 GB are free"):
            assert graphs(work, given).tolist() == [2.0, 2.0]
    graphs(work, given)
    assert not replays
    graphs.clear()
    assert [graphs(work, given).tolist() for _ in range(3)] == [[2.0, 2.0]] * 3
    assert replays == [2]


def test_numbers_that_stay_on_the_processor_are_of_one_graph_only_where_they_are_equal(replays):
    graphs = Graphs(torch.device("cuda"), "adding")
    for number in (1.0, 2.0, 1.0, 2.0, 2.0, 3.0):
        assert graphs(work, (torch.zeros(2), torch.full((2,), number))).tolist() == [number] * 2
    assert replays == [1, 2]
