"""How far raters agree beyond chance."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence


def krippendorff_alpha(units: Iterable[Sequence[Hashable]]) -> float | None:
    """Return Krippendorff's alpha for nominal values: 1 is full agreement, 0 what chance would give.

    A unit is what its raters said of it; one with fewer than two values tells nothing. None where no unit does; 1
    where all agree, though they know only one value. Krippendorff (2011), Computing Krippendorff's Alpha-Reliability.
    """
    shared = [unit for unit in units if len(unit) > 1]
    totals = Counter(value for unit in shared for value in unit)
    n = totals.total()
    if not n:
        return None
    apart = sum(_unlike(Counter(unit)) / (len(unit) - 1) for unit in shared)
    return 1 - (n - 1) * apart / _unlike(totals) if apart else 1.0


def _unlike(counts: Counter[Hashable]) -> int:
    """Return how many ordered pairs of values differ."""
    return counts.total() ** 2 - sum(count**2 for count in counts.values())
