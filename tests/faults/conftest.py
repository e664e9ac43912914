"""Counts what the fault tests tried and prints it at the end; IIKATA_FAULTS=long tries all of it."""

import os
from collections import Counter

import pytest

COUNTS: Counter[str] = Counter()
LONG = os.environ.get("IIKATA_FAULTS") == "long"


@pytest.fixture
def tally():
    """Count `times` of `what`, as in tally("kills survived")."""

    def count(what: str, times: int = 1) -> None:
        COUNTS[what] += times

    return count


@pytest.fixture(scope="session")
def long() -> bool:
    """Whether all is to be tried (`make faults`), not a seeded part of it."""
    return LONG


def pytest_terminal_summary(terminalreporter):
    if COUNTS:
        terminalreporter.section("faults")
        for what, times in sorted(COUNTS.items()):
            terminalreporter.write_line(f"{what}: {times}")
