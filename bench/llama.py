"""Llama shapes with random weights, laid over devices as a run does: made on them, or written and loaded from disk.

python bench/llama.py llama-8b FOLDER         # writes one, in bfloat16
"""

import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import torch
from subject import wait

from iikata.model.attention.registry import NAME, register
from iikata.model.base import Base
from iikata.model.load import choose_device, load, ready
from iikata.model.stages import device_map

LLAMA: dict[str, dict[str, int]] = {
    "llama-70b": dict(hidden_size=8192, intermediate_size=28672, num_hidden_layers=80, num_attention_heads=64),
    "llama-32b": dict(hidden_size=5120, intermediate_size=27648, num_hidden_layers=64, num_attention_heads=40),
    "llama-8b": dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32),
    "tiny": dict(hidden_size=128, intermediate_size=192, num_hidden_layers=6, num_attention_heads=8),
}
"""Heads of 16 and more: over narrower ones torch's flash kernel sums in no fixed order."""
VOCABULARY = {"tiny": 512}


def config_of(shape: str) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        **LLAMA[shape], num_key_value_heads=8, vocab_size=VOCABULARY.get(shape, 32000), max_position_embeddings=8192,
        tie_word_embeddings=False,
    )  # fmt: skip


def build(shape: str, devices: list[torch.device]) -> Base:
    """Make the model's parts on their devices, and lay it over them."""
    from transformers import AutoModelForCausalLM

    register()
    config = config_of(shape)
    kind = torch.bfloat16 if devices[0].type == "cuda" else torch.float32
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=kind, attn_implementation=NAME)
    where = device_map(model, devices)
    rotary = type(model.model.rotary_emb)(config).to(devices[-1])
    for name, part in model.named_modules():
        if not list(part.children()) and list(part.parameters()):
            found = next((d for key, d in where.items() if key and f"{name}.".startswith(f"{key}.")), where[""])
            part.to_empty(device=found)
            torch.manual_seed(zlib.crc32(name.encode()))
            for weight in part.parameters():
                weight.data.normal_(0, 0.02) if weight.dim() > 1 else weight.data.fill_(1.0)
    model.model.rotary_emb = rotary
    model.eval().requires_grad_(False)
    return ready(Base(model, Path(shape), devices[-1], kind), devices=devices)


def write(shape: str, folder: Path) -> None:
    """Write a model of random weights, made on the first GPU where there is one, in bfloat16."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(choose_device()):
        model = AutoModelForCausalLM.from_config(config_of(shape), dtype=torch.bfloat16)
    model.save_pretrained(folder)


def from_disk(shape: str, devices: list[torch.device]) -> Base:
    """Load such a model over the devices and say what that takes; it is written by a process of its own."""
    import resource

    with tempfile.TemporaryDirectory() as name:
        subprocess.run([sys.executable, __file__, shape, name], check=True)
        size = sum(file.stat().st_size for file in Path(name).glob("*.safetensors")) / 1e9
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, wait(*devices)
        base = load(Path(name), "auto" if devices[0].type == "cuda" else "float32", devices=devices)
        seconds, more = wait(*devices) - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        f"from disk: {size:.1f} GB in {seconds:.0f} s, the process grew by {more * 1024 / 1e9:.1f} GB at most",
        flush=True,
    )
    return base


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
