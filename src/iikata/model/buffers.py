"""Pack whole samples into one row of tokens without padding, their shared first tokens once."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TypeVar

import torch
from torch import Tensor

from iikata.core.encoded import Encoded
from iikata.model.adapters.dropout import noise
from iikata.model.attention.limits import TOKENS, Limits, Room
from iikata.model.attention.packed import Group, Packed
from iikata.model.attention.registry import Layout
from iikata.model.attention.varlen import lay_out, to_device

Ids = tuple[int, ...]
T = TypeVar("T")

BUCKET = 256
"""Where several arms share a buffer, each one's tokens are filled up to a multiple of this: a bucket has one arm."""
ROUND = 128
"""Where compiled kernels run, a buffer's tokens are filled up to a multiple of this."""
LOSSES = 256
"""And where a buffer is filled up to a room, its loss tokens to one of this."""


@dataclass(frozen=True)
class Part:
    """What one arm has in a buffer."""

    samples: Sequence[Encoded]
    prefixes: Sequence[Ids]
    arm: int = 0
    """Which of the arms in the buffer."""
    dropout_seed: int | None = None
    """Names the stream of the part's dropout masks; None for none."""


@dataclass(frozen=True)
class Buffer:
    """T packed tokens. Only the listed targets carry loss."""

    input_ids: Tensor
    """[1, T]"""
    positions: Tensor
    """[1, T], restarting with every sample."""
    layout: Layout
    loss_positions: Tensor
    """[L] where in the buffer each loss token is predicted (one before the token itself)."""
    targets: Tensor
    """[L] the loss tokens' ids."""
    sample_index: Tensor
    """[L] which sample (index over all parts' samples) each loss token belongs to; -1 is filling."""
    arms: Tensor
    """[L] the arm of each loss token's part."""
    buckets: Tensor | None
    """[T / BUCKET] the arm of each bucket; None where one arm has the whole buffer."""
    noise: Tensor | None
    """[T] a stream of dropout a token."""


def longest_prefix(ids: Sequence[int], prefixes: Sequence[Ids]) -> Ids:
    """Return the longest of `prefixes` that `ids` begins with and goes on from, else ()."""
    fits = [p for p in prefixes if len(p) < len(ids) and tuple(ids[: len(p)]) == p]
    return max(fits, key=len, default=())


def computed(sample: Encoded, prefixes: Sequence[Ids]) -> int:
    """Return how many tokens of `sample` are computed for it alone."""
    return len(sample.input_ids) - len(_shared(sample, prefixes))


def split(samples: Sequence[Encoded], prefixes: Sequence[Ids], size: int) -> Iterator[list[Encoded]]:
    """Yield consecutive samples in as few parts of like size as fit `size` tokens; one longer sample stands alone."""
    room = max(1, size - sum(map(len, prefixes)))
    return evenly(samples, [computed(sample, prefixes) for sample in samples], room)


def evenly(items: Iterable[T], costs: Sequence[float], size: float) -> Iterator[list[T]]:
    """Yield consecutive items in as few parts of like cost as fit `size`; one costlier item stands alone."""
    aim = sum(costs) / max(1, math.ceil(sum(costs) / size))
    part: list[T] = []
    used = before = 0.0
    cuts = 0
    for item, cost in zip(items, costs, strict=True):
        # Cut where the sum of all items so far is nearest to the next multiple of the aim.
        if part and (used + cost > size or before + cost / 2 > aim * (cuts + 1)):
            yield part
            part, used, cuts = [], 0.0, cuts + 1
        part.append(item)
        used += cost
        before += cost
    if part:
        yield part


