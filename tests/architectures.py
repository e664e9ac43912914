"""Tiny configurations of published families, and what iikata makes of each: exact, exact up to a length, or refused."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

VOCAB = 768

INTERFACE = "does not go through transformers' attention interface"
STATE = "layers that are no plain attention"
NO_LINEAR = "no linear layers"

SHAPE = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256, "bos_token_id": 1, "eos_token_id": 2,
    "pad_token_id": 3,
}  # fmt: skip
MOE = {"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
MLA = {
    "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 12, "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
}  # fmt: skip
GPT2 = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
WINDOWED = {"sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"]}
LONG = {"rope_type": "longrope", "long_factor": [4.0] * 4, "short_factor": [1.0] * 4, "rope_theta": 1e4}
FACTOR = {"rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 128}
LLAMA3 = {**FACTOR, "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@dataclass(frozen=True)
class Family:
    """One family's configuration: transformers' name of it, and what it sets beside SHAPE."""

    kind: str
    more: dict[str, Any] = field(default_factory=dict)
    shape: dict[str, Any] = field(default_factory=lambda: SHAPE)
    refused: str | None = None
    """Part of the reason; None where it is exact."""
    longest: int | None = None
    """Tokens up to which it is exact."""
    text: dict[str, Any] | None = None
    """Of a composite model, what its language model sets; `more` is the rest."""

    def config(self) -> Any:
        from transformers import AutoConfig

        if self.text is None:
            return AutoConfig.for_model(self.kind, **self.shape | self.more)
        return AutoConfig.for_model(self.kind, text_config=self.shape | self.text, **self.more)


VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
CAPPED = {"final_logit_softcapping": 6.0, "query_pre_attn_scalar": 8, "head_dim": 8}
GEMMA4 = {
    "vocab_size_per_layer_input": VOCAB, "hidden_size_per_layer_input": 8, "final_logit_softcapping": 6.0,
    "global_head_dim": 16, "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"],
}  # fmt: skip

EXACT: dict[str, Family] = {
    "Llama": Family("llama"),
    "Llama 3.1 (rotary by llama3)": Family("llama", {"rope_parameters": LLAMA3}),
    "Llama (rotary by YaRN)": Family("llama", {
        "rope_parameters": {**FACTOR, "rope_type": "yarn"}, "max_position_embeddings": 512}),
    "Llama (rotary by dynamic NTK)": Family(
        "llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, longest=256
    ),
    "Llama 4 (text)": Family(
        "llama4_text",
        {**MOE, "intermediate_size_mlp": 48, "attention_chunk_size": 128, "floor_scale": 512, "attn_scale": 0.5},
        longest=128,
    ),
    "Mistral, with a window": Family("mistral", {"sliding_window": 128}),
    "Ministral 3": Family("ministral3", {"rope_parameters": {
        **FACTOR, "rope_type": "yarn", "llama_4_scaling_beta": 0.5, "beta_fast": 32.0, "beta_slow": 1.0,
        "mscale": 1.0, "mscale_all_dim": 1.0}}),
    "Mixtral": Family("mixtral", MOE),
    "Qwen2": Family("qwen2", {"tie_word_embeddings": True}),
    "Qwen2, with windows": Family("qwen2", {**WINDOWED, "use_sliding_window": True, "max_window_layers": 1}),
    "Qwen2-MoE": Family("qwen2_moe", {**MOE, "shared_expert_intermediate_size": 16}),
    "Qwen3": Family("qwen3"),
    "Qwen3-MoE": Family("qwen3_moe", MOE),
    "Gemma": Family("gemma", {"num_key_value_heads": 1, "head_dim": 16}),
    "Gemma 2": Family("gemma2", {**CAPPED, **WINDOWED, "attn_logit_softcapping": 5.0}),
    "Gemma 3 (text)": Family("gemma3_text", {**CAPPED, **WINDOWED}),
    "Gemma 3 (composite)": Family("gemma3", {"vision_config": VISION}, text=WINDOWED),
    "Gemma 3n (text)": Family("gemma3n_text", {
        "vocab_size_per_layer_input": VOCAB, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 2,
        "num_hidden_layers": 4, "layer_types": WINDOWED["layer_types"] * 2, "sliding_window": 128, "laurel_rank": 4,
        "intermediate_size": [48] * 4, "activation_sparsity_pattern": [0.0] * 4, "final_logit_softcapping": 6.0}),
    "Gemma 4 (text)": Family("gemma4_text", GEMMA4),
    "Gemma 4 (composite)": Family("gemma4", {"vision_config": None, "audio_config": None}, text=GEMMA4),
    "VaultGemma": Family("vaultgemma", {**CAPPED, **WINDOWED}),
    "Phi-1.5, Phi-2": Family("phi", {"rope_parameters": {
        "rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}),
    "Phi-3, Phi-4": Family("phi3"),
    "Phi-3 (rotary by longrope)": Family(
        "phi3", {"original_max_position_embeddings": 128, "rope_parameters": LONG}, longest=128
    ),
    "Phi-3.5-MoE": Family("phimoe", MOE),
    "GPT-NeoX, rinna": Family("gpt_neox"),
    "OPT": Family("opt", {"ffn_dim": 48, "word_embed_proj_dim": 16}, longest=256),
    "GPT-BigCode": Family("gpt_bigcode", shape=GPT2, longest=256),
    "StarCoder2": Family("starcoder2"),
    "StableLM": Family("stablelm"),
    "Cohere": Family("cohere", {"logit_scale": 0.3}),
    "Cohere 2": Family("cohere2", {"logit_scale": 0.3, **WINDOWED}),
    "Granite": Family("granite", {
        "logits_scaling": 4.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2}),
    "HyperCLOVA X": Family("hyperclovax", {"logits_scaling": 0.2, "embedding_multiplier": 3.0, "use_post_norm": True}),
    "Granite MoE": Family("granitemoe", {**MOE, "logits_scaling": 4.0, "embedding_multiplier": 3.0}),
    "OLMo": Family("olmo", {"clip_qkv": 1.0}),
    "OLMo 2": Family("olmo2"),
    "OLMo 3": Family("olmo3", WINDOWED),
    "OLMoE": Family("olmoe", MOE),
    "SmolLM3": Family("smollm3", {"no_rope_layers": [1, 0]}),
    "Helium": Family("helium"),
    "GLM-4": Family("glm", {"pad_token_id": 3}),
    "GLM-4-0414": Family("glm4"),
    "ERNIE 4.5": Family("ernie4_5"),
    "EXAONE 4": Family("exaone4", WINDOWED),
    "Nemotron": Family("nemotron"),
    "Persimmon": Family("persimmon"),
    "BitNet": Family("bitnet"),
    "Seed-OSS": Family("seed_oss"),
    "Apertus": Family("apertus"),
    "Arcee": Family("arcee"),
    "Hunyuan": Family("hunyuan_v1_dense"),
    "nanochat": Family("nanochat", {"final_logit_softcapping": 6.0}),
    "DeepSeek-V2": Family("deepseek_v2", {**MLA, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
    "DeepSeek-V3": Family("deepseek_v3", {**MLA, "num_experts_per_tok": 2, "moe_intermediate_size": 16}),
    "MiniCPM3": Family("minicpm3", {**MLA, "scale_emb": 2, "dim_model_base": 16, "scale_depth": 1.4}),
    "gpt-oss": Family("gpt_oss", {**MOE, **WINDOWED}),
}  # fmt: skip

REFUSED: dict[str, Family] = {
    "GPT-2": Family("gpt2", shape=GPT2, refused=NO_LINEAR),
    "GPT-J": Family("gptj", {"rotary_dim": 4}, GPT2, INTERFACE),
    "GPT-Neo": Family("gpt_neo", {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]},
                      {"vocab_size": VOCAB, "hidden_size": 32}, INTERFACE),
    "CodeGen": Family("codegen", {"rotary_dim": 4}, GPT2, INTERFACE),
    "BLOOM": Family("bloom", {"n_layer": 2, "n_head": 4}, {"vocab_size": VOCAB, "hidden_size": 32}, INTERFACE),
    "MPT": Family("mpt", {"n_layers": 2, "n_heads": 4, "d_model": 32}, {"vocab_size": VOCAB}, INTERFACE),
    "Falcon": Family("falcon", {"num_attention_heads": 4},
                     {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2}, INTERFACE),
    "XGLM": Family("xglm", {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4}, refused=INTERFACE),
    "Mamba": Family("mamba", {"state_size": 4}, refused=STATE),
    "RWKV": Family("rwkv", {"attention_hidden_size": 32, "context_length": 64}, refused=STATE),
    "Jamba": Family("jamba", {**MOE, "mamba_d_state": 4, "attn_layer_period": 2, "attn_layer_offset": 1},
                    refused=STATE),
    "Bamba": Family("bamba", {"mamba_d_state": 4, "mamba_n_heads": 4, "mamba_d_head": 16, "attn_layer_indices": [1]},
                    refused=STATE),
    "Granite 4 (hybrid)": Family("granitemoehybrid", {
        **MOE, "layer_types": ["mamba", "attention"], "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 4},
        refused=STATE),
    "RecurrentGemma": Family("recurrent_gemma", {"lru_width": 32}, refused=STATE),
    "LFM2": Family("lfm2", {"layer_types": ["conv", "full_attention"]}, refused=STATE),
    "Qwen3-Next": Family("qwen3_next", {**MOE, "layer_types": ["linear_attention", "full_attention"],
                                        "shared_expert_intermediate_size": 16}, refused=STATE),
    "Gemma 3 with a softcap, which its composite class leaves out": Family(
        "gemma3", {"vision_config": VISION}, text=CAPPED, refused="output head is another"),
    "A classifier over Qwen3": Family(
        "qwen3", {"architectures": ["Qwen3ForSequenceClassification"]}, refused="scores or classes"),
    "BERT": Family("bert", refused="look at those behind them"),
    "Doge": Family("doge", refused="differ from transformers'"),
    "Qwen2-VL": Family("qwen2_vl", {"vision_config": {"embed_dim": 16, "depth": 1, "num_heads": 2, "hidden_size": 32}},
                       text={"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
                       refused="AutoModelForCausalLM"),
}  # fmt: skip


def write(folder: Path, family: Family) -> Path:
    """Write a random model of the family; a composite one by the class that its configuration is for."""
    import transformers

    config = family.config()
    kinds = transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, transformers.MODEL_FOR_CAUSAL_LM_MAPPING
    torch.manual_seed(0)
    model = kinds[type(config) in kinds[1]][type(config)](config).float()
    with torch.no_grad():
        for parameter in model.parameters():  # at their first values a wrong mask or bias would hardly show
            parameter.add_(torch.randn_like(parameter), alpha=0.2 if parameter.dim() > 1 else 0.1)
    model.save_pretrained(folder)
    if named := family.more.get("architectures"):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": named}))
    return folder
