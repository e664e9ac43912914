"""The layout of packed samples for flash kernels: no sample is padded, and tensors alone say who sees whom."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat

import numpy as np
import torch
from torch import Tensor, nn

from iikata.model.attention.flash import attend_packed
from iikata.model.attention.limits import Limits, Room
from iikata.model.attention.packed import Group
from iikata.model.attention.registry import Options, Unsupported
from iikata.model.attention.tiles import Sees, Span, joined, shared_tiles, tiles


@dataclass(frozen=True)
class Varlen:
    """Layout of one buffer of T tokens; the words are those of `attend_packed`."""

    own: Tensor
    tiles: Tensor
    shared_tiles: Tensor
    asks: Tensor
    sees: Tensor
    places: Tensor
    near_sees: Tensor
    """[n + 1] int32: where a window ends inside samples that share keys, the keys that each sequence of `own` sees."""
    near_places: Tensor
    """Those keys: of the shared ones the last that a window reaches, then the sequence's own."""
    most: Tensor
    """The limits' numbers on CPU: a tensor, since compiled layers would be compiled again for other numbers."""
    limits: Limits
    reach: int
    """The widest window that `near_places` are listed for."""

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        query, key, value = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))
        # A window that is wider than every sample hides nothing.
        window = options.window if options.window is not None and options.window < self.limits.longest else 0
        shared = (self.asks, self.sees, self.places)
        if window and self.places.numel():
            if window > self.reach:
                raise Unsupported(f"a layer has a window of {window} tokens, config.json one of {self.reach}")
            shared = (self.own, self.near_sees, self.near_places)
        out = attend_packed(
            # Of a fused product's values a copy: kept as they are, they would keep its queries and keys alive too.
            query, key, value.contiguous(), self.own, self.tiles, self.shared_tiles, *shared, self.most, options.scale,
            window,
        )  # fmt: skip
        return out.transpose(0, 1).unsqueeze(0)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that differs in length from buffer to buffer."""
        lists = (self.own, self.tiles, self.shared_tiles, self.asks, self.sees, self.places)
        return *lists, self.near_sees, self.near_places


def lay_out(
    groups: Sequence[Group], tokens: int, limits: Limits, device: torch.device, room: Room | None = None,
    window: int = 0,
) -> Varlen:  # fmt: skip
    """Return the layout of a buffer of `tokens` tokens; what no group covers is filling, seen by nobody.

    `window`: that of layers in which it ends inside these samples, 0 for none.
    """
    sequences = _sequences(groups, tokens, limits.longest)
    ranges = _ranges(sequences, limits.part)
    shared = [keys for _, keys in ranges]
    lists = (
        [0, *(end for (_, end), _ in sequences)],
        [*tiles(sequences)],
        [*shared_tiles(ranges)],
        [0, *(end for (_, end), _ in ranges)],
        [0, *accumulate(high - low for low, high in shared)],
    )
    places = _places(shared)
    near_sees, near_places = _near(sequences, window) if window and places else ([], _places([]))
    if room is not None:
        for number, values in enumerate((*lists, places, near_places)):
            # Tiles without tokens, sequences that end where they begin, shared keys that nobody asks for.
            idle = 0 if number in (1, 2, 5, 6) else values[-1]
            if near_places or number < 6:
                values.extend(repeat(idle, room.of(str(number), len(values), 5) - len(values)))
        near_sees += near_sees[-1:] * (len(lists[0]) - len(near_sees))
    own, queries, keys, asks, sees, near_ends = (to_device(x, device, torch.int32) for x in (*lists, near_sees))
    most = torch.tensor([limits.longest, limits.part, limits.longest_prefix])
    rest = (to_device(places, device), near_ends, to_device(near_places, device), most, limits, window)
    return Varlen(own, queries, keys, asks, sees, *rest)


def _sequences(groups: Sequence[Group], tokens: int, longest: int) -> list[Sees]:
    """Return every sequence and the shared keys it sees, in the buffer's order; filling is cut to `longest` tokens."""
    found = [(group.prefix, (0, 0)) for group in groups if group.prefix[1] > group.prefix[0]]
    found += [(suffix, group.prefix) for group in groups for suffix in group.suffixes]
    at, whole = 0, []
    for span, shared in [*sorted(found), ((tokens, tokens), (0, 0))]:
        whole += [((a, min(a + longest, span[0])), (0, 0)) for a in range(at, span[0], longest)]
        if span[1] > span[0]:
            whole.append((span, shared if shared[1] > shared[0] else (0, 0)))
        at = span[1]
    return whole


def _places(spans: Iterable[Span]) -> "array[int]":
    """Return every place of the spans: millions, where each of many choices reaches back by a window."""
    return array("q", b"".join(np.arange(*span, dtype=np.int64).tobytes() for span in spans))


def _near(sequences: Sequence[Sees], window: int) -> tuple[list[int], "array[int]"]:
    """Return the ends of the keys that each sequence sees within a window, and where these lie: shared, then own."""
    seen = [((max(low, high - window + 1), high), span) for span, (low, high) in sequences]
    ends = accumulate(high - low + end - start for (low, high), (start, end) in seen)
    return [0, *ends], _places(span for spans in seen for span in spans)


def _ranges(sequences: Sequence[Sees], part: int) -> list[Sees]:
    """Join sequences next to each other that see the same shared keys, up to `part` tokens."""

    def fits(some: list[Sees], one: Sees) -> bool:
        return some[0][1] == one[1] and one[0][1] - some[0][0][0] <= part

    return [((some[0][0][0], some[-1][0][1]), some[0][1]) for some in joined(sequences, fits)]


def to_device(values: Sequence[int], device: torch.device, kind: torch.dtype = torch.long) -> Tensor:
    """Return `values` as a tensor on `device`, without waiting for the copy."""
    tensor = torch.from_numpy(np.array(values, dtype=np.int64)).to(kind)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
