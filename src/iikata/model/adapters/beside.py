"""Is what an adapter has beside its pairs (magnitudes, ends, whole modules) finite, and there in all its parts?"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from iikata.core.errors import IikataError
from iikata.model.adapters.adapter_config import AGAIN

BLOCKS, LEAST = 64, 8
"""Blocks that a matrix is cut into, none smaller than LEAST: single rows may be zero, as behind a ReLU that never
fires; a shard of up to 64 that is missing leaves a whole block."""
ENDS = ("embed", "lm_head")
MOST_EMPTY = 0.5
"""Of an end's rows that may be zero: those of tokens that nobody uses are, in some bases."""


def refuse_dead(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise IikataError where a tensor of `path` is not finite, or a part of it is zero that training never leaves so.

    Biases, norms and single tokens may be zero, and of an adapter on an embedding the columns of unseen tokens.
    """
    for name, held in tensors.items():
        tensor = held.float()
        if not bool(tensor.isfinite().all()):
            raise IikataError(f"{path}: {name} holds numbers that are not finite. {AGAIN}")
        if tensor.numel() and _is_dead(name, tensor):
            zero = float((tensor == 0).double().mean())
            raise IikataError(
                f"{path}: {zero:.1%} of {name} is zero, as where a sharded trainer saves a part alone. Nothing could "
                f"be concluded from such an adapter. {AGAIN}"
            )


def end_rows(path: Path) -> int:
    """Return how many tokens the ends that an adapter's file brings have; 0 where it brings none."""
    with safe_open(path, "pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    ends = (name for name in shapes if name.endswith(".weight") and "lora_" not in name)
    return max((shapes[name][0] for name in ends if any(end in name for end in ENDS)), default=0)


def dead_blocks(live: Tensor) -> Tensor:
    """Return the share of blocks of live [..., n] in which nothing is, [...]."""
    size = live.shape[-1]
    count = max(1, min(BLOCKS, size // LEAST))
    starts = np.arange(count) * size // count
    return 1 - torch.as_tensor(np.logical_or.reduceat(live.cpu().numpy(), starts, axis=-1).mean(axis=-1))


def _is_dead(name: str, tensor: Tensor) -> bool:
    if "lora_magnitude_vector" in name:
        return bool(dead_blocks(tensor.flatten() != 0))
    if "lora_embedding_B" in name and tensor.dim():
        return bool(dead_blocks(tensor.reshape(len(tensor), -1).any(dim=1)))
    if "lora_embedding_A" in name:
        return not bool(tensor.any())
    whole = tensor.dim() == 2 and "token_adapter.trainable" not in name and any(end in name for end in ENDS)
    return whole and float((~tensor.any(dim=1)).double().mean()) > MOST_EMPTY
