"""A random twin of a model with two layers and every length of its attention cut: what 96 tokens cannot show."""

import copy
import re
from collections.abc import Iterator
from typing import Any

import torch

from iikata.model.attention.registry import NAME
from iikata.model.context_length import ropes
from iikata.model.exact import TOKENS

CUT = 16
LENGTHS = re.compile("window|chunk|block|compress|stride|segment|floor_scale|topk")
"""In the names of numbers of tokens from which on attention is another: windows, chunks, scales, choices of keys."""
ROPE = "original_max_position_embeddings"
SMALLER = {
    "vocab_size": 512, "vocab_size_per_layer_input": 512, "intermediate_size": 64, "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32, "num_kv_shared_layers": 0, "pad_token_id": 0,
}  # fmt: skip
"""What attention does not follow from, and what would take time."""
SPREAD = 0.05


def lengths(config: Any) -> Iterator[tuple[Any, str, int]]:
    """Yield where the configuration keeps a length that 96 tokens do not reach, by which name, and how long it is."""
    parts = ropes(config)
    found = [(vars(config), name, value) for name, value in vars(config).items() if LENGTHS.search(name)]
    found += [(part, ROPE, part.get(ROPE)) for part in (vars(config), *parts)]
    if any(part.get("rope_type") == "dynamic" for part in parts):
        found += [(vars(config), "max_position_embeddings", config.max_position_embeddings)]
    yield from ((holder, name, value) for holder, name, value in found if type(value) is int and value > TOKENS)


def make(decoder: Any, dtype: torch.dtype) -> Any:
    """Return the twin of a decoder, on its device."""
    device = next(decoder.parameters()).device
    config = _cut(decoder.config)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), device:
        torch.manual_seed(0)
        twin = type(decoder)._from_config(config, dtype=dtype, attn_implementation=NAME)
        with torch.no_grad():
            for weight in twin.parameters():  # a projection that starts as zero would hide what is before it
                weight.add_(torch.randn_like(weight), alpha=SPREAD)
    return twin.eval().requires_grad_(False)


def _cut(original: Any) -> Any:
    config = copy.deepcopy(original)
    layers = config.num_hidden_layers
    lists = {k: v for k, v in vars(config).items() if isinstance(v, list) and len(v) == layers}
    kinds = [tuple(str(v[i]) for v in lists.values()) for i in range(layers)]
    other = next((i for i in range(layers) if kinds[i] != kinds[0]), layers - 1)
    for name, values in lists.items():
        setattr(config, name, [values[0], values[other]])
    config.num_hidden_layers = 2
    for name, value in SMALLER.items():
        if type(getattr(config, name, None)) is int:
            setattr(config, name, min(value, getattr(config, name)))
    for holder, name, _ in list(lengths(config)):
        holder[name] = CUT
    return config
