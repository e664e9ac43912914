"""On a full disk a run says so, loses nothing that was there, and goes on with the same bytes when there is room."""

import errno
import os
import random
import subprocess
from io import FileIO
from pathlib import Path

import pytest
from crash import Child, at_change, count_changes, ended

from iikata.core.errors import IikataError
from iikata.core.io import Appender


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


class Full(FileIO):
    """A file on a disk that has room for three bytes more."""

    def write(self, content) -> int:
        if os.fstat(self.fileno()).st_size > len(LINE):
            no_room()
        return super().write(content[:3])


LINE = b'{"n": 1}\n'


def test_a_line_that_the_disk_takes_in_part_is_taken_off_again(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_bytes(LINE)
    with Appender(path) as file:
        file.close()
        file._file = Full(path, "a+")
        with pytest.raises(IikataError, match="No space left on device"):
            file.add({"n": 2})
    assert path.read_bytes() == LINE


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
