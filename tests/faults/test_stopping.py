"""Ctrl-C and SIGTERM end the step, save, and say how to go on; two processes never work in one folder."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from crash import Child, lost

from iikata import train
from iikata.cli import main
from iikata.cli.console import Console
from iikata.core.io import write_text
from iikata.core.lock import hold
from iikata.core.signals import SIGNALS, install
from iikata.pipeline import Pipeline
from tiny_experiment import experiment, written


@pytest.fixture(autouse=True)
def listening():
    """Signals as a terminal's program has them: what starts the tests may have asked to ignore some."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_that_was_to_be_ignored_stays_ignored(capsys):
    """As nohup asks for it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with install(print):
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0.05)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.fixture(scope="module")
def declared(tmp_path_factory, llama_folder):
    """An experiment as a file, long enough in training to be met there."""
    folder = tmp_path_factory.mktemp("stopping")
    train = {"epochs": 20, "checkpoint_seconds": 3600}
    written(folder, llama_folder, train=train)
    return experiment(folder, llama_folder, train=train)


@pytest.fixture(scope="module")
def whole(declared):
    Pipeline(declared, declared.folder / "whole").run("train")
    return declared.folder / "whole"


def command_in_a_child(words: list[str], reached: Callable[[], bool]) -> int:
    """Fork a process that runs the command as the shell would, and return its number.

    From where `reached` says on it takes its time, so that it is still there to be met on a busy machine.
    """
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        status, told = 70, Console.__call__

        def slowly(self, event):
            told(self, event)
            time.sleep(0.3 if reached() else 0)

        Console.__call__ = slowly  # type: ignore[method-assign]
        try:
            status = main(words)
        finally:
            os._exit(status)
    return pid


def steps_done(run: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in run.glob("train/*/steps.jsonl"))


def wait_until(what, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.002)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_step_and_saves_and_the_told_command_goes_on(
    tmp_path, declared, whole, capfd, tally, number, code
):
    words = ["run", str(declared.folder / "tiny.yaml"), "--to", "train", "--out", str(tmp_path / "run")]

    def reached():
        return steps_done(tmp_path / "run") >= 24

    pid = command_in_a_child(words, reached)
    wait_until(reached)
    os.kill(pid, number)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == code
    said = capfd.readouterr().err
    assert "ending this step and saving" in said
    done = steps_done(tmp_path / "run")
    assert done < 4 * 60
    states = {path.parent.parent.name: json.loads(path.read_text())["step"] for path in tmp_path.rglob("state/*.json")}
    assert sum(states.values()) == done  # the saved state is the last step, though no minute has passed
    told = said.strip().splitlines()[-1].partition("To go on: ")[2]
    assert shlex.split(told) == ["iikata", *words]
    assert main(shlex.split(told)[1:]) == 0
    tally("signals survived")
    assert lost(tmp_path / "run", whole) == 0


def test_a_second_signal_does_not_wait_for_the_step(tmp_path, declared, monkeypatch, capfd):
    import iikata.train.step as turn

    def endless(*given):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    monkeypatch.setattr(turn, "counted", endless)
    start = time.monotonic()
    assert main(["run", str(declared.folder / "tiny.yaml"), "--to", "train", "--out", str(tmp_path / "run")]) == 130
    assert time.monotonic() - start < 30
    assert "To go on: iikata run" in capfd.readouterr().err


@pytest.mark.parametrize("stage", ["generate", "score"])
def test_a_signal_outside_training_is_heard_at_once_and_loses_nothing(tmp_path, llama_folder, stage, capfd, tally):
    words = ["run", str(written(tmp_path, llama_folder)), "--out"]
    assert main([*words, str(tmp_path / "whole")]) == 0
    capfd.readouterr()

    def reached():
        return any((tmp_path / "run" / stage).glob("*.jsonl"))

    pid = command_in_a_child([*words, str(tmp_path / "run")], reached)
    wait_until(reached)
    os.kill(pid, signal.SIGTERM)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 143
    assert "To go on: iikata run" in capfd.readouterr().err
    assert not list((tmp_path / "run").rglob(".*.tmp"))
    assert main([*words, str(tmp_path / "run")]) == 0
    tally("signals survived")
    assert lost(tmp_path / "run", tmp_path / "whole") == 0


def test_the_second_run_on_a_folder_is_refused_by_name_of_the_first_and_a_dead_ones_lock_is_taken_over(
    tmp_path, declared, capfd, tally
):
    out = tmp_path / "run"
    computed = train.gradients

    def slowly(*given):
        time.sleep(0.05)  # still at work when the second comes, on a busy machine too
        return computed(*given)

    first = Child(declared, out, before=lambda: setattr(train, "gradients", slowly))
    wait_until(lambda: steps_done(out) >= 4)
    for command in (["run", str(declared.folder / "tiny.yaml"), "--out", str(out)], ["report", str(out)]):
        assert main(command) == 1
        said = capfd.readouterr().err
        assert f"process {first.pid} on {os.uname().nodename} (since 20" in said
        assert "another folder" in said
    first.kill(after=0)
    assert (out / "running.json").is_file()  # it could not clear up
    Pipeline(declared, out).run("encode")
    assert not (out / "running.json").exists()
    tally("faults injected", 2)


def test_a_lock_is_held_by_another_process_too(tmp_path):
    code = "import sys; from pathlib import Path; from iikata.core.lock import hold\nwith hold(Path(sys.argv[1])): pass"
    with hold(tmp_path / "run"):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], capture_output=True, text=True)
        assert f"process {os.getpid()}" in done.stderr
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False).returncode == 0
    assert not (tmp_path / "run").exists()  # nothing was done in it


@pytest.mark.parametrize("torn", ["", "{", "[]", "{}", '{"process": 1}'])
def test_a_torn_name_of_the_first_refuses_all_the_same(tmp_path, torn, capsys):
    with hold(tmp_path / "run"):
        write_text(tmp_path / "run" / "running.json", torn)
        with pytest.raises(Exception, match="another process is at work here"), hold(tmp_path / "run"):
            pass


def test_signals_that_keep_coming_end_with_one_message_and_the_code(declared, tmp_path, capfd):
    """As an impatient hand does it: five Ctrl-C, a tenth of a second apart, while the model is loaded."""
    reached = (tmp_path / "run" / "running.json").exists
    pid = command_in_a_child(["run", str(declared.folder / "tiny.yaml"), "--out", str(tmp_path / "run")], reached)
    wait_until(reached)
    ended = 0
    for _ in range(5):
        os.kill(pid, signal.SIGINT)
        time.sleep(0.1)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
    if not ended:
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert capfd.readouterr().err.count("stopped; nothing") == 1


def test_a_command_that_begins_anew_is_not_said_to_go_on(capsys, monkeypatch):
    def stopped(given):
        raise KeyboardInterrupt

    monkeypatch.setattr("iikata.cli.ask.ask", stopped)
    assert main(["ask", "smollm2", "hello"]) == 130
    assert "go on" not in capsys.readouterr().err
