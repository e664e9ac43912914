"""A shelf finds what it brings, what an installed package brings, and what `package.module:name` names."""

import re

import pytest

from iikata.core.errors import IikataError
from iikata.core.registry import Shelf

SHELF = Shelf("sum", {"two": 2, "three": 3}, lambda item: isinstance(item, int), "a whole number")


@pytest.fixture
def package(tmp_path, monkeypatch):
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[iikata.sums]\nfive = theirs:FIVE\nmany = theirs:MANY\ntwo = theirs:NOT_OURS\n"
    )
    (tmp_path / "theirs.py").write_text("FIVE, NOT_OURS, MANY = 5, 0, '6'\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(("name", "item"), [("two", 2), ("five", 5), ("theirs:FIVE", 5)])
def test_an_item_is_found_wherever_it_is_from(package, name, item):
    assert SHELF.find(name) == item


def test_a_shelf_is_the_dict_of_what_it_brings(package):
    assert dict(SHELF) == {"two": 2, "three": 3}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("fife", 'sum "fife" is unknown (did you mean "five"?). Known: five, many, three, two.'),
        ("theirs:SIX", 'sum "theirs:SIX" cannot be imported: AttributeError'),
        (
            "many",
            "sum \"many\" of the package theirs (theirs:MANY) is '6'. It must be a whole number (docs/extending.md).",
        ),
        ("theirs:MANY", "sum \"theirs:MANY\" is '6'. It must be a whole number"),
        ("no.such:thing", "of an installed package or of a folder in PYTHONPATH."),
    ],
)
def test_an_item_that_is_nowhere_is_refused_by_name(package, name, told):
    with pytest.raises(IikataError, match=re.escape(told)):
        SHELF.find(name)
