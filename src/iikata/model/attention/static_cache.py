"""The layout of decoding: one new token a row, over keys and values in slots of fixed shape.

Fixed shapes are what makes an answer independent of its neighbours: a row's bits change with the shape of the
batch, not with what the other rows hold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from iikata.model.attention.registry import Options, attend_by_products
from iikata.model.kernels.operators import operator

AT_ONCE = 16
"""Slots that are filled at a time on CPU: what is copied on the way stays in the caches."""


@dataclass(frozen=True)
class LayerSlots:
    """One layer's slots: a layout for R rows side by side, as the tokens of one buffer."""

    keys: Tensor
    """[R, kv_heads, S, D]"""
    values: Tensor
    used: Tensor
    """[R] tokens each slot holds; the token being decoded is written there."""

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        rows = [x.squeeze(0).transpose(0, 1) for x in (query, key, value)]
        out = torch.ops.iikata.attend_slots(
            *rows, self.keys, self.values, self.used, options.sinks, options.scale, options.window or 0,
            options.softcap or 0.0,
        )  # fmt: skip
        return out.transpose(0, 1).unsqueeze(0)


@dataclass
class StaticKVCache:
    """A static cache of `rows` slots of `length` tokens in every layer."""

    rows: int
    length: int
    device: torch.device
    layers: list[LayerSlots] = field(default_factory=list)
    """Made when first filled: only then the shape of keys and values is known, and each layer's device."""
    carry: Callable[[Tensor, torch.device], Tensor] = Tensor.to
    """Copies a tensor to another device."""

    def __post_init__(self) -> None:
        self.used = torch.zeros(self.rows, dtype=torch.long, device=self.device)
        self.counters = {self.used.device: self.used}  # by its index too, which `device` may leave open
        """The same on every device that has layers."""

    def advance(self, device: torch.device) -> None:
        """Count a token more on one device; what an idle row goes on doing stays inside its slot."""
        self.counters[device].add_(1).clamp_(max=self.length - 1)

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        return self.layers[int(module.layer_idx)].attend(module, query, key, value, options)  # type: ignore[arg-type]

    def fill(self, rows: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], places: Tensor) -> None:
        """Fill slots `rows` [n] with prompts: their keys and values lie in a layer's [kv_heads, N, D] at `places`.

        `places` is [n, length] long; -1 is behind a prompt's end.
        """
        if not self.layers:
            for key, value in zip(keys, values, strict=True):
                own, others = (x.new_zeros(self.rows, x.shape[0], self.length, x.shape[2]) for x in (key, value))
                used = self.counters.setdefault(key.device, torch.zeros_like(self.used, device=key.device))
                self.layers.append(LayerSlots(own, others, used))
        at = {device: (self.carry(rows, device), self.carry(places, device)) for device in self.counters}
        for device, used in self.counters.items():
            used[at[device][0]] = (at[device][1] >= 0).sum(1)
        for layer, key, value in zip(self.layers, keys, values, strict=True):
            _fill(layer, at[key.device][0], key, value, at[key.device][1])


def _fill(layer: LayerSlots, rows: Tensor, key: Tensor, value: Tensor, places: Tensor) -> None:
    # DeepSeek's values are narrower than its keys, which the kernel does not know.
    if key.is_cuda and key.shape == value.shape and key.stride(-1) == value.stride(-1) == 1:
        from iikata.model.kernels import static_cache

        with torch.cuda.device(key.device):
            return static_cache.fill(layer.keys, layer.values, rows, key, value, places)
    for few in torch.arange(len(rows)).split(AT_ONCE):
        own, at, behind = rows[few], places[few].clamp(min=0), (places[few] < 0)[:, None, :, None]
        layer.keys.index_copy_(0, own, key[:, at].transpose(0, 1))
        # A key is masked where it is old; a value counts zero times, and zero times inf or NaN is NaN.
        layer.values.index_copy_(0, own, value[:, at].transpose(0, 1).masked_fill(behind, 0))
    return None


def _attend(
    query: Tensor, key: Tensor, value: Tensor, keys: Tensor, values: Tensor, used: Tensor, sinks: Tensor | None,
    scale: float, window: int, softcap: float,
) -> Tensor:  # fmt: skip
    """Write each row's key and value [R, kv_heads, D] to its slot and attend: query [R, heads, D] -> [R, heads, D]."""
    options = Options(scale, window, softcap or None, sinks)
    fits = query.itemsize == 2 and query.shape[-1] in (16, 32, 64, 128, 256) and query.shape[-1] == value.shape[-1]
    if query.is_cuda and fits and options.plain:
        from iikata.model.kernels import static_cache

        return static_cache.attend(query, key, value, keys, values, used, scale, window)
    every = torch.arange(len(used), device=query.device)
    keys[every, :, used] = key
    values[every, :, used] = value
    place = torch.arange(keys.shape[2], device=query.device)
    seen = place[None] <= used[:, None]
    if window:
        seen &= used[:, None] - place[None] < window
    return attend_by_products(query[:, :, None], keys, values, seen[:, None, None], options).squeeze(2)


operator(
    "attend_slots(Tensor query, Tensor key, Tensor value, Tensor(a!) keys, Tensor(b!) values, Tensor used, "
    "Tensor? sinks, float scale, int window, float softcap) -> Tensor",
    _attend,
    lambda query, key, value, *rest: query.new_empty(*query.shape[:-1], value.shape[-1]),
)
