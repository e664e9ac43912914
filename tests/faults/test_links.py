"""Nothing is read or written behind a link that leads out of the run folder, nor from a pipe in it."""

import os
import shutil

import pytest
from refusal import files_in, refused

from iikata.cli import main
from iikata.core.errors import IikataError
from iikata.core.io import Appender, write_text
from tiny_experiment import finished

COMMANDS = (["run"], ["compare"], ["report"], ["ask"], ["export"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory, llama_folder):
    return finished(tmp_path_factory.mktemp("links"), llama_folder)


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept.txt").write_text("not yours\n")
    return tmp_path / "run"


def words(command, run):
    return [
        *command,
        str(run),
        *{"ask": ["hello"], "export": ["plain.s0", str(run.parent / "out")]}.get(command[0], []),
    ]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("place", ["report", "timing.jsonl", "train/plain.s0/steps.jsonl", ".report.tmp"])
def test_a_link_out_of_the_folder_is_refused_by_name(run, command, place, capsys, tally):
    path, target = run / place, run.parent / "elsewhere"
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target if place == "report" else target / "kept.txt")
    before = files_in(target)
    refused(words(command, run), capsys, str(path), "leads out of the run folder")
    tally("inputs tried")
    assert files_in(target) == before


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_pipe_in_the_folder_is_refused_and_waited_for_by_nobody(run, command, capsys, tally):
    path = run / "timing.jsonl"
    path.unlink()
    os.mkfifo(path)
    refused(words(command, run), capsys, str(path), "Delete it")
    tally("inputs tried")


def test_a_link_within_the_folder_is_none_out_of_it(run):
    (run / "latest").symlink_to(run / "report")
    assert main(["report", str(run)]) == 0


def test_no_file_is_written_through_a_link_even_where_nobody_looked(tmp_path):
    (tmp_path / "target").write_text("kept")
    (tmp_path / ".file.tmp").symlink_to(tmp_path / "target")
    write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
    (tmp_path / "log").symlink_to(tmp_path / "target")
    with pytest.raises(IikataError, match="log"):
        Appender(tmp_path / "log")
    assert (tmp_path / "target").read_text() == "kept"
