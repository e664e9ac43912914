"""Prompts in one buffer for flash kernels have transformers' keys, values and next logits, whatever a window hides."""

import pytest
import torch

import models
import oracle
import replayed
from architectures import SHAPE, Family, write
from iikata.generate import Request, Sampling, Shapes, generate
from iikata.generate.prefill import FlashPrefill, Prompt
from iikata.model.base import Base

LENGTH = 40
SHARED = tuple(range(10, 22))
KINDS = ["sliding_attention", "full_attention"]


@pytest.fixture(scope="session")
def windowed(tmp_path_factory):
    """Return the folder of a model whose first layer has a window."""

    def folder(window):
        path = tmp_path_factory.getbasetemp() / f"windowed-{window}"
        shape = SHAPE | {"query_pre_attn_scalar": 8, "sliding_window": window, "layer_types": KINDS}
        return path if path.exists() else write(path, Family("gemma3_text", shape=shape))

    return folder


def buffers():
    """Return what is asked of several buffers: shared tokens of two kinds and of two arms, none at all, one token."""
    tails = [sample.input_ids for sample in models.samples(12, longest=16)]
    prefixes = (SHARED, SHARED, SHARED[:5], (), SHARED, SHARED[:1])
    mixed = [Prompt(i % 3 - 1, (*p, *tail), p) for i, (p, tail) in enumerate(zip(prefixes * 2, tails, strict=True))]
    return mixed, mixed[:7], mixed[5:], [Prompt(-1, tails[0], ())], [Prompt(0, (*SHARED, 9), SHARED), *mixed[2:4]]


# Shorter than what is shared, as long, longer; behind every prompt but before the power of two that is planned for.
@pytest.mark.parametrize("window", [3, len(SHARED), 20, LENGTH + 1])
@pytest.mark.parametrize("recorded", [False, True])
@torch.inference_mode()
def test_prompts_are_read_as_transformers_reads_each_alone(windowed, window, recorded, monkeypatch):
    replays = replayed.instead_of_graphs(monkeypatch)
    monkeypatch.setattr(Base, "asking_bound", recorded)
    base, reference = replayed.opened(windowed(window)), oracle.plain(windowed(window), "float64")
    oracle.exact_norms(base.model)
    prefill = FlashPrefill(base, lambda ids, at, arms, layout: base.hidden(ids, at, layout)[0], 128, LENGTH)
    for prompts in buffers():
        found = prefill.run(prompts)
        for index, prompt in enumerate(prompts):
            own = reference(torch.tensor([prompt.ids]), use_cache=True)
            assert oracle.distance(found.logits[index], own.logits[0, -1]) < 1e-6  # rotary tables are float32
            where = found.token_index[index, : len(prompt.ids)]
            full = own.past_key_values.layers[1]  # of the layer behind the window, which keeps every token
            for ours, theirs in ((found.keys[1], full.keys[0]), (found.values[1], full.values[0])):
                assert oracle.distance(ours[:, where], theirs) < 1e-6
    assert bool(sum(replays)) == recorded


def test_a_buffer_of_prompts_that_cannot_share_tokens_holds_no_more_than_is_planned(windowed, monkeypatch):
    base, sizes, hidden = replayed.opened(windowed(20)), [], Base.hidden
    monkeypatch.setattr(Base, "hidden", lambda *given: sizes.append(given[1].numel()) or hidden(*given))
    asked = [Request((i,), one.ids, (0,), frozenset(), None, (SHARED,)) for i, one in enumerate(buffers()[0] * 3)]

    def answers():
        sizes.clear()
        return {one.key: one.ids for one in generate(base, (), asked, Sampling(0), 3, Shapes(8, LENGTH, 128))}

    shared, often = answers(), len(sizes)
    monkeypatch.setattr("iikata.generate.prefill.NEAR", 8)
    assert answers() == shared
    assert max(sizes) == 128
    assert len(sizes) > often
