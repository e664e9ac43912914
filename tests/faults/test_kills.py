"""A run that is killed, cut from its power or out of disk at any moment ends with the bytes of an undisturbed one."""

import errno
import os
import random
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from crash import Child, at_change, count_changes, die, lost, seconds_of, tear

from iikata.errors import IikataError
from iikata.lab import Lab
from tiny_experiment import experiment, values, write_files

KILLS, QUICK_KILLS = 100, 4


@pytest.fixture(scope="module")
def declared(tmp_path_factory, llama_folder):
    folder = tmp_path_factory.mktemp("declared")
    write_files(folder)
    train = values(llama_folder)["train"] | {"checkpoint_seconds": 0.05}
    return experiment(folder, llama_folder, train=train)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, declared) -> tuple[Path, float]:
    """An undisturbed run, and how many seconds it took."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, seconds_of(declared, out)


def ended(declared, out: Path, whole: Path, tally) -> None:
    """Let the run go on undisturbed; it must end with the same bytes and leave nothing stale."""
    child = Child(declared, out)
    assert child.wait() == 0
    assert not [path for path in out.rglob("*") if path.name.startswith(".") or path.name == "running.json"]
    tally("bytes lost", apart := lost(out, whole))
    assert apart == 0


def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path, declared, whole, tally, long):
    reference, seconds = whole
    chance, stages, kills, runs = random.Random(8), Counter(), 0, 0
    while kills < (KILLS if long else QUICK_KILLS):
        out, runs = tmp_path / str(runs), runs + 1
        alive = True
        while alive and kills < (KILLS if long else QUICK_KILLS):
            child = Child(declared, out)
            alive = child.kill(after=chance.uniform(0.02, 1.1 * seconds))
            if alive:
                kills += 1
                stages[child.stages[-1] if child.stages else "start"] += 1
        ended(declared, out, reference, tally)
    tally("kills survived", kills)
    print(f"kills by stage: {dict(stages)}")
    if long:
        assert set(stages) >= {"check", "encode", "train", "generate", "score", "compare", "report"} - {
            "encode",
            "compare",
        }


def test_killed_before_any_change_of_a_file_it_ends_with_the_same_bytes(tmp_path, declared, whole, tally, long):
    changes = count_changes(declared, tmp_path / "counted")
    assert changes > 100
    moments = range(1, changes + 1) if long else sorted(random.Random(8).sample(range(1, changes + 1), 3))
    for number in moments:
        out = tmp_path / str(number)
        if Child(declared, out, at_change(number, out, die)).wait() == 0:
            continue  # its saved states are written as time allows, so runs differ in how often they write
        tally("kills survived")
        ended(declared, out, whole[0], tally)


def test_after_a_power_cut_it_ends_with_the_same_bytes(tmp_path, declared, whole, tally, long):
    """The block written last is cut or full of zeros, whatever file it belongs to."""
    chance, cures = random.Random(9), Counter()
    for number in range(60 if long else 3):
        out = tmp_path / str(number)
        Child(declared, out).kill(after=chance.uniform(0.3, 1.0) * whole[1])
        told = tear(out, chance)
        tally("faults injected")
        while refused := refusal(declared, out):  # of a file that cannot be made out of others
            damaged = next(path for path in out.rglob("*") if path.is_file() and str(path) in refused)
            assert "elete" in refused, told
            cures[damaged.name] += 1
            damaged.unlink()
        ended(declared, out, whole[0], tally)
    print(f"files deleted as the message said: {dict(cures)}")


def refusal(declared, out: Path) -> str:
    try:
        Lab(declared, out).run()
    except IikataError as error:
        return str(error)
    return ""


def no_room() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_where_no_file_can_be_opened_any_more_the_message_says_so_and_it_goes_on(
    tmp_path, declared, whole, tally, long, capfd
):
    changes = count_changes(declared, tmp_path / "counted")
    moments = range(1, changes + 1) if long else sorted(random.Random(10).sample(range(1, changes + 1), 3))
    for number in moments:
        out = tmp_path / str(number)
        status = Child(declared, out, at_change(number, out, no_room)).wait()
        said = capfd.readouterr().err
        if status == 0:  # removing what is not needed any more may fail
            continue
        tally("faults injected")
        assert "No space left on device" in said
        ended(declared, out, whole[0], tally)


def mounted(folder: Path, kib: int) -> None:
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")


def test_on_a_full_disk_the_message_says_so_and_it_goes_on_when_there_is_room(
    tmp_path, declared, whole, tally, long, capfd
):
    size = sum(path.stat().st_size for path in whole[0].rglob("*") if path.is_file()) // 1024
    sizes = range(4, size, 4) if long else random.Random(11).sample(range(16, size // 2, 4), 2)
    for kib in sizes:
        disk = tmp_path / f"disk{kib}"
        mounted(disk, kib)
        try:
            status = Child(declared, disk / "run").wait()
            said = capfd.readouterr().err
            if status:
                tally("faults injected")
                assert "No space left on device" in said
                assert "IikataError" in said
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            ended(declared, disk / "run", whole[0], tally)
        finally:
            subprocess.run(["umount", str(disk)], check=True)
