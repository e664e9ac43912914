"""Write an exported, merged folder as one .gguf file for llama.cpp and Ollama; what cannot be exact is refused."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata.core.errors import IikataError
from iikata.tokenize.settings import read_object

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from torch import Tensor

FILE = "model.gguf"
FAMILIES = ("llama", "qwen2", "qwen3")
"""model_type, and the architecture's name in the file; these need no more than their weights and SETTINGS."""
SETTINGS = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "vocab_size": "vocab_size",
}
"""A setting of the file -> the same of config.json."""
INSTEAD = "Export without --gguf: transformers, peft and vLLM load that folder."


def writable(model_folder: Path) -> dict[str, Any]:
    """Return the model's configuration. Raises IikataError where it is none that a .gguf file is written of."""
    config = read_object(model_folder / "config.json")
    kind, rope = config.get("model_type"), config.get("rope_parameters") or config.get("rope_scaling") or {}
    if kind not in FAMILIES:
        raise IikataError(f"--gguf: a model of the kind {kind} is not written; {', '.join(FAMILIES)} are. {INSTEAD}")
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise IikataError(f"--gguf: scaled rotary positions ({rope.get('rope_type')}) are not written. {INSTEAD}")
    biased = config.get("mlp_bias") or (kind != "qwen2" and config.get("attention_bias"))
    if biased or config.get("use_sliding_window"):
        raise IikataError(f"--gguf: the window or the biases of this {kind} are not written. {INSTEAD}")
    return config


def write(folder: Path, vocabulary: Mapping[str, Any]) -> None:
    """Write `folder`/model.gguf from the merged weights in `folder`, in their own type; one axis is float32.

    `vocabulary` is the tokenizer's part of the metadata.
    """
    import gguf

    config = writable(folder)
    kind = config["model_type"]
    writer = gguf.GGUFWriter(str(folder / FILE), kind)
    for key, value in {**_settings(kind, config), **vocabulary}.items():
        _add(writer, key, value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[kind.upper()], config["num_hidden_layers"])
    for name, tensor in _tensors(folder, config):
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise IikataError(f"--gguf: {name} has no name in a .gguf file of {kind}. {INSTEAD}")
        _add_tensor(writer, found, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _settings(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    rope = config.get("rope_parameters") or {}
    found = {name: config.get(own) for name, own in SETTINGS.items()}
    found["attention.head_count_kv"] = found["attention.head_count_kv"] or config["num_attention_heads"]
    found["attention.layer_norm_rms_epsilon"] = float(config["rms_norm_eps"])
    found["rope.dimension_count"] = width
    if width * config["num_attention_heads"] != config["hidden_size"]:  # else it is what every reader assumes
        found |= {"attention.key_length": width, "attention.value_length": width}
    found["rope.freq_base"] = float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)
    return {f"{kind}.{name}": value for name, value in found.items()}


def _add(writer: "GGUFWriter", key: str, value: Any) -> None:
    add: dict[type, Any] = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}
    add |= {float: writer.add_float32, list: writer.add_array}
    add[type(value)](key, value)


def _tensors(folder: Path, config: Mapping[str, Any]) -> "Iterator[tuple[str, Tensor]]":
    """Yield each weight by its name in transformers; llama.cpp rotates a Llama's pairs side by side."""
    from safetensors import safe_open

    heads = config["num_attention_heads"]
    of = {"q_proj": heads, "k_proj": config.get("num_key_value_heads") or heads}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                if name == "lm_head.weight" and config.get("tie_word_embeddings"):
                    continue
                tensor, part = file.get_tensor(name), name.split(".")[-2]
                if config["model_type"] == "llama" and part in of:
                    halves = tensor.reshape(of[part], 2, -1, *tensor.shape[1:])
                    tensor = halves.transpose(1, 2).reshape(tensor.shape)
                yield name, tensor


def _add_tensor(writer: "GGUFWriter", name: str, tensor: "Tensor") -> None:
    import gguf
    import torch

    if tensor.dim() > 1 and tensor.dtype == torch.bfloat16:
        kind = gguf.GGMLQuantizationType.BF16
        writer.add_tensor(name, gguf.quants.quantize(tensor.float().numpy(), kind), raw_dtype=kind)
    elif tensor.dim() > 1 and tensor.dtype == torch.float16:
        writer.add_tensor(name, tensor.numpy())
    else:
        writer.add_tensor(name, tensor.float().numpy())
