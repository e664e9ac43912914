"""Whether all faults are tried (IIKATA_FAULTS=long, `make faults`) or a seeded part of them."""

import os

import pytest


@pytest.fixture(scope="session")
def long() -> bool:
    """Whether all is to be tried, not a seeded part of it."""
    return os.environ.get("IIKATA_FAULTS") == "long"
