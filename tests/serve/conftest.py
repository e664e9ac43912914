"""A run that has answered everything, and a client that holds the token."""

import pytest
from served import ADDRESS, TOKEN, StandIn, StandInQueue, entered, written
from starlette.testclient import TestClient

from iikata.serve.app import app
from iikata.serve.run import Run


@pytest.fixture
def run(tmp_path):
    return written(tmp_path)


@pytest.fixture
def queue():
    return StandInQueue(StandIn(["Ro", "me", "."]))


@pytest.fixture
def stranger(run, queue):
    """Someone who knows the address and not the token."""
    return TestClient(app([Run(run)], queue, TOKEN), base_url=ADDRESS, follow_redirects=False)


@pytest.fixture
def client(stranger):
    return entered(stranger)
