"""Keys and values of the rows in flight, in slots of fixed shape, and the layouts that read and write them.

Fixed shapes are what makes an answer independent of its neighbours: a row's bits change with the shape of the
batch, not with what the other rows hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from iikata.model.attention import Options, at_least_float32, attend_masked, causal_mask

KV = list[tuple[Tensor, Tensor]]
"""A layer each: keys and values [1, kv_heads, T, D]."""


@dataclass(frozen=True)
class Part:
    """One prompt's own tokens in a prefill buffer, and the keys and values they go on from."""

    start: int
    end: int
    before: KV | None


@dataclass
class Prefill:
    """Layout of prompts side by side in a buffer; keeps every prompt's keys and values. What no part covers is idle."""

    parts: Sequence[Part]
    kept: list[KV] = field(init=False)

    def __post_init__(self) -> None:
        self.kept = [[] for _ in self.parts]

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        out = torch.zeros_like(query)
        for part, kept in zip(self.parts, self.kept, strict=True):
            own = slice(part.start, part.end)
            own_key, own_value = key[:, :, own], value[:, :, own]
            if part.before is not None:
                shared_key, shared_value = part.before[layer]
                own_key, own_value = (
                    torch.cat([shared_key, own_key], dim=2),
                    torch.cat([shared_value, own_value], dim=2),
                )
            kept.append((own_key, own_value))
            mask = causal_mask(part.end - part.start, own_key.shape[2], options.window, query.device)
            out[:, :, own] = attend_masked(query[:, :, own], own_key, own_value, mask, options)
        return out


class Slots:
    """A static cache of `rows` slots of `length` tokens; decodes one token a row and call."""

    def __init__(self, rows: int, length: int) -> None:
        self.rows, self.length = rows, length
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self.used: Tensor | None = None
        """[rows] tokens each slot holds; the token being decoded is written there."""

    def put(self, row: int, kv: KV) -> None:
        """Fill slot `row` with a prompt's keys and values."""
        if not self.keys:
            for key, value in kv:
                shape = (self.rows, key.shape[1], self.length)
                self.keys.append(key.new_zeros(*shape, key.shape[3]))
                self.values.append(value.new_zeros(*shape, value.shape[3]))
            self.used = torch.zeros(self.rows, dtype=torch.long, device=kv[0][0].device)
        assert self.used is not None
        tokens = kv[0][0].shape[2]
        for layer, (key, value) in enumerate(kv):
            self.keys[layer][row, :, :tokens] = key[0]
            # A key is masked where it is old; a value counts zero times, and zero times inf or NaN is NaN.
            self.values[layer][row] = 0
            self.values[layer][row, :, :tokens] = value[0]
        self.used[row] = tokens

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        assert self.used is not None
        every = torch.arange(self.rows, device=query.device)
        keys, values = self.keys[layer], self.values[layer]
        keys[every, :, self.used] = key[:, :, 0]
        values[every, :, self.used] = value[:, :, 0]
        return _attend_one(query, keys, values, self.used, options)


def _attend_one(query: Tensor, keys: Tensor, values: Tensor, used: Tensor, options: Options) -> Tensor:
    """One query a row, [R, heads, 1, D], over [R, kv_heads, S, D]; batched products treat every slot alike."""
    rows, heads, _, width = query.shape
    kv_heads, length = keys.shape[1], keys.shape[2]
    grouped = query.reshape(rows * kv_heads, heads // kv_heads, width)
    scores = torch.bmm(grouped, keys.view(rows * kv_heads, length, width).transpose(1, 2))
    scores = at_least_float32(scores) * options.scale
    if options.softcap is not None:
        scores = torch.tanh(scores / options.softcap) * options.softcap
    place = torch.arange(length, device=query.device)
    seen = place[None] <= used[:, None]
    if options.window:
        seen &= used[:, None] - place[None] < options.window
    scores = scores.view(rows, kv_heads, -1, length).masked_fill(~seen[:, None, None], float("-inf"))
    weights = torch.softmax(scores, dim=-1).to(query.dtype).view(rows * kv_heads, -1, length)
    return torch.bmm(weights, values.view(rows * kv_heads, length, width)).view(rows, heads, 1, width)
