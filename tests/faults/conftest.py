"""Whether all faults are tried (IIKATA_FAULTS=long, `make faults`) or a seeded part, and the run they are tried on."""

import os
from pathlib import Path

import pytest
from crash import seconds_of

from tiny_experiment import experiment

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder `faults`."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def long() -> bool:
    """Whether all is to be tried, not a seeded part of it."""
    return os.environ.get("IIKATA_FAULTS") == "long"


@pytest.fixture(scope="module")
def declared(tmp_path_factory, llama_folder):
    folder = tmp_path_factory.mktemp("declared")
    return experiment(folder, llama_folder, train={"checkpoint_seconds": 0.2})


@pytest.fixture(scope="module")
def whole(tmp_path_factory, declared) -> tuple[Path, float]:
    """An undisturbed run, and how many seconds it took."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, seconds_of(declared, out)
