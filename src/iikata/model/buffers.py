"""Pack whole samples into one row of tokens without padding, their shared first tokens once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from iikata.model.packed import Group, Packed
from iikata.records import Encoded

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Buffer:
    """T packed tokens. Only the listed targets carry loss."""

    input_ids: Tensor
    """[1, T]"""
    positions: Tensor
    """[1, T], restarting with every sample."""
    layout: Packed
    at: Tensor
    """[L] where in the buffer each loss token is predicted (one before the token itself)."""
    targets: Tensor
    """[L] the loss tokens' ids."""
    rows: Tensor
    """[L] which sample (index into `samples`) each loss token belongs to."""
    samples: tuple[Encoded, ...]


def longest_prefix(ids: Sequence[int], prefixes: Sequence[Ids]) -> Ids:
    """Return the longest of `prefixes` that `ids` begins with and goes on from, else ()."""
    fits = [p for p in prefixes if len(p) < len(ids) and tuple(ids[: len(p)]) == p]
    return max(fits, key=len, default=())


def split(samples: Sequence[Encoded], size: int) -> Iterator[list[Encoded]]:
    """Yield consecutive samples whose lengths add up to at most `size` tokens; one longer sample stands alone."""
    part: list[Encoded] = []
    used = 0
    for sample in samples:
        if part and used + len(sample.input_ids) > size:
            yield part
            part, used = [], 0
        part.append(sample)
        used += len(sample.input_ids)
    if part:
        yield part


def pack(samples: Sequence[Encoded], prefixes: Sequence[Ids], device: torch.device) -> Buffer:
    """Pack `samples` into one buffer. A prefix under a loss token is not shared: each sample owns its loss."""
    by_prefix: dict[Ids, list[int]] = {}
    for index, sample in enumerate(samples):
        prefix = longest_prefix(sample.input_ids, prefixes)
        shared = () if any(sample.completion_mask[: len(prefix)]) else prefix
        by_prefix.setdefault(shared, []).append(index)
    ids: list[int] = []
    positions: list[int] = []
    groups, at, targets, rows = [], [], [], []
    for prefix, members in by_prefix.items():
        start = len(ids)
        ids += prefix
        positions += range(len(prefix))
        suffixes = []
        for index in members:
            sample, shared_length, begin = samples[index], len(prefix), len(ids)
            ids += sample.input_ids[shared_length:]
            positions += range(shared_length, len(sample.input_ids))
            suffixes.append((begin, len(ids)))
            for place in _loss_places(sample):
                # The first token of a suffix is predicted by the last token of the shared prefix.
                at.append(begin + place - 1 - shared_length if place > shared_length else start + shared_length - 1)
                targets.append(sample.input_ids[place])
                rows.append(index)
        groups.append(Group((start, start + len(prefix)), tuple(suffixes)))
    return Buffer(
        input_ids=torch.tensor([ids], device=device),
        positions=torch.tensor([positions], device=device),
        layout=Packed(tuple(groups), device),
        at=torch.tensor(at, dtype=torch.long, device=device),
        targets=torch.tensor(targets, dtype=torch.long, device=device),
        rows=torch.tensor(rows, dtype=torch.long, device=device),
        samples=tuple(samples),
    )


def _loss_places(sample: Encoded) -> list[int]:
    # Nothing predicts a sample's first token, whatever its mask says.
    return [place for place, counted in enumerate(sample.completion_mask) if counted and place > 0]
