"""Write an exported, merged folder as one .gguf file for llama.cpp and Ollama; what cannot be exact is refused."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata.core.errors import IikataError
from iikata.pipeline.gguf_family import ARCHITECTURES, INSTEAD, as_stored, settings, writable

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from torch import Tensor

FILE = "model.gguf"


def write(folder: Path, vocabulary: Mapping[str, Any]) -> None:
    """Write `folder`/model.gguf from the merged weights in `folder`, in their own type; one axis is float32.

    `vocabulary` is the tokenizer's part of the metadata.
    """
    import gguf

    config = writable(folder)
    kind = ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(str(folder / FILE), kind)
    for key, value in {**settings(config), **vocabulary}.items():
        _add(writer, key, value)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[kind.upper()], config["num_hidden_layers"])
    for name, tensor in _tensors(folder, config):
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise IikataError(f"--gguf: {name} has no name in a .gguf file of {kind}. {INSTEAD}")
        _add_tensor(writer, found, as_stored(config, name, tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: "GGUFWriter", key: str, value: Any) -> None:
    add: dict[type, Any] = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}
    add |= {float: writer.add_float32, list: writer.add_array}
    add[type(value)](key, value)


def _tensors(folder: Path, config: Mapping[str, Any]) -> "Iterator[tuple[str, Tensor]]":
    """Yield each weight by its name in transformers."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                if name != "lm_head.weight" or not config.get("tie_word_embeddings"):
                    yield name, file.get_tensor(name)


def _add_tensor(writer: "GGUFWriter", name: str, tensor: "Tensor") -> None:
    import gguf
    import torch

    if tensor.dim() > 1 and tensor.dtype == torch.bfloat16:
        kind = gguf.GGMLQuantizationType.BF16
        writer.add_tensor(name, gguf.quants.quantize(tensor.float().numpy(), kind), raw_dtype=kind)
    elif tensor.dim() > 1 and tensor.dtype == torch.float16:
        writer.add_tensor(name, tensor.numpy())
    else:
        writer.add_tensor(name, tensor.float().contiguous().numpy())
