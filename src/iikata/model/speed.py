"""How fast this device is at what training does, measured in a moment, and what a token of training then takes."""

import time
from collections.abc import Callable

import torch

PASSES = {"cpu": 40.0, "cuda": 14.0}
"""How often what a token keeps is read or written in a step beside its products: fitted to the runs in
docs/performance.md, where CPU layers are not compiled."""
LAUNCH = {"cpu": 0.0, "cuda": 5e-3}
"""Seconds that asking for one layer's kernels takes, forward and backward; a GPU waits for it in small buffers."""


def seconds_a_token(
    parameters: int,
    width: int,
    inner: int,
    kept: int,
    layers: int,
    tokens: int,
    dtype: torch.dtype,
    device: torch.device,
) -> float:
    """Return the time of one computed token: two products a weight forward and two backward, and its activations.

    `width` and `inner` are the model's hidden and feed-forward sizes, `kept` the bytes a token keeps for its backward
    pass, `tokens` those of a buffer.
    """
    rate, bandwidth = _products(min(tokens, 8192), width, inner, dtype, device), _bandwidth(device)
    busy = 4 * parameters / rate + PASSES[device.type] * kept / bandwidth
    return max(busy, LAUNCH[device.type] * layers / tokens)


def _products(tokens: int, width: int, inner: int, dtype: torch.dtype, device: torch.device) -> float:
    """Return floating-point operations a second of the feed-forward product."""
    x, w = (torch.randn(shape, dtype=dtype, device=device) for shape in ((tokens, width), (inner, width)))
    return 2.0 * tokens * width * inner / _time(lambda: torch.nn.functional.linear(x, w), device)


def _bandwidth(device: torch.device) -> float:
    """Return bytes a second of a copy, read and written."""
    x = torch.randn(2**24 if device.type == "cpu" else 2**28, device=device)
    y = torch.empty_like(x)
    return 2.0 * x.numel() * x.itemsize / _time(lambda: y.copy_(x), device)


def _time(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of the fastest of a few runs, each long enough for the clock."""

    def run() -> float:
        start = time.perf_counter()
        for _ in range(5):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - start) / 5

    return min(run() for _ in range(5))
