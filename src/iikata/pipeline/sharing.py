"""Which cells each of several devices scores: as much work for each, and an arm on as few as that allows."""

from collections import defaultdict
from collections.abc import Mapping

from iikata.core.records import Arm, Cell


def shares(work: Mapping[Cell, float], count: int) -> list[list[Cell]]:
    """Cut the cells by the `work` that each is, the longest dealt first; each share is in the cells' own order.

    A cell follows its arm's others, which are sent and opened once a device, for as long as an equal part lasts.
    """
    equal, load = sum(work.values()) / count, [0.0] * count
    opened: dict[Arm, set[int]] = defaultdict(set)
    dealt: dict[Cell, int] = {}
    for cell in sorted(work, key=work.__getitem__, reverse=True):
        fits = [place for place in opened[cell.arm] if load[place] + work[cell] <= equal]
        place = min(fits or range(count), key=load.__getitem__)
        load[place] += work[cell]
        opened[cell.arm].add(place)
        dealt[cell] = place
    found = [[cell for cell in work if dealt[cell] == place] for place in range(count)]
    return [share for share in found if share]
