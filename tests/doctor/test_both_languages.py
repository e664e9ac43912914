"""No finding and no gate can be made in one language alone, and a reader of Japanese gets its reason in Japanese."""

import ast
import re
from pathlib import Path

import pytest
from examined import examined, of, template

import iikata
from both_languages import JAPANESE, in_both
from iikata.core.bilingual import Both, same
from iikata.core.records import Finding
from iikata.doctor.conversations import WHY_JA

SOURCE = Path(iikata.__file__).parent
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "core" / "records.py")


def calls(path: Path, name: str) -> list[ast.Call]:
    found = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    return [call for call in found if isinstance(call.func, ast.Name) and call.func.id == name]


def test_findings_and_gates_are_made_of_both_languages_only():
    """`Finding.of` and `Gate.of` take both, which mypy holds their callers to."""
    made = [(path, call) for path in FILES for name in ("Finding", "Gate") for call in calls(path, name)]
    # What is read back from a file is made of its keys alone.
    assert [str(path) for path, call in made if call.args or any(key.arg for key in call.keywords)] == []
    made = [path for path in FILES if ".of(" in path.read_text(encoding="utf-8")]
    assert len(made) > 8


HALF = re.compile(r"[ぁ-ヿ一-龠。、」：％] ?[()]|[()] ?[ぁ-ヿ一-龠「]")
"""A half-width bracket that touches Japanese."""
SPOKEN = [
    path
    for kind in ("*.py", "*.json", "*.jinja")
    for path in SOURCE.rglob(kind)
    if path.relative_to(SOURCE).parts[0] not in ("metrics", "data", "templates")  # what these look for or keep
]


def texts(path: Path) -> list[str]:
    """Return the file's lines; of a module its strings, a gap for each value, but for docstrings."""
    whole = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return whole.split("\n")
    nodes = list(ast.walk(ast.parse(whole)))
    docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    strings = [node for node in nodes if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in docstrings]
    parts = [string.values if isinstance(string, ast.JoinedStr) else [string] for string in strings]
    return ["".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in of) for of in parts]


def test_brackets_in_japanese_are_full_width_everywhere():
    told = [(path.name, text) for path in SPOKEN for text in texts(path) if JAPANESE.search(text)]
    assert sum("（" in text for _, text in told) > 100
    assert [one for one in told if HALF.search(one[1])] == []


def test_every_reason_why_a_row_is_no_conversation_has_japanese():
    raised = [
        call.args[0].value
        for path in (SOURCE / "data").glob("*.py")
        for call in calls(path, "UntrainableError")
        if call.args and isinstance(call.args[0], ast.Constant)
    ]
    assert len(raised) > 4
    assert set(raised) <= WHY_JA.keys()


def test_the_numbers_of_a_finding_are_the_same_in_both(tmp_path, byte_bpe_folder):
    rows = [{"instruction": f"Name {i}.", "input": "", "output": "word " * i} for i in range(1, 8)]
    found = of(examined(tmp_path, byte_bpe_folder, rows=rows, train={"cutoff_len": 12}), "cutoff")[0]
    assert found.message == f"{found.message.split(' of ')[0]} of 7 " + found.message.split(" of 7 ")[1]
    part = found.message.split(" of ")[0]
    assert found.message_ja.startswith(f"7 行中 {part} 行（")
    assert "train.cutoff_len 12" in found.message_ja
    assert found.cure == found.cure_ja


def test_a_reader_is_told_in_the_language_that_is_asked_for(tmp_path, byte_bpe_folder):
    odd = template(prompt_no_input="In: {instruction} B: {instructions}")
    [found] = of(examined(tmp_path, byte_bpe_folder, [odd]), "placeholder")
    english, japanese = found.told("en"), found.told("ja")
    assert list(english) == list(japanese) == ["rule", "severity", "template", "message", "evidence", "cure"]
    assert english["message"] != japanese["message"]
    assert "差し込み位置" in japanese["message"]
    only = Finding("own", "info", None, "a package's own rule", cure="do it")
    assert only.told("ja")["message"] == "a package's own rule"


@pytest.mark.parametrize(
    "text", [Both("3 rows", "行"), Both("a gate", "a gate"), Both("a gate", ""), Both("2 of 3", "3 行中 1 行")]
)
def test_what_holds_the_suite_to_it_does_hold(text):
    with pytest.raises(AssertionError):
        in_both(text, "this")


def test_code_may_be_the_same_in_both():
    in_both(same("--set train.epochs=1"), "this", code=True)
    in_both(Both("3 of 12 rows", "12 行中 3 行"), "this")
