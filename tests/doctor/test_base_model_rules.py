"""What cannot be trained over, or handed on, is found by check, from config.json alone."""

import pytest
from examined import examined, of

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "llama"}, None),
        ({"model_type": "mamba", "state_size": 4}, "MambaForCausalLM (mamba) is not supported: it has layers that are"),
        ({"model_type": "gptj", "n_embd": 32, "n_layer": 1, "n_head": 4, "rotary_dim": 4}, "attention interface"),
        (
            {"model_type": "llama", "max_position_embeddings": 64, "rope_scaling": {"type": "dynamic", "factor": 4.0}},
            "max_position_embeddings: 64 was seen, and beyond it with dynamic rope scaling",
        ),
        ({"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 4}, "no linear layers"),
    ],
)
def test_an_architecture_that_is_not_computed_exactly_is_an_error(tmp_path, byte_bpe_folder, config, said):
    named = {"architectures": ["MambaForCausalLM"]} if config["model_type"] == "mamba" else {}
    found = of(examined(tmp_path, byte_bpe_folder, config={**SMALL, **config, **named}), "architecture")
    assert [finding.severity for finding in found] == (["error"] if said else [])
    assert (said or "") in "".join(finding.message for finding in found)


def test_a_base_that_is_stored_quantised_cannot_be_merged(tmp_path, byte_bpe_folder):
    config = {**SMALL, "model_type": "llama", "quantization_config": {"quant_method": "awq", "bits": 4}}
    (found,) = of(examined(tmp_path, byte_bpe_folder, config=config), "export")
    assert found.severity == "warning"
    assert "stored quantised (awq)" in found.message


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (["q", "v"], "['q', 'v']"),
        (["q_proj", "value"], "['value']"),
        (["lm_head"], "['lm_head']"),
        (["v_proj"], None),
        ("auto", None),
        ("all-linear", None),
    ],
)
def test_targets_that_the_model_does_not_have_are_an_error(tmp_path, byte_bpe_folder, asked, named):
    config = {**SMALL, "model_type": "llama"}
    train = {"lora": {"target_modules": asked}}
    found = of(examined(tmp_path, byte_bpe_folder, config=config, train=train), "lora_targets")
    assert [finding.severity for finding in found] == (["error"] if named else [])
    if named:
        assert f"train.lora.target_modules {named} match no linear layer of the model's blocks" in found[0].message
        assert found[0].message.endswith("It has: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj.")
