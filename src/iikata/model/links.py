"""Copies between the devices of a base that lies on several, on streams of their own at both ends.

A plain `.to()` between two GPUs makes both wait for all that either has been asked for. Here the sender's copy waits
for the tensor alone, and the receiver waits for the copy where it takes it.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


@dataclass(frozen=True)
class Sent:
    """A tensor on its way."""

    tensor: Tensor
    arrived: torch.cuda.Event | None = None

    def take(self) -> Tensor:
        """Return the tensor; what its device is asked for from now on waits until it is there."""
        if self.arrived is not None:
            stream = torch.cuda.current_stream(self.tensor.device)
            stream.wait_event(self.arrived)
            self.tensor.record_stream(stream)
        return self.tensor

    def read(self) -> Tensor:
        """Return the tensor once it is there."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.tensor


def fetch(x: Tensor) -> Sent:
    """Copy `x` to the processor's memory without waiting for it."""
    if x.device.type != "cuda":
        return Sent(x.clone())
    here = torch.empty(x.shape, dtype=x.dtype, pin_memory=True).copy_(x, non_blocking=True)
    return Sent(here, torch.cuda.current_stream(x.device).record_event())


AHEAD = 8
"""Layers that a GPU is asked for ahead, some hundred kernels each way."""


class Pace:
    """Keeps a processor from asking a GPU for more than its queue of about a thousand kernels takes.

    Where that is full, asking stops until there is room, with Python's lock held, and every other GPU gets nothing.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.asked: deque[torch.cuda.Event] = deque()

    def keep(self, layer: torch.nn.Module, args: tuple[Any, ...]) -> None:
        """Wait, before a layer is run forward or backward, until the GPU is near; a hook of the layer."""
        if torch.cuda.is_current_stream_capturing():
            return
        self._wait()
        if args and args[0].requires_grad:
            args[0].register_hook(lambda gradient: self._wait())

    def _wait(self) -> None:
        self.asked.append(torch.cuda.current_stream(self.device).record_event())
        while len(self.asked) > AHEAD:
            self.asked.popleft().synchronize()


class Links:
    """The streams between each two devices, made when first used."""

    def __init__(self) -> None:
        self.streams: dict[tuple[torch.device, torch.device], tuple[torch.cuda.Stream, torch.cuda.Stream]] = {}
        self.pause: Callable[[torch.device], None] = lambda device: None
        """Is called where a stage or a copy begins; a test of the order delays them so."""

    def send(self, x: Tensor, target: torch.device) -> Sent:
        """Copy `x` to another device; on the same one it is the same tensor."""
        if x.device == target:
            return Sent(x)
        if x.device.type != "cuda" or target.type != "cuda":
            return Sent(x.to(target))
        out, into = self._between(x.device, target)
        out.wait_stream(torch.cuda.current_stream(x.device))
        with torch.cuda.stream(into), torch.cuda.stream(out):
            self.pause(x.device)
            copied = x.to(target, non_blocking=True)  # waits for the copies before it at both ends, and for no work
        x.record_stream(out)
        return Sent(copied, into.record_event())

    def carry(self, value: T, source: torch.device, target: torch.device) -> T:
        """Return a tensor, or a frozen dataclass of some, with what lies on `source` on `target`."""
        if source == target or value is None:
            return value
        if isinstance(value, Tensor):
            return self.send(value, target).take() if value.device == source else value  # type: ignore[return-value]
        if value == source:
            return target  # type: ignore[return-value]
        if not is_dataclass(value):
            return value
        moved: dict[str, Any] = {}
        for field in fields(value):
            if field.init:
                moved[field.name] = self.carry(getattr(value, field.name), source, target)
        return replace(value, **moved)  # type: ignore[type-var]

    def _between(self, source: torch.device, target: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
        found = self.streams.get((source, target))
        return found or self.streams.setdefault(
            (source, target), (torch.cuda.Stream(source), torch.cuda.Stream(target))
        )
