"""Memory is counted as autograd keeps it, and buffers are chosen to fit what is free."""

import pytest
import torch
from transformers import AutoConfig

from iikata.model import memory
from iikata.model.load import load
from iikata.model.memory import Need

NEOX = dict(
    vocab_size=32000, hidden_size=2816, intermediate_size=11264, num_hidden_layers=36, num_attention_heads=22,
    use_parallel_residual=False, tie_word_embeddings=False,
)  # fmt: skip
NEED = Need(arms=10_000_000, head=500_000_000, kept=2_000_000, checkpoint=400_000)


def test_a_gpt_neox_token_keeps_eleven_widths_a_layer():
    # Layer-norm inputs (2), the adapted layer's input, q, k, v, output, and the 4 of the feed-forward activation.
    config = AutoConfig.for_model("gpt_neox", **NEOX)
    found = memory.need(config, torch.bfloat16, 8, 8, ["query_key_value"])
    assert found.kept == pytest.approx(11 * 2816 * 2 * 36, rel=0.02)
    assert found.arms == 8 * 16 * 36 * 8 * (2816 + 3 * 2816)
    assert memory.parameters(config) == pytest.approx(36 * 12 * 2816**2 + 2816 * 32000, rel=0.001)


@pytest.mark.parametrize(
    ("free", "tokens", "checkpointed"), [(80e9, 32768, False), (10e9, 4352, False), (4e9, 8064, True)]
)
def test_the_buffer_fits_what_is_free_and_layers_are_computed_twice_only_where_it_would_be_too_small(
    free, tokens, checkpointed
):
    assert NEED.fit(int(free), 32768) == (tokens, checkpointed)
    assert NEED.peak(tokens, checkpointed) <= memory.SPARE * free
    assert NEED.fit(int(free), 1024) == (1024, False)


def test_even_with_next_to_nothing_free_one_round_of_tokens_is_tried():
    assert NEED.fit(1000, 32768) == (128, True)


def test_a_decoding_row_is_its_slot_and_its_scores_and_rows_fit_what_is_free(llama_folder):
    loaded = load(llama_folder, "bfloat16")
    # Two layers, two key heads of width 8, keys and values of 2 bytes.
    assert loaded.kv_bytes_a_token == 2 * 2 * 2 * 8 * 2
    need = memory.decoding(loaded, 100, 1024)
    assert need.row == 100 * 128 + 768 * memory.SCORES
    assert memory.decoding(loaded, 0, 2048).prefill > need.prefill > 1024 * 128
    rows = need.fit(10**9)
    assert need.peak(rows) <= memory.SPARE * 10**9 < need.peak(rows + 1)
    assert need.fit(1000) == 0
