"""Every family is exact against transformers (packed, prefilled, decoded), or refused with the reason that fits."""

from pathlib import Path

import pytest

from architectures import EXACT, INTERFACE, NO_LINEAR, REFUSED, STATE, Family, write
from iikata.core.errors import IikataError
from iikata.model.load import load

WHY = {
    INTERFACE: "its attention does not go through transformers' attention interface",
    STATE: "it carries a state from token to token, which packed samples would share",
    NO_LINEAR: "its layers are no `nn.Linear`, so that there is nothing to adapt",
    "AutoModelForCausalLM": "transformers loads no language model of it by itself",
    "look at those behind them": "its tokens look at those behind them",
    "differ from transformers'": "its attention has a mask of its own, and its logits differ",
    "scores or classes": "it gives scores or classes, no next token (told by `architectures`)",
    "output head is another": "its class computes other logits than its configuration says",
}
LENGTHS = {
    "llama": "`max_position_embeddings` tokens, from where on its frequencies follow the length",
    "llama4_text": "`attention_chunk_size` tokens",
    "opt": "`max_position_embeddings` tokens, the positions that it has learned",
    "gpt_bigcode": "`n_positions` tokens, the positions that it has learned",
    "phi3": "`original_max_position_embeddings` tokens, from where on its frequencies follow the length",
}


@pytest.mark.parametrize("name", EXACT)
def test_a_supported_family_loads_up_to_the_length_it_is_exact_for(name, tmp_path):
    loaded = load(write(tmp_path, EXACT[name]), "float32")
    assert loaded.longest == EXACT[name].longest
    assert loaded.adapt(2, 4, 0.0, "all-linear").layers


@pytest.mark.parametrize("name", REFUSED)
def test_any_other_family_is_refused_by_name_and_reason(name, tmp_path):
    family = REFUSED[name]
    folder = write(tmp_path, family)
    with pytest.raises(IikataError, match=rf"architecture \w+ \({family.kind}\) is not supported: .*{family.refused}"):
        load(folder, "float32").adapt(2, 4, 0.0, "all-linear")


def test_docs_list_these_families_and_what_becomes_of_them():
    page = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    assert [line for line in page.splitlines() if line.startswith("| ")][1:] == rows()


def rows() -> list[str]:
    """Return the table's lines; `python tests/model/test_architectures.py` prints them."""
    made = [f"| {name} | `{f.kind}` | exact{_up_to(f)} |" for name, f in EXACT.items()]
    return made + [f"| {name} | `{f.kind}` | refused: {WHY.get(f.refused, f.refused)} |" for name, f in REFUSED.items()]


def _up_to(family: Family) -> str:
    return "" if family.longest is None else f" up to {LENGTHS[family.kind]}"


if __name__ == "__main__":
    print("\n".join(rows()))
