"""Write a metric's numbers the way people read them: rates in percent, the rest with about three digits."""

import math
from collections.abc import Mapping
from typing import Any


def is_rate(metric: Any) -> bool:
    """Return whether the metric is a share between 0 and 1; None is a number without a metric."""
    return metric is not None and tuple(metric.bounds or ()) == (0, 1)


def value(number: float | None, metric: Any) -> str:
    """Return a level: `94.2%` of a rate, else `0.812`; a dash where there is none."""
    if number is None or not math.isfinite(number):
        return "–"
    return percent(number) if is_rate(metric) else _digits(number)


def percent(share: float) -> str:
    """Return a share between 0 and 1 as `94.2%`."""
    return f"{100 * share:.1f}%"


def correlation(number: float) -> str:
    """Return a coefficient with its sign where it is negative: `0.62`."""
    return f"{number:.2f}".replace("-", "−")


def difference(number: float | None, metric: Any) -> str:
    """Return a signed difference: `+3.1 pt` (percentage points) of a rate, else `−0.012`."""
    if number is None or not math.isfinite(number):
        return "–"
    text = f"{_digits(100 * number, 1, '+')} pt" if is_rate(metric) else _digits(number, sign="+")
    return text.replace("-", "−")


def interval(ends: Any, metric: Any) -> str:
    """Return `[−0.012, +0.034]`, or nothing where there is none."""
    return f"[{difference(ends[0], metric)}, {difference(ends[1], metric)}]" if ends else ""


def span(ends: Any, metric: Any) -> str:
    """Return an interval of a level: `[0.812, 0.834]`."""
    return f"[{value(ends[0], metric)}, {value(ends[1], metric)}]"


def tick(number: float, metric: Any) -> str:
    """Return a mark of an axis, in the unit of `difference`, with no digit too many."""
    return f"{100 * number if is_rate(metric) else number:.6g}".replace("-", "−")


def p_value(number: float | None) -> str:
    """Return a p value with the digits that matter."""
    if number is None:
        return "–"
    return "< 0.001" if number < 0.001 else f"{number:.3f}"


def seconds(number: float | None) -> str:
    """Return a time as `41 s`, `3 min 20 s` or `2 h 5 min`."""
    if number is None:
        return "–"
    if number < 60:
        return f"{number:.1f} s" if number < 10 else f"{number:.0f} s"
    minutes, rest = divmod(round(number), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(number: float | None) -> str:
    """Return bytes as `812 MB` or `3.1 GB` (powers of ten)."""
    if number is None:
        return "–"
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def speed(cost: Mapping[str, Any]) -> float | None:
    """Return the tokens a second of a stage, or None where either is not known."""
    tokens, seconds = cost.get("tokens"), cost.get("seconds")
    return tokens / seconds if tokens and seconds else None


def count(number: float | None) -> str:
    """Return a whole number with thousands apart."""
    return "–" if number is None else f"{number:,.0f}"


def _digits(number: float, decimals: int = 3, sign: str = "") -> str:
    if 0 < abs(number) < 0.5 * 10**-decimals:
        return f"{number:{sign}.1g}"  # An end of an interval just off zero must not read as zero.
    wanted = 0 if abs(number) >= 100 else 1 if abs(number) >= 5 else decimals
    return f"{number:{sign}.{wanted}f}"
