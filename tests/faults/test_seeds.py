"""Every seed of the fuzzer, what it found among them, is read or refused in words by its parser."""

from pathlib import Path

import pytest
from parsers import PARSERS, outcome

SEEDS = Path(__file__).parent / "seeds"
FILES = sorted(SEEDS.glob("*/*"))


@pytest.mark.parametrize("seed", FILES, ids=lambda seed: f"{seed.parent.name}/{seed.name}")
def test_seed_is_read_or_refused_in_words(seed, tmp_path, tally):
    tally("inputs tried")
    assert outcome(seed.parent.name, seed.read_bytes(), tmp_path)


@pytest.mark.parametrize("name", PARSERS)
def test_every_parser_has_seeds_it_reads_and_small_ones(name, tmp_path):
    seeds = [seed for seed in FILES if seed.parent.name == name]
    assert any(outcome(name, seed.read_bytes(), tmp_path) == "read" for seed in seeds)
    assert len(seeds) <= 50
    assert all(seed.stat().st_size <= 4096 for seed in seeds)
