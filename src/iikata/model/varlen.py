"""The layout of packed samples for flash kernels: no sample is padded, and tensors alone say who sees whom."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iikata.model.attention import Options
from iikata.model.flash import attend_packed
from iikata.model.packed import Group, Span


@dataclass(frozen=True)
class Limits:
    """The most that any buffer of a run holds: kernels are launched for, and compiled with, these numbers."""

    longest: int
    """Tokens of the longest sample."""
    part: int
    """Tokens that one arm has in one buffer."""
    longest_prefix: int

    @classmethod
    def over(cls, longest: int, part: int, longest_prefix: int) -> "Limits":
        """Return powers of two, so that other rows seldom mean other numbers."""
        return cls(*(1 << max(5, (most - 1).bit_length()) for most in (longest, part, longest_prefix)))


@dataclass(frozen=True)
class Varlen:
    """Layout of one buffer of T tokens; the words are those of `attend_packed`."""

    own: Tensor
    asks: Tensor
    sees: Tensor
    places: Tensor
    limits: Limits

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        query, key, value = (x.squeeze(0).transpose(0, 1) for x in (query, key, value))
        most = self.limits
        # A window that is wider than every sample hides nothing.
        window = options.window if options.window is not None and options.window < most.longest else 0
        out, _ = attend_packed(
            query, key, value, self.own, most.longest, self.asks, self.sees, self.places, most.part,
            most.longest_prefix, options.scale, window,
        )  # fmt: skip
        return out.transpose(0, 1).unsqueeze(0)


def lay_out(groups: Sequence[Group], tokens: int, limits: Limits, device: torch.device) -> Varlen:
    """Return the layout of a buffer of `tokens` tokens; what no group covers is filling, seen by nobody."""
    own, asks, sees, places = [0], [0], [0], []
    for start, end, prefix in _pieces(groups, tokens):
        if prefix is None:
            own += [*range(start + limits.longest, end, limits.longest), end]
        else:
            own.append(end)
        # Queries next to each other that see the same shared keys ask together.
        if prefix is not None and prefix[1] > prefix[0]:
            new = not places or places[-1] != prefix[1] - 1 or asks[-1] != start
            if new:
                places += range(*prefix)
                asks.append(end)
                sees.append(len(places))
            else:
                asks[-1] = end
        elif len(asks) > 1 and sees[-1] == sees[-2] and end - asks[-2] <= limits.part:
            asks[-1] = end
        else:
            asks.append(end)
            sees.append(sees[-1])
    ends = (sent(values, device, torch.int32) for values in (own, asks, sees))
    return Varlen(*ends, sent(places, device), limits)


def _pieces(groups: Sequence[Group], tokens: int) -> list[tuple[int, int, Span | None]]:
    """Return (start, end, prefix seen) in the buffer's order; None is filling, an empty prefix is none."""
    found: list[tuple[int, int, Span | None]] = []
    for group in groups:
        if group.prefix[1] > group.prefix[0]:
            found.append((*group.prefix, (0, 0)))
        found += [(*suffix, group.prefix) for suffix in group.suffixes]
    found.sort()
    at, whole = 0, []
    for start, end, prefix in found:
        if start > at:
            whole.append((at, start, None))
        whole.append((start, end, prefix))
        at = end
    return [*whole, (at, tokens, None)] if tokens > at else whole


def sent(values: list, device: torch.device, kind: torch.dtype = torch.long) -> Tensor:  # type: ignore[type-arg]
    """Return `values` as a tensor on `device`, without waiting for the copy."""
    tensor = torch.tensor(values, dtype=kind)
    if device.type == "cuda":
        tensor = tensor.pin_memory().to(device, non_blocking=True)
    # The last dimension changes from buffer to buffer; the compiled layers must not care.
    torch._dynamo.maybe_mark_dynamic(tensor, tensor.dim() - 1)
    return tensor
