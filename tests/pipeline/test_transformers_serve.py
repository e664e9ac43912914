"""`iikata verify` against transformers' own server: `make test-server` lays what it needs over the environment."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from iikata.cli import main

NEEDED = os.environ.get("IIKATA_SERVER", "")
START = "import sys; from transformers.cli.transformers import main; main()"
pytestmark = pytest.mark.skipif(not NEEDED, reason="make test-server lays what transformers serve needs over")


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", START, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": NEEDED, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen([*command, "--device", "cpu"], env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            for _ in range(600):
                assert server.poll() is None, server.stderr and server.stderr.read()[-2000:]
                try:
                    if httpx2.get(f"http://127.0.0.1:{port}/health").is_success:
                        break
                except httpx2.ConnectError:
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.communicate()


SERVED = {
    "healthy": (0, "served: alpaca_short.s0, prompted as it was trained"),
    "inert": (1, "INERT: the untuned base's answers"),
    "template": (1, "as plain would give"),
}


@pytest.mark.parametrize("which", SERVED)
def test_it_is_told_what_transformers_serves(whole_run, served_folders, capsys, which):
    code, said = SERVED[which]
    with serving(served_folders / which) as address:
        asked = ["--endpoint", address, "--model", str(served_folders / which)]
        assert main(["verify", str(whole_run), "alpaca_short.s0", *asked]) == code
    told = capsys.readouterr().out
    assert said in told
    assert "log-probabilities: none told" in told
