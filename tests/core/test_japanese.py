"""Every error has its Japanese: the source is read, and a message that is not known in its room is named."""

import ast
import json
import re
from pathlib import Path

import pytest

from iikata.core.japanese import HOLE, japanese, ordered

SOURCE = Path(__file__).parents[2] / "src" / "iikata"
ERRORS = {"IikataError": 0, "UnreadError": 0, "UntrainableError": 0, "_tell": 0, "HTTPException": 1}
"""What is told to a person -> the place of its text among what it is called with."""
FEWEST = 8
"""Letters beside its values that a message has; less is a place and what another function said."""
KNOWN = {path.parent: json.loads(path.read_text(encoding="utf-8")) for path in SOURCE.rglob("errors.ja.json")}


def text_of(node):
    """Return a string as a key of errors.ja.json has it, None where it is no string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        numbers = iter(range(1, 99))
        return "".join(one.value if isinstance(one, ast.Constant) else f"{{{next(numbers)}}}" for one in node.values)
    return None


def worth(text):
    return text is not None and len(re.findall("[A-Za-z]", HOLE.sub("", text))) >= FEWEST and " " in text.strip()


def place(path):
    """Return a module's name as an import has it."""
    return ".".join(["iikata", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")


def named(tree):
    """Return the texts that a module has names for, as `AGAIN`."""
    made = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and worth(text_of(node.value)):
            made[node.targets[0].id] = text_of(node.value)
    return made


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
NAMED = {place(path): named(tree) for path, tree in TREES.items()}
"""Module -> its own names and their texts."""


def known_in(path):
    """Return the texts of all names of a module: its own, those that it imports, and those of imported modules."""
    found = {}
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.ImportFrom) and node.module:
            for one in node.names:
                name = one.asname or one.name
                if one.name in (there := NAMED.get(node.module, {})):
                    found[name] = there[one.name]
                inside = NAMED.get(f"{node.module}.{one.name}", {})
                found |= {f"{name}.{own}": text for own, text in inside.items()}
    return found | NAMED[place(path)]


def parts(node, names):
    """Yield the texts of a raised message: itself, what it chooses between, and what it names."""
    inside = {id(one) for outer in ast.walk(node) if isinstance(outer, ast.JoinedStr) for one in outer.values}
    for one in ast.walk(node):
        if isinstance(one, ast.Name | ast.Attribute) and (name := ast.unparse(one)) in names:
            yield names[name]
        elif id(one) not in inside and worth(text := text_of(one)):
            yield text


def messages():
    for path, tree in TREES.items():
        room = SOURCE / path.relative_to(SOURCE).parts[0] if len(path.relative_to(SOURCE).parts) > 1 else SOURCE
        names = known_in(path)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and (kind := getattr(node.func, "id", "")) in ERRORS and node.args:
                for text in parts(node.args[ERRORS[kind]], names):
                    yield room, text.strip(), f"{path.relative_to(SOURCE)}:{node.lineno}"


def test_every_message_has_its_japanese():
    everywhere = {text.strip() for told in KNOWN.values() for text in told}
    missing = [f"{place}: {text}" for room, text, place in messages() if text not in everywhere]
    assert missing == []


@pytest.mark.parametrize("folder", sorted(KNOWN), ids=lambda folder: folder.name)
def test_what_is_known_is_still_said_somewhere(folder):
    said = "\n".join(str(text_of(node)) for tree in TREES.values() for node in ast.walk(tree))
    dead = [text for text in KNOWN[folder] if text.strip() not in said]
    assert dead == []


@pytest.mark.parametrize(
    "path", [*sorted(SOURCE.rglob("*.ja.json"))], ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_the_japanese_says_each_value_once_and_is_japanese(path):
    for english, told in json.loads(path.read_text(encoding="utf-8")).items():
        assert sorted(HOLE.findall(told)) == sorted(HOLE.findall(english)), english
        assert re.search("[ぁ-んァ-ン一-龥]", told), english
        numbers = [sorted(re.findall(r"\d+", HOLE.sub("", text))) for text in (english, told)]
        assert path.name != "errors.ja.json" or numbers[0] == numbers[1], f"{told}: other numbers than {english}"
        assert len(re.findall("[A-Za-z]", HOLE.sub("", english))) >= 6, f"{english}: fits what is no message"
        assert not re.search(r"[A-Za-z] ?[.,](?: |$)", HOLE.sub("x", told)), f"{told}: an English full stop"


@pytest.fixture
def dictionary(monkeypatch):
    """Phrases of this file instead of the rooms'."""
    known = ordered(
        {
            'base "{1}": no such file{2}. Give a folder.': "base「{1}」：ありません{2}。フォルダを指定してください。",
            '; did you mean "{1}"?': "（「{1}」のことですか）",
            "Fetch it again.": "取り直してください。",
            "{1} tokens, but {2} have a score.": "トークン {1} 個のうち、スコアがあるのは {2} 個です。",
            "no tokens at all": "トークンがありません",
            "{1} and {2}": "{2} と {1}",
            "{1} hold {2} (first {3})": "{1} 行に {2}（最初は {3}）",
            "files end in {1}.{2}": "末尾は {1}。{2}",
            "Take it out.": "取り除いてください。",
            "{1} was seen; {2}.": "{1} でした。{2}。",
            "it should be {1}": "{1} が使えます",
        }
    )
    monkeypatch.setattr("iikata.core.japanese.phrases", lambda: known)


@pytest.mark.parametrize(
    ("english", "told"),
    [
        ('base "a": no such file. Give a folder.', "base「a」：ありません。フォルダを指定してください。"),
        (
            'base "a": no such file; did you mean "b"?. Give a folder. Fetch it again.',
            "base「a」：ありません（「b」のことですか）。フォルダを指定してください。取り直してください。",
        ),
        (
            "x.json:3: 4 tokens, but 2 have a score. Fetch it again.",
            "x.json:3: トークン 4 個のうち、スコアがあるのは 2 個です。取り直してください。",
        ),
        (
            "Its own words. Fetch it again.\n  Fetch it again.",
            "Its own words. 取り直してください。\n取り直してください。",
        ),
        ("c.json: no tokens at all. Fetch it again.", "c.json: トークンがありません。取り直してください。"),
        (
            "1 tokens, but 2 have a score.\n3 tokens, but 4 have a score.",
            "\n".join(f"トークン {one} 個のうち、スコアがあるのは {two} 個です。" for one, two in ((1, 2), (3, 4))),
        ),
        ("2 hold a (first x), 1 hold b (first y)", "2 行に a（最初は x）、1 行に b（最初は y）"),
        ("files end in .csv, .json.", "末尾は .csv, .json。"),
        ("files end in .csv. Take it out.", "末尾は .csv。取り除いてください。"),
        ("[] was seen; it should be 1. Take it out.", "[] でした。1 が使えます。取り除いてください。"),
        ("nobody knows this", "nobody knows this"),
        ("3 and 4", "4 と 3"),
        ("no tokens at all was seen; 3.", "トークンがありませんでした。3。"),
    ],
)
def test_what_is_known_is_said_in_japanese_and_the_rest_is_left(dictionary, english, told):
    assert japanese(english) == told


def test_a_text_without_sense_takes_no_time(dictionary):
    assert japanese("or . : " * 500) == "or . : " * 500
