"""A margin as people write it: a number, or a share of what tuning gains."""

import re

SHARE = r"\d+(\.\d+)?\s*% of gain"
ALLOWED = 'a number above 0, or a share of what tuning gains, as "10% of gain"'


def share_of_gain(margin: float | str) -> float | None:
    """Return 0.1 for "10% of gain", None for a number; raises ValueError for another text."""
    if not isinstance(margin, str):
        return None
    share = float(margin.partition("%")[0]) / 100 if re.fullmatch(SHARE, margin) else 0.0
    if not 0 < share < 1:
        raise ValueError(f"{margin!r} is no margin; {ALLOWED}, is allowed")
    return share
