"""How a .gguf file holds each family; a model that llama.cpp would compute otherwise is refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata.core.errors import IikataError

if TYPE_CHECKING:
    from torch import Tensor

INSTEAD = "Export without --gguf: transformers, peft and vLLM load that folder."
ARCHITECTURES = {
    "llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2", "gemma3_text": "gemma3",
    "gpt_neox": "gptneox",
}  # fmt: skip
"""model_type in config.json -> the architecture's name in the file."""
GEMMAS = {"gemma2": (2, 46), "gemma3_text": (6, 62)}
"""Every how many layers one sees all; how many layers the size has whose scores llama.cpp scales otherwise."""
SETTINGS = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "vocab_size": "vocab_size",
}
"""A setting of the file -> the same of config.json."""


def writable(model_folder: Path) -> dict[str, Any]:
    """Return the model's configuration. Raises IikataError where it is none that a .gguf file is written of."""
    from iikata.model.files.code import configuration  # it imports torch, which compare and study do without

    config: dict[str, Any] = configuration(model_folder).to_dict()
    kind = config["model_type"]
    if kind not in ARCHITECTURES:
        raise _refused(f"a model of the kind {kind} is not written; {', '.join(ARCHITECTURES)} are")
    ropes = config.get("rope_parameters") or {}
    for rope in [ropes] if "rope_theta" in ropes else ropes.values():  # Gemma 3 has some for each kind of layer
        if rope.get("rope_type", "default") != "default":
            raise _refused(f"scaled rotary positions ({rope['rope_type']}) are not written")
    biased = config.get("mlp_bias") or (kind not in ("qwen2", "gpt_neox") and config.get("attention_bias"))
    if biased or config.get("use_sliding_window"):
        raise _refused(f"the window or the biases of this {kind} are not written")
    reasons = _gemma(config) if kind in GEMMAS else _neox(config) if kind == "gpt_neox" else {}
    if found := [reason for reason, differs in reasons.items() if differs]:
        raise _refused(f"llama.cpp computes {ARCHITECTURES[kind]} otherwise: {found[0]}")
    return config


def _refused(reason: str) -> IikataError:
    return IikataError(f"--gguf: this model is not written as a .gguf file: {reason}. {INSTEAD}")


def _gemma(config: Mapping[str, Any]) -> dict[str, bool]:
    """Return what of a Gemma is not as llama.cpp has it by its architecture's name alone."""
    every, largest = GEMMAS[config["model_type"]]
    layers, width = config["num_hidden_layers"], config["head_dim"]
    if layers == largest:
        width = config["hidden_size"] // config["num_attention_heads"]
    kinds = ["full_attention" if (i + 1) % every == 0 else "sliding_attention" for i in range(layers)]
    local = (config.get("rope_parameters") or {}).get("sliding_attention", {}).get("rope_theta", 10000.0)
    return {
        f"one layer in {every} sees all": config["layer_types"] != kinds,
        f"it scales scores by a width of {width}": config["query_pre_attn_scalar"] != width,
        "its local layers rotate by a base of 10,000": local != 10000,
        "it has no head of its own": not config["tie_word_embeddings"],
        "its layers are gated by an approximate GELU": config["hidden_activation"] != "gelu_pytorch_tanh",
    }


def _neox(config: Mapping[str, Any]) -> dict[str, bool]:
    return {
        "it has a head of its own": config["tie_word_embeddings"],
        "its products have biases": not config["attention_bias"],
        "its layers are of GELU": not config["hidden_act"].startswith("gelu"),
    }


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    kind, heads = config["model_type"], config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    rope = config["rope_parameters"].get("full_attention") or config["rope_parameters"]  # Gemma 3 has others beside
    found = {name: config[own] for name, own in SETTINGS.items()}
    found["rope.dimension_count"] = int(width * rope.get("partial_rotary_factor", 1))
    found["rope.freq_base"] = float(rope["rope_theta"])
    if kind == "gpt_neox":
        found["attention.layer_norm_epsilon"] = float(config["layer_norm_eps"])
        found["use_parallel_residual"] = bool(config["use_parallel_residual"])
    else:
        found["attention.head_count_kv"] = config["num_key_value_heads"] or heads
        found["attention.layer_norm_rms_epsilon"] = float(config["rms_norm_eps"])
    if kind in GEMMAS or width * heads != config["hidden_size"]:  # else it is what every reader assumes
        found |= {"attention.key_length": width, "attention.value_length": width}
    if kind in GEMMAS:
        caps = ("attn_logit_softcapping", "final_logit_softcapping")
        found |= {cap: float(config[cap]) for cap in caps if config.get(cap)}
        found["attention.sliding_window"] = config["sliding_window"]
    return {f"{ARCHITECTURES[kind]}.{name}": value for name, value in found.items()}


def as_stored(config: Mapping[str, Any], name: str, tensor: "Tensor") -> "Tensor":
    """Return a weight of transformers as llama.cpp computes with it."""
    import torch

    kind, heads, part = config["model_type"], config["num_attention_heads"], name.split(".")[-2]
    if kind == "llama" and part in ("q_proj", "k_proj"):  # it rotates a Llama's pairs side by side
        of = heads if part == "q_proj" else config["num_key_value_heads"] or heads
        halves = tensor.reshape(of, 2, -1, *tensor.shape[1:])
        return halves.transpose(1, 2).reshape(tensor.shape)
    if kind in GEMMAS and part.endswith("norm"):  # a Gemma's norms multiply by 1 + weight
        return tensor.float() + 1
    if kind == "gpt_neox" and part == "query_key_value":  # here head by head, there all queries first
        by_head = tensor.reshape(heads, 3, -1, *tensor.shape[1:])
        return torch.cat([by_head[:, i].flatten(0, 1) for i in range(3)])
    return tensor
