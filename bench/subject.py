"""What the benchmarks time: models of known shapes with random weights or from a folder, and the clock."""

import argparse
import gc
import time
from pathlib import Path
from typing import Any

import torch

from iikata.model.base import Base
from iikata.model.load import choose_device, choose_dtype, load, ready

SHAPES: dict[str, dict[str, Any]] = {
    "neox-3.6b": dict(
        kind="gpt_neox", vocab_size=32000, hidden_size=2816, intermediate_size=11264, num_hidden_layers=36,
        num_attention_heads=22, max_position_embeddings=2048, use_parallel_residual=False, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
    ),
    "smollm2-135m": dict(
        kind="llama", vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192, tie_word_embeddings=True,
    ),
    "tiny": dict(
        kind="llama", vocab_size=4096, hidden_size=128, intermediate_size=384, num_hidden_layers=4,
        num_attention_heads=4, max_position_embeddings=2048, tie_word_embeddings=True,
    ),
}  # fmt: skip


def open_model(args: argparse.Namespace) -> Any:
    """Return iikata's frozen model: of a folder, or of a shape with random weights."""
    device = choose_device()
    if args.model:
        return load(Path(args.model), "auto", device=device)
    from transformers import AutoConfig, AutoModelForCausalLM

    from iikata.model.attention.registry import NAME, register

    register()
    shape = dict(SHAPES[args.shape])
    config = AutoConfig.for_model(shape.pop("kind"), **shape)
    dtype = choose_dtype("auto", device)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=NAME)
    return ready(Base(model.eval().requires_grad_(False), Path(args.shape), device, dtype))


def wait() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def fresh() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
