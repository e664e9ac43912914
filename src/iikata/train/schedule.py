"""The learning rate at each step."""

import math


def rate(step: int, steps: int, peak: float, warmup: int, kind: str) -> float:
    """Return the rate of optimizer step `step` (from 0) of `steps`.

    As in transformers' schedulers: linear warm-up from 0 over `warmup` steps, then `linear` or `cosine` decay to 0,
    or `constant`.
    """
    if step < warmup:
        return peak * step / max(1, warmup)
    progress = (step - warmup) / max(1, steps - warmup)
    if kind == "constant":
        return peak
    if kind == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    return peak * max(0.0, 1 - progress)
