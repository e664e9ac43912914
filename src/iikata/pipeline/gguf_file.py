"""Write an exported, merged folder as one .gguf file for llama.cpp, and how Ollama prompts it; or refuse."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata import tokenize
from iikata.core.errors import IikataError
from iikata.pipeline.gguf_family import ARCHITECTURES, INSTEAD, as_stored, settings, writable
from iikata.templates import Template

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from torch import Tensor

FILE = "model.gguf"
ASKED = "Q7INSTRUCTION7Q"
"""Stands for the question while a template is rendered for a Modelfile."""


def write(folder: Path, vocabulary: Mapping[str, Any]) -> None:
    """Write `folder`/model.gguf from the merged weights in `folder`, in their own type; one axis is float32.

    `vocabulary` is the tokenizer's part of the metadata.
    """
    import gguf

    config = writable(folder)
    kind = ARCHITECTURES[config["model_type"]]
    writer = gguf.GGUFWriter(str(folder / FILE), kind)
    add: dict[type, Any] = {bool: writer.add_bool, int: writer.add_uint32, str: writer.add_string}
    add |= {float: writer.add_float32, list: writer.add_array}
    for key, value in {**settings(config), **vocabulary}.items():
        add[type(value)](key, value)
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


def modelfile(template: Template, tokenizer: tokenize.Tokenizer) -> str:
    """Return the Modelfile's text: one question without an input, each token that ends an answer as a stop.

    Raises IikataError where the template's own text means something else to Ollama.
    """
    prompt = template.render(ASKED).prompt
    bos = tokenizer.named_tokens.get("bos_token") if tokenizer.bos_id is not None else None
    prompt = prompt.removeprefix(bos or "")  # llama.cpp writes it itself
    if '"""' in prompt or "{{" in prompt or prompt.count(ASKED) != 1:
        raise IikataError(f"--ollama: template {template.name} has {{{{ or three quotes, or asks twice; leave it out.")
    ends = [tokenizer.token(id) for id in sorted(tokenize.stop_ids(template, tokenizer))]
    stops = "".join(f'PARAMETER stop "{stop}"\n' for stop in dict.fromkeys((*template.stop, *ends)) if '"' not in stop)
    return f'FROM ./{FILE}\nTEMPLATE """{prompt.replace(ASKED, "{{ .Prompt }}")}"""\n{stops}'