def pack(
    parts: Sequence[Part], device: torch.device, limits: Limits | None = None, bucketed: bool = False,
    room: Room | None = None, window: int = 0,
) -> Buffer:  # fmt: skip
    """Pack the parts into one buffer: for flash kernels where there are limits, in buckets where several arms share it.

    A prefix under a loss token is not shared: each sample owns its loss. With limits, tensors may be filled up to a
    `room`, in which the last part's arm has the idle tokens. `window` as for `lay_out`.
    """
    made = _Making()
    multiple = BUCKET if bucketed else ROUND if limits is not None else 1
    for part in parts:
        made.add(part)
        made.fill(multiple, part)
    if room is not None:
        made.fill_losses(room)
        made.fill(room.of(TOKENS, len(made.ids), BUCKET), parts[-1])
    groups, tokens = tuple(made.groups), len(made.ids)
    flash = limits and lay_out(groups, tokens, limits, device, room, window)
    streams = [noise(seed, length, device) for seed, length in made.streams if seed is not None]
    return Buffer(
        input_ids=to_device(made.ids, device).unsqueeze(0),
        positions=to_device(made.positions, device).unsqueeze(0),
        layout=flash or Packed(groups, tokens, device),
        loss_positions=to_device(made.loss_positions, device),
        targets=to_device(made.targets, device),
        sample_index=to_device(made.sample_index, device),
        arms=to_device(made.arms, device),
        buckets=to_device(made.buckets, device) if bucketed else None,
        noise=torch.cat(streams) if streams else None,
    )


class _Making:
    """A buffer's lists while it grows."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.groups: list[Group] = []
        self.loss_positions: list[int] = []
        self.targets: list[int] = []
        self.sample_index: list[int] = []
        self.arms: list[int] = []
        self.buckets: list[int] = []
        self.streams: list[tuple[int | None, int]] = []
        self.samples = 0

    def add(self, part: Part) -> None:
        by_prefix: dict[Ids, list[int]] = {}
        known = set(part.prefixes)
        lengths = sorted(set(map(len, known)), reverse=True)
        for index, sample in enumerate(part.samples):
            # A part may know as many prefixes as it has probes: of each length there can be only one that fits.
            begun = (tuple(sample.input_ids[:n]) for n in lengths if n < len(sample.input_ids))
            prefix = next((begin for begin in begun if begin in known), ())
            by_prefix.setdefault(_without_loss(sample, prefix), []).append(index)
        for prefix, members in by_prefix.items():
            start = len(self.ids)
            self._write(prefix, 0)
            suffixes = [self._suffix(part.samples[index], prefix, start, self.samples + index) for index in members]
            self.groups.append(Group((start, start + len(prefix)), tuple(suffixes)))
        self.samples += len(part.samples)
        self.arms += [part.arm] * (len(self.loss_positions) - len(self.arms))

    def _write(self, ids: Sequence[int], position: int) -> None:
        self.ids += ids
        self.positions += range(position, position + len(ids))

    def _suffix(self, sample: Encoded, prefix: Ids, start: int, row: int) -> tuple[int, int]:
        shared, begin = len(prefix), len(self.ids)
        self._write(sample.input_ids[shared:], shared)
        targets = _loss_tokens(sample)
        predicting = [begin - shared - 1 + target for target in targets]
        if shared and targets and targets[0] == shared:
            predicting[0] = start + shared - 1  # by the last token of the shared prefix
        self.loss_positions += predicting
        self.targets += [sample.input_ids[target] for target in targets]
        self.sample_index += [row] * len(targets)
        return begin, len(self.ids)

    def fill(self, multiple: int, part: Part) -> None:
        idle = -len(self.ids) % multiple
        self.ids += [0] * idle
        self.positions += [0] * idle
        self.buckets += [part.arm] * (len(self.ids) // BUCKET - len(self.buckets))
        self.streams.append((part.dropout_seed, len(self.ids) - sum(length for _, length in self.streams)))

    def fill_losses(self, room: Room) -> None:
        count = len(self.loss_positions)
        idle = room.of("losses", count, LOSSES) - count
        self.loss_positions += self.loss_positions[:1] * idle
        self.targets += self.targets[:1] * idle
        self.sample_index += [-1] * idle
        self.arms += self.arms[:1] * idle


def _shared(sample: Encoded, prefixes: Sequence[Ids]) -> Ids:
    return _without_loss(sample, longest_prefix(sample.input_ids, prefixes))


def _without_loss(sample: Encoded, prefix: Ids) -> Ids:
    return () if any(sample.completion_mask[: len(prefix)]) else prefix


def _loss_tokens(sample: Encoded) -> list[int]:
    # Nothing predicts a sample's first token, whatever its mask says.
    return list(compress(range(1, len(sample.input_ids)), sample.completion_mask[1:]))
