"""Devices that score have equal work, however unlike the cells are, and an arm's cells stay together where they can."""

from types import SimpleNamespace

import pytest

from iikata.core.records import Arm, Cell, Example
from iikata.pipeline.likelihood import Texts, _scored_away
from iikata.pipeline.sharing import shares
from iikata.templates import TEMPLATES, Shots

PLAIN = TEMPLATES["plain"]
NAMES = ("alpaca", "plain", "native", "rinna")
TUNED = [Cell(Arm(name, seed), name) for name in NAMES for seed in range(5)]
MATRIX = [Cell(Arm(name, seed), prompt) for name in NAMES for seed in range(3) for prompt in NAMES]
DRAWS = [Cell(Arm(None, draw), f"{name}+8shots") for draw in range(5) for name in NAMES]


def length(cell: Cell) -> int:
    return 10 if "shots" in cell.prompted_with else 1


@pytest.mark.parametrize("cells", [[*DRAWS, *TUNED], [*DRAWS[:3], *TUNED], MATRIX, TUNED[:3], DRAWS[:1]])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 8])
def test_every_cell_is_dealt_once_and_no_device_waits_longer_than_the_longest_cell(cells, count):
    work = {cell: length(cell) for cell in cells}
    found = shares(work, count)
    assert sorted(cells, key=str) == sorted((cell for share in found for cell in share), key=str)
    assert all(share == [cell for cell in cells if cell in share] for share in found)
    loads = [sum(map(length, share)) for share in found] + [0] * (count - len(found))
    assert max(loads) <= sum(work.values()) / count + max(work.values()) * (count > 1)


@pytest.mark.parametrize(("count", "most"), [(2, 14), (4, 18)])
def test_an_arms_cells_stay_together_for_as_long_as_the_work_stays_equal(count, most):
    found = shares(dict.fromkeys(MATRIX, 1), count)  # 12 arms of 4 cells
    assert [len(share) for share in found] == [len(MATRIX) // count] * count
    assert sum(len({cell.arm for cell in share}) for share in found) <= most


def test_examples_before_each_question_count_as_what_they_add():
    rows = [Example(str(place), "Which colour is it?", "", "red") for place in range(4)]
    shown = Shots("plain+8shots", PLAIN.newline, PLAIN.stop, (("q" * 100, "a" * 100),) * 8, of=PLAIN)
    cells = [*DRAWS[:2], *TUNED]
    ordered = []

    def work(jobs):
        ordered.extend(job.order().cells for job in jobs)
        return iter(())

    ctx = SimpleNamespace(
        prompts=SimpleNamespace(of=lambda cell: shown if "shots" in cell.prompted_with else PLAIN),
        store=SimpleNamespace(read_files=lambda arms: {}),
    )
    texts = Texts({"nll": "nll"}, rows, {}, "", None, "", "held_out")
    assert not list(_scored_away(ctx, SimpleNamespace(size=2, work=work), texts, cells))
    assert [len(own) for own in ordered] == [11, 11]
    assert [sum("shots" in cell.prompted_with for cell in own) for own in ordered] == [1, 1]
