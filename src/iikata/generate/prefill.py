"""Prompts into keys, values and first logits: side by side in buffers, a template's first tokens computed once."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iikata.model.attention.limits import TOKENS, Limits, Room
from iikata.model.attention.packed import Group, Span
from iikata.model.attention.registry import Kept, Layout, Options, attend_masked, causal_mask
from iikata.model.attention.varlen import lay_out
from iikata.model.base import NEAR, Base
from iikata.model.buffers import ROUND, Ids, to_device
from iikata.model.graphs import Graphs

EIGHT = 8
"""With several threads, float32 products over another number of rows give a row bits that change with its position."""

Hidden = Callable[[Tensor, Tensor, Tensor, Layout], Tensor]
"""Runs the model: ids [1, T], positions [1, T], each token's arm [T], layout -> hidden states [T, D]."""


@dataclass(frozen=True)
class Prompt:
    """One prompt of one arm."""

    arm_index: int
    """Which arm, -1 for the base."""
    ids: Ids
    prefix: Ids
    """What it begins with and shares with others."""


@dataclass(frozen=True)
class Prefilled:
    """Prompts that went through the model together."""

    keys: list[Tensor]
    """[kv_heads, N, D] a layer."""
    values: list[Tensor]
    token_index: Tensor
    """[prompts, slot length] where among the N each prompt's tokens are; -1 behind its end."""
    logits: Tensor
    """[prompts, V] of each prompt's next token."""


@dataclass(frozen=True)
class _Apart:
    """Layout of prompts in a buffer, each attended to alone, after what it goes on from."""

    spans: Sequence[Span]
    before: Sequence[Kept | None]

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        out = query.new_zeros(*query.shape[:3], value.shape[3])
        for (start, end), before in zip(self.spans, self.before, strict=True):
            own_key, own_value = key[:, :, start:end], value[:, :, start:end]
            if before is not None:
                own_key = torch.cat([before.keys[layer][None], own_key], dim=2)
                own_value = torch.cat([before.values[layer][None], own_value], dim=2)
            mask = causal_mask(end - start, own_key.shape[2], options.window, query.device)
            out[:, :, start:end] = attend_masked(query[:, :, start:end], own_key, own_value, mask, options)
        return out


class _Filling:
    """A buffer's tokens, their positions and arms while it grows."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.arm_index: list[int] = []

    def write(self, arm: int, tokens: Ids, position: int) -> Span:
        start = len(self.ids)
        self.ids += tokens
        self.positions += range(position, position + len(tokens))
        self.arm_index += [arm] * len(tokens)
        return start, len(self.ids)

    def fill(self, size: int) -> None:
        for values, idle in ((self.ids, 0), (self.positions, 0), (self.arm_index, -1)):
            values += [idle] * (size - len(values))

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return ids [1, T], positions [1, T] and each token's arm [T]."""
        ids, positions, arm_index = (to_device(x, device) for x in (self.ids, self.positions, self.arm_index))
        return ids[None], positions[None], arm_index


