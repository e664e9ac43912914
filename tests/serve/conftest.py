"""A run that has answered everything, and a client that holds the token."""

import pytest
from served import ADDRESS, TOKEN, StandIn, StandInDesk, written
from starlette.testclient import TestClient

from iikata.serve.app import app
from iikata.serve.run import Run


@pytest.fixture
def run(tmp_path):
    return written(tmp_path)


@pytest.fixture
def desk():
    return StandInDesk(StandIn(["Ro", "me", "."]))


@pytest.fixture
def stranger(run, desk):
    """Someone who knows the address and not the token."""
    with TestClient(app([Run(run)], desk, TOKEN), base_url=ADDRESS, follow_redirects=False) as client:
        yield client


@pytest.fixture
def client(stranger):
    assert stranger.get("/", params={"token": TOKEN}).status_code == 303
    return stranger
