"""What a system lacks is asked for in one file, and everything works without it; Windows itself is not at hand."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from iikata.core import system
from iikata.core.io import write_text
from iikata.pipeline.machine import peak_bytes
from tiny_experiment import ONE_ARM, written

SOURCE = Path(__file__).parents[2] / "src" / "iikata"
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "msvcrt", "winreg", "ctypes"}
OF_OS = ("name", "fork", "O_NOFOLLOW", "O_BINARY", "getuid", "killpg", "replace", "rename", "symlink")
ATTRIBUTES = {("os", name) for name in OF_OS} | {("sys", "platform"), ("sys", "getwindowsversion")}
DOORS = {"core/system.py", "templates/sandbox.py"}
MISSING = """
import builtins, os, signal, sys

real, missing = builtins.__import__, ("fcntl", "resource", "pwd", "grp", "termios")

def imported(name, globals=None, *more, **named):
    # Not from torch or transformers, whose own builds for Windows know what to do without.
    if name in missing and (globals or {}).get("__name__", "").startswith("iikata"):
        raise ImportError(name)
    return real(name, globals, *more, **named)

builtins.__import__ = imported
for module, names in ((os, ("O_NOFOLLOW",)), (signal, ("SIGHUP", "setitimer", "ITIMER_PROF", "SIGPROF"))):
    for name in names:
        delattr(module, name)
from iikata.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_one_file_asks_what_the_system_has():
    for path in sorted(SOURCE.rglob("*.py")):
        if path.relative_to(SOURCE).as_posix() in DOORS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not MODULES.intersection(names), f"{path}: {names}"
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in ATTRIBUTES, f"{path}:{node.lineno}"


@pytest.mark.long
def test_a_whole_run_needs_nothing_that_windows_lacks(tmp_path, llama_folder):
    # native is rendered in a process of its own
    written(tmp_path, llama_folder, templates=["plain", "native"], train=ONE_ARM)
    for verb in (["run", "tiny.yaml", "--out", "run"], ["export", "run", "native.s0", "out", "--merge"]):
        done = subprocess.run(
            [sys.executable, "-c", MISSING, *verb], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
    timing = [json.loads(line) for line in (tmp_path / "run" / "timing.jsonl").read_text().splitlines()]
    assert {line["peak_bytes"] for line in timing} == {0}
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_memory_is_told_where_the_system_tells_it(monkeypatch):
    assert peak_bytes() > 10_000_000
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_bytes() == 0


def test_on_windows_a_file_that_is_being_read_is_replaced_once_it_is_free(tmp_path, monkeypatch):
    real, refused = os.replace, []

    def busy(source, target):
        if len(refused) < 3:
            refused.append(target)
            raise PermissionError(13, "Access is denied")
        real(source, target)

    monkeypatch.setattr(os, "replace", busy)
    monkeypatch.setattr(system, "PAUSE", 0)
    with pytest.raises(PermissionError):  # elsewhere it is the answer
        system.replace(tmp_path / "a", tmp_path / "b")
    refused.clear()
    monkeypatch.setattr(system, "WAITS", True)
    write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"
    assert len(refused) == 3


def test_without_links_a_file_is_copied(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("x")
    monkeypatch.setattr(Path, "symlink_to", lambda *_: (_ for _ in ()).throw(OSError(1314, "no privilege")))
    system.link(tmp_path / "b", tmp_path / "a")
    assert (tmp_path / "b").read_text() == "x"
    assert not (tmp_path / "b").is_symlink()


def test_without_glibc_nothing_is_asked_of_it(monkeypatch):
    monkeypatch.setattr(system.ctypes, "CDLL", lambda name: object())
    system.keep_freed_memory()
    monkeypatch.setattr(system.ctypes, "CDLL", lambda name: (_ for _ in ()).throw(TypeError("Windows")))
    system.keep_freed_memory()
