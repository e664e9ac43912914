"""A random stream follows from its names alone, the same in every version: saved runs go on from them."""

from iikata.core.rng import stream_seed


def test_a_seed_is_that_of_its_names_and_no_two_lists_of_names_are_one():
    # printf 'lora\x1f0\x1flayers.3.q_proj' | sha256sum
    assert stream_seed("lora", 0, "layers.3.q_proj") == 0x3638C816133D4D01 >> 1
    assert len({stream_seed("a", "bc"), stream_seed("ab", "c"), stream_seed("abc")}) == 3
