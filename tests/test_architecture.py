"""The map in ARCHITECTURE.md is true: imports point down only, and neighbours do not know each other."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "iikata"


def floors() -> list[list[str]]:
    """Return the rooms of each floor, top first, from the block fenced as `floors`."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    block = re.search(r"```floors\n(.*?)```", text, re.DOTALL)
    assert block, "ARCHITECTURE.md has no block of floors"
    return [[room.strip() for room in line.split("|")] for line in block[1].strip().splitlines()]


LEVEL = {room: level for level, rooms in enumerate(floors()) for room in rooms}
FACES = {"__init__.py", "__main__.py"}
"""The package's own front; everything else lives in a room."""
DOORS = {"cli/serve.py": {"serve"}}
"""The command that starts the page is the one place where a face knows the other."""
MOST_LINES = 300
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in FACES)


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


@cache
def imported(path: Path) -> frozenset[str]:
    """Return the modules that a file imports, inside functions and for type checkers too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ":" in node.value:
            names.add(node.value.replace(":", "."))  # the command line names its verbs as "iikata.cli.stages:run"
    return frozenset(name if name in MODULES else name.rpartition(".")[0] for name in names) & MODULES.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_file_says_its_job_is_short_and_imports_down_the_map(path):
    text, room = path.read_text(encoding="utf-8"), room_of(path)
    assert ast.get_docstring(ast.parse(text)), f"{path} has no opening sentence"
    assert len(text.splitlines()) <= MOST_LINES
    assert room in LEVEL, f"{path}: {room} is not on the map"
    rooms = {room_of(MODULES[module]) for module in imported(path)} & LEVEL.keys()
    doors = DOORS.get(path.relative_to(SOURCE).as_posix(), set())
    wrong = {other for other in rooms - {room} - doors if LEVEL[other] <= LEVEL[room]}
    assert not wrong, f"{room} may not import {wrong}"


def test_no_file_imports_itself_by_way_of_others():
    # The package's front is imported before any part of it, and some files read its version.
    TopologicalSorter({module: imported(path) - {module, "iikata"} for module, path in MODULES.items()}).prepare()


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page):
    named = re.findall(r"`(?:tests/)?(?:\w+/)*(test_\w+\.py)`", page.read_text(encoding="utf-8"))
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(named) <= there


def test_no_two_files_of_tests_have_one_name():
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert {name for name in names if names.count(name) > 1} == set()  # pytest would collect one of them alone


def test_no_two_classes_have_one_name():
    named = [
        node.name
        for path in SOURCE.rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted({name for name in named if named.count(name) > 1}) == []


def test_every_room_of_the_map_exists():
    rooms = {room_of(path) for path in FILES}
    assert set(LEVEL) - rooms - {"demo"} == set()


@pytest.mark.parametrize(
    ("module", "heavy"), [("iikata.cli.compare", ["torch"]), ("iikata.cli.parser", ["torch", "numpy"])]
)
def test_statistics_never_import_torch_nor_help_numpy(module, heavy):
    code = f"import sys, {module} as m; getattr(m, 'parser', print)(); sys.exit(any(n in sys.modules for n in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
