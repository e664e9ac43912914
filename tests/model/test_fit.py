"""What was found of a model's logits is kept; what they are not exact for is refused before anything is trained."""

import pytest
import torch

from architectures import EXACT, GPT2, LONG, Family, write
from iikata.core.errors import IikataError
from iikata.model import exact, fit, memory
from iikata.model.attention.limits import Limits
from iikata.model.buffers import Part
from iikata.model.files.code import configuration
from iikata.model.load import load
from iikata.model.loss import Head
from models import sample


def test_what_was_found_is_kept_by_weights_type_devices_and_software(llama_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("IIKATA_CACHE", str(tmp_path))
    load(llama_folder, "float32", weights="abc")
    monkeypatch.setattr(fit, "_compared", lambda base: pytest.fail("looked again"))
    load(llama_folder, "float32", weights="abc")
    for changed in ({"weights": "other"}, {"dtype": "bfloat16"}, {"devices": [torch.device("cpu")] * 2}):
        with pytest.raises(pytest.fail.Exception):
            load(llama_folder, **{"dtype": "float32", "weights": "abc", **changed})
    (tmp_path / "exact").rename(tmp_path / "gone")
    (tmp_path / "exact").write_text("no folder")
    monkeypatch.undo()
    monkeypatch.setenv("IIKATA_CACHE", str(tmp_path))
    assert load(llama_folder, "float32", weights="abc").longest is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("fault", ["scale", "softcap", "mask"])
def test_a_wrong_head_or_mask_is_seen_in_either_type(llama_folder, monkeypatch, dtype, fault):
    def everything(block, window):
        tokens = block.prefix[1] - block.prefix[0] + block.places.shape[1]
        return torch.tensor(True).expand(len(block.places), 1, block.places.shape[1], tokens)

    if fault == "mask":
        monkeypatch.setattr("iikata.model.attention.packed._Block.mask", everything)
    else:
        wrong = {"scale": 1.05} if fault == "scale" else {"softcap": 6.0}
        monkeypatch.setattr("iikata.model.base.head_of", lambda model: Head(model.lm_head.weight, **wrong))
    with pytest.raises(
        IikataError, match=r"LlamaForCausalLM \(llama\) is not supported: its (output head|packed|prefilled)"
    ):
        load(llama_folder, dtype)


def test_rounding_is_forgiven_in_the_worst_tenth_of_the_tokens_alone():
    theirs = torch.randn(100, 8).to(torch.bfloat16)
    ours = theirs.clone()
    ours[:10] += 5
    assert exact.distance(ours, theirs) == 0
    assert exact.distance(ours.float(), theirs.float()) > 1
    ours[10] += 5
    assert exact.distance(ours, theirs) > 0.1
    ours[10] = float("nan")
    assert not exact.distance(ours, theirs) < 1


def test_rows_beyond_what_is_exact_are_refused_with_the_length(tmp_path):
    loaded = load(write(tmp_path, EXACT["Phi-3 (rotary by longrope)"]), "float32")
    fits, longer = (sample(range(4, 4 + length), 1) for length in (128, 129))
    loaded.pack([Part([fits], ())], Limits(128, 128, 1))
    with pytest.raises(IikataError, match=r"a row has 129 tokens\. Beyond 128, phi3"):
        loaded.pack([Part([longer], ())], Limits(256, 256, 1))


DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}


@pytest.mark.parametrize(
    ("family", "said"),
    [
        (Family("llama", {"rope_parameters": DYNAMIC, "max_position_embeddings": 64}), "max_.*: 64 .* dynamic rope"),
        (
            Family("phi3", {"rope_parameters": LONG, "original_max_position_embeddings": 64}),
            "original_max_.*: 64 .* longrope rope",
        ),
        (
            Family("opt", {"ffn_dim": 48, "word_embed_proj_dim": 16, "max_position_embeddings": 64}),
            "max_.*: 64 .*learned",
        ),
        (Family("gpt_bigcode", shape=GPT2 | {"n_positions": 103}), "n_positions: 103 .*learned"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_model_with_too_few_positions_to_be_checked_is_refused_by_them_with_and_without_weights(
    tmp_path, family, said
):
    folder = write(tmp_path, family)
    for refused in (lambda: load(folder, "float32"), lambda: memory.refuse_unfit(configuration(folder))):
        with pytest.raises(IikataError, match=rf"config\.json: {said}.* 104 or more") as caught:
            refused()
        assert "not supported" not in str(caught.value)


@pytest.mark.parametrize("rope", [{"rope_type": "default", "rope_theta": 1e4}, DYNAMIC | {"rope_type": "linear"}])
def test_few_positions_that_nothing_follows_are_no_reason_to_refuse(tmp_path, rope):
    folder = write(tmp_path, Family("llama", {"rope_parameters": rope, "max_position_embeddings": 64}))
    memory.refuse_unfit(configuration(folder))
    assert load(folder, "float32").longest is None


def test_adapters_go_on_the_language_model_alone_and_are_named_whole_where_peft_would_go_further(tmp_path):
    loaded = load(write(tmp_path, EXACT["Gemma 3 (composite)"]), "float32")
    adapters = loaded.adapt(2, 4, 0.0, ["q_proj"])
    assert all(name.startswith("model.language_model.layers.") for name in adapters.layers)
    assert adapters.shape.target_modules == tuple(adapters.layers)
    assert set(load(tmp_path, "float32").adapt(2, 4, 0.0, adapters.layers).layers) == set(adapters.layers)
