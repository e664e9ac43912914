"""`iikata serve` tells its address, listens on this machine alone and ends quietly."""

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from iikata.cli import main
from iikata.serve import serve


@pytest.fixture
def started(run):
    command = [sys.executable, "-m", "iikata", "serve", str(run)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1)
    yield child
    child.kill()
    child.communicate()


def test_the_page_is_there_on_this_machine_once_its_address_is_told_and_ends_without_a_traceback(started):
    address = started.stdout.readline().strip()
    assert address.startswith("http://127.0.0.1:")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address.split("?")[0])
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    assert b"iikata" in opener.open(address).read()
    port = int(address.partition("127.0.0.1:")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port), 5):
        pass
    with pytest.raises(OSError, match="refused"):  # as another machine's would be
        socket.create_connection(("127.0.0.2", port), 5)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=20)
    assert started.returncode == 0
    assert "Traceback" not in err
    assert out == ""


def test_two_starts_have_different_tokens_and_the_end_of_one_ends_its_questions(monkeypatch, run):
    addresses, ended = [], []
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: self.handle_exit(signal.SIGINT, None))
    monkeypatch.setattr("iikata.serve.question_queue.QuestionQueue.cancel_all", lambda queue: ended.append(queue))
    for _ in range(2):
        serve([run], emit=addresses.append)
    tokens = {address.partition("token=")[2] for address in addresses}
    assert (len(tokens), len(ended)) == (2, 2)
    assert all(len(token) >= 32 for token in tokens)


def refused(capsys, *arguments):
    assert main(["serve", *map(str, arguments)]) == 1
    return capsys.readouterr().err


def test_a_taken_port_is_told(run, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port}" in refused(capsys, run, "--port", port)


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_that_is_none_is_told(run, capsys, port):
    assert f"--port {port}" in refused(capsys, run, "--port", port)


def test_a_folder_that_is_no_run_is_told(tmp_path, capsys):
    assert "so it is no run folder" in refused(capsys, tmp_path)


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_its_packages_the_page_says_how_to_get_them(run, package):
    code = f"import sys; sys.modules[{package!r}] = None; from iikata.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "serve", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'iikata[page]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_line_does_not_import_the_page():
    code = "import sys, iikata.cli.parser as p; p.parser(); sys.exit(bool({'starlette', 'uvicorn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
