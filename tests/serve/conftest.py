"""A run that has answered everything, and a client that holds the token."""

import shutil

import pytest
from served import ADDRESS, TOKEN, StandIn, StandInQueue, entered, written
from starlette.testclient import TestClient

from iikata.serve.app import app
from iikata.serve.run import ServedRun


@pytest.fixture(scope="session")
def answered(tmp_path_factory):
    return written(tmp_path_factory.mktemp("answered"))


@pytest.fixture
def run(answered, tmp_path):
    return shutil.copytree(answered.parent, tmp_path, dirs_exist_ok=True) / answered.name


@pytest.fixture
def queue():
    return StandInQueue(StandIn(["Ro", "me", "."]))


@pytest.fixture
def stranger(run, queue):
    """Someone who knows the address and not the token."""
    return TestClient(app([ServedRun(run)], queue, TOKEN), base_url=ADDRESS, follow_redirects=False)


@pytest.fixture
def client(stranger):
    return entered(stranger)
