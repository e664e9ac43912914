"""Decoding over slots is causal attention over each row's own tokens, whatever lay in the slot before."""

import math

import pytest
import torch

from iikata.model.attention.registry import Options, attend_causal
from iikata.model.attention.static_cache import StaticKVCache

ROWS, LENGTH, WIDTH = 5, 40, 8
PROMPTS = (1, 7, 16, 30)


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "options", [Options(0.3), Options(0.3, window=6), Options(0.3, softcap=2.0)], ids=["plain", "window", "softcap"]
)
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (6, 2)])
def test_rows_attend_as_their_whole_sequence_would(options, heads, kv_heads):
    new, tokens = 5, sum(PROMPTS)
    query, key, value = (drawn(1, n, tokens + new, WIDTH, seed=s) for s, n in enumerate((heads, kv_heads, kv_heads)))
    starts = [sum(PROMPTS[:index]) for index in range(len(PROMPTS))]
    # Each row's new tokens are the last ones of the drawn tensors, the same for all rows.
    rows = [
        torch.tensor([*range(start, start + n), *range(tokens, tokens + new)])
        for start, n in zip(starts, PROMPTS, strict=True)
    ]
    wanted = [
        attend_causal(query[:, :, at], key[:, :, at], value[:, :, at], options)[0, :, n:]
        for at, n in zip(rows, PROMPTS, strict=True)
    ]
    slots = StaticKVCache(ROWS, LENGTH, torch.device("cpu"))
    order = torch.tensor([4, 0, 3, 1])
    places = torch.full((len(PROMPTS), LENGTH), -1)
    for index, (start, n) in enumerate(zip(starts, PROMPTS, strict=True)):
        places[index, :n] = torch.arange(start, start + n)
    junk = torch.full((kv_heads, 1, WIDTH), math.nan, dtype=torch.float64)
    slots.fill(torch.arange(ROWS), [junk], [junk], torch.zeros(ROWS, LENGTH, dtype=torch.long))
    slots.fill(order, [key[0, :, :tokens]], [value[0, :, :tokens]], places)
    slots.used.clamp_(max=LENGTH - 8)  # the idle row goes on, and stays inside its slot
    for step in range(new):
        now = [x[:, :, tokens + step : tokens + step + 1].expand(-1, -1, ROWS, -1) for x in (query, key, value)]
        got = slots.layers[0].attend(torch.nn.Module(), *now, options)
        for index, row in enumerate(order.tolist()):
            assert torch.allclose(got[0, :, row], wanted[index][:, step], rtol=1e-12, atol=1e-13)
        slots.used += 1


def test_filling_some_slots_leaves_the_others_as_they_are():
    slots = StaticKVCache(ROWS, LENGTH, torch.device("cpu"))
    key = drawn(2, 9, WIDTH)
    places = torch.full((ROWS, LENGTH), -1)
    places[:, :9] = torch.arange(9)
    slots.fill(torch.arange(ROWS), [key], [key + 1], places)
    before = [slots.layers[0].keys.clone(), slots.layers[0].values.clone()]
    slots.fill(torch.tensor([3]), [key * 2], [key * 2], places[:1])
    for now, was in zip((slots.layers[0].keys, slots.layers[0].values), before, strict=True):
        assert torch.equal(now[[0, 1, 2, 4]], was[[0, 1, 2, 4]])
        assert torch.equal(now[3, :, :9], key * 2)
    assert slots.used.tolist() == [9] * ROWS