class Prefill:
    """Runs prompts in buffers of fixed size, so that a prompt's bits do not follow its company."""

    shares = True
    """Whether prompts may begin with what they share with others."""

    def __init__(self, base: Base, hidden: Hidden, size: int, length: int) -> None:
        self.base, self.hidden, self.size, self.length = base, hidden, size, length
        self.shared: dict[tuple[int, Ids], Kept] = {}

    def run(self, prompts: Sequence[Prompt]) -> Prefilled:
        """Run prompts whose own tokens together fit `size`, or one prompt of any length."""
        for prompt in prompts:
            if prompt.prefix and (prompt.arm_index, prompt.prefix) not in self.shared:
                alone = Prompt(prompt.arm_index, prompt.prefix, ())
                self.shared[prompt.arm_index, prompt.prefix] = self._forward([alone], len(prompt.prefix))[0]
        own = sum(len(prompt.ids) - len(prompt.prefix) for prompt in prompts)
        kept, spans, hidden = self._forward(prompts, self.size if own <= self.size else EIGHT * -(-own // EIGHT))
        # One head product a prompt: over several, a prompt's bits would follow their number.
        logits = torch.cat([self.base.logits(hidden[end - 1 : end]) for _, end in spans])
        return self._joined(prompts, kept, spans, logits)

    def _forward(self, prompts: Sequence[Prompt], size: int) -> tuple[Kept, list[Span], Tensor]:
        row, spans = _Filling(), []
        for prompt in prompts:
            spans.append(row.write(prompt.arm_index, prompt.ids[len(prompt.prefix) :], len(prompt.prefix)))
        row.fill(size)
        kept = Kept(_Apart(spans, [self.shared.get((prompt.arm_index, prompt.prefix)) for prompt in prompts]))
        return kept, spans, self.hidden(*row.tensors(self.base.device), kept)

    def _joined(self, prompts: Sequence[Prompt], kept: Kept, spans: Sequence[Span], logits: Tensor) -> Prefilled:
        """Put the prefixes that these prompts go on from in front of the buffer's own tokens."""
        used = list(dict.fromkeys((prompt.arm_index, prompt.prefix) for prompt in prompts if prompt.prefix))
        starts, at = {}, 0
        for name in used:
            starts[name], at = at, at + len(name[1])
        places = []
        for prompt, (start, end) in zip(prompts, spans, strict=True):
            first = starts.get((prompt.arm_index, prompt.prefix), 0)
            places.append([*range(first, first + len(prompt.prefix)), *range(at + start, at + end)])
        before = [self.shared[name] for name in used]
        keys = [torch.cat([*(b.keys[i] for b in before), key], dim=1) for i, key in enumerate(kept.keys)]
        values = [torch.cat([*(b.values[i] for b in before), value], dim=1) for i, value in enumerate(kept.values)]
        return Prefilled(keys, values, _padded(places, self.length, self.base.device), logits)


class FlashPrefill:
    """Runs prompts in one buffer for flash kernels, with what they share in that buffer.

    Where asking for kernels is what takes the time, buffers are filled up, so that one graph serves all of them; then
    what is filled in holds until the next is.
    """

    def __init__(self, base: Base, hidden: Hidden, size: int, length: int) -> None:
        self.base, self.hidden, self.length = base, hidden, length
        # As the layers see it, whose limit is rounded up.
        self.window = base.window_within(Limits.over(length, 1, 1).longest)
        self.shares = self.window <= NEAR
        self.room = Room(size) if base.asking_bound else None
        self.graphs = Graphs(base.device, "reading prompts")

    def run(self, prompts: Sequence[Prompt]) -> Prefilled:
        row, groups = _Filling(), []
        places: list[list[int]] = [[] for _ in prompts]
        by_prefix = defaultdict(list)
        for index, prompt in enumerate(prompts):
            by_prefix[prompt.arm_index, prompt.prefix].append(index)
        for (arm, prefix), members in by_prefix.items():
            shared = row.write(arm, prefix, 0)
            suffixes = [row.write(arm, prompts[index].ids[len(prefix) :], len(prefix)) for index in members]
            groups.append(Group(shared, tuple(suffixes)))
            for index, suffix in zip(members, suffixes, strict=True):
                places[index] = [*range(*shared), *range(*suffix)]
        used = len(row.ids)
        row.fill(self.room.of(TOKENS, used, ROUND) if self.room else used + -used % ROUND)
        limits = Limits.over(self.length, len(row.ids), self.length)
        layout = lay_out(groups, len(row.ids), limits, self.base.device, self.room, self.window)
        given = (*row.tensors(self.base.device), layout)
        hidden, keys, values = self.graphs(self._through, given) if self.room else self._through(given)
        last = to_device([place[-1] for place in places], self.base.device)
        where = _padded(places, self.length, self.base.device)
        return Prefilled(keys, values, where, self.base.logits(hidden[last]))

    def _through(self, given: tuple[Tensor, Tensor, Tensor, Layout]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        ids, positions, arm_index, layout = given
        kept = Kept(layout)
        return self.hidden(ids, positions, arm_index, kept), kept.keys, kept.values


def _padded(places: Sequence[Sequence[int]], length: int, device: torch.device) -> Tensor:
    flat = [place for own in places for place in (*own, *[-1] * (length - len(own)))]
    return to_device(flat, device).view(len(places), length)
