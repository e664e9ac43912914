"""The map in ARCHITECTURE.md is true: imports point down, neighbours do not know each other, no files go in circles."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
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
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in FACES)


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return all that a file imports, inside functions and for types too: `a.b` and, from `from a import b`, `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif (
            isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"iikata\.[\w.]+:", node.value)
        ):
            found.add(node.value.partition(":")[0])  # the command line names its verbs as "iikata.cli.stages:run"
    return found


def imported_rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("iikata.")} & LEVEL.keys()


def files_below() -> dict[str, set[str]]:
    """Return the modules that each module imports; a name that is not a module counts for the one that holds it."""
    modules = {}
    for path in SOURCE.rglob("*.py"):
        name = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        modules[name] = imports(path)
    return {
        name: {one if one in modules else one.rpartition(".")[0] for one in found} & modules.keys() - {name}
        for name, found in modules.items()
    }


def test_no_files_import_each_other_in_a_circle():
    try:
        TopologicalSorter(files_below()).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down_the_map(path):
    room = room_of(path)
    assert room in LEVEL, f"{path}: {room} is not on the map"
    doors = DOORS.get(path.relative_to(SOURCE).as_posix(), set())
    wrong = {other for other in imported_rooms(path) - {room} - doors if LEVEL[other] <= LEVEL[room]}
    assert not wrong, f"{room} may not import {wrong}"


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_test_that_a_page_names_exists(page):
    named = re.findall(r"`(?:tests/)?(?:\w+/)*(test_\w+\.py)`", page.read_text(encoding="utf-8"))
    there = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(named) <= there


def test_every_room_of_the_map_exists():
    rooms = {room_of(path) for path in FILES}
    assert set(LEVEL) - rooms - {"demo"} == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_file_opens_with_the_sentence_that_says_its_job(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{path} has no opening sentence"


def test_statistics_never_import_torch():
    code = "import sys, iikata.cli.compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_imports_neither_torch_nor_numpy():
    code = "import sys, iikata.cli.parser as p; p.parser(); sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
