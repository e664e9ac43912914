"""A finished run with one file broken: made again byte for byte, or refused with the file and the cure; never half."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from refusal import refused

from iikata.cli import main
from tiny_experiment import ONE_ARM, contents, written

LONG = os.environ.get("IIKATA_FAULTS") == "long"
"""`make faults` tries every way to break a file, `make test` some."""
WAYS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "torn": lambda content: content[: len(content) // 2],
    "NUL bytes": lambda content: bytes(len(content)),
    "a list": lambda content: b"[]\n",
    "an empty object": lambda content: b"{}\n",
    "a number": lambda content: b"3\n",
    "brackets without end": lambda content: b"[" * 90_000 + b"\n",
    "a list of strangers": lambda content: b'[{"x": 1}]\n',
    "cut in train": lambda content: content[: content.index(b"  cutoff_len")],
    "fewer lines": lambda content: content[: content[:-1].rfind(b"\n") + 1],
}
JSON = list(WAYS)[:8]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, llama_folder) -> Path:
    """A folder with a finished run in run/; tests copy it."""
    folder = tmp_path_factory.mktemp("finished")
    path = written(folder, llama_folder, generate={"samples": 1, "max_new_tokens": 4}, train=ONE_ARM)
    assert main(["run", str(path), "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path) -> Path:
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def harm(run: Path, name: str, way: str) -> None:
    """Break one file of the run; "gone" and "a folder" take it away."""
    path = run / name
    content = path.read_bytes()
    path.unlink()
    if way == "a folder":
        path.mkdir()
    elif way != "gone":
        path.write_bytes(WAYS[way](content))


def rows(table: list[tuple[list[str], str, list[str], list[str]]]) -> list:
    """Return a test for each verb, file and way to break it."""
    return [
        pytest.param(verb, name, way, said, id=f"{verb} {name} {way}")
        for verbs, name, ways, said in table
        for verb in verbs
        for way in (ways if LONG else ways[:2])
    ]


REFUSED = rows([
    (["compare", "report"], "check/gates.json", [*JSON, "gone"], ["check/gates.json", "again"]),
    (["report", "export"], "check/findings.json", ["empty", "torn", "NUL bytes", "an empty object", "a number",
      "brackets without end", "a list of strangers"], ["check/findings.json", "again"]),
    (["report"], "check/findings.json", ["gone"], ["check/findings.json", "again"]),
    (["report"], "compare/comparisons.json", JSON, ["compare/comparisons.json", "again"]),
    (["export"], "compare/comparisons.json", JSON, ["compare/comparisons.json", "again"]),
    (["compare", "report"], "score/contains.jsonl", ["empty", "a list", "an empty object", "brackets without end",
      "fewer lines"], ["score/contains.jsonl", "again"]),
    (["compare", "report"], "score/contains.jsonl", ["gone"], ["score/contains.jsonl", "iikata score"]),
    (["compare", "report"], "score/nll.jsonl", ["torn", "NUL bytes"], ["score/nll.jsonl", "torn", "iikata score"]),
    (["compare", "report"], "score/nll.jsonl", ["gone", "empty", "fewer lines"], ["score/nll.jsonl"]),
    (["compare", "report"], "experiment.yaml", ["cut in train"], ["experiment.yaml", "not what the run was made with"]),
    (["compare", "report"], "experiment.yaml", ["empty", "a list"], ["experiment.yaml:1:1"]),
    (["report"], "generate/plain.s0@plain.jsonl", ["empty", "torn", "NUL bytes", "gone", "fewer lines"],
     ["generate/plain.s0@plain.jsonl", "answers", "iikata run makes the others"]),
    (["report", "run"], "generate/base@plain.jsonl", ["a list", "an empty object", "brackets without end"],
     ["generate/base@plain.jsonl:1", "again"]),
    (["report"], "encode/plain.jsonl", ["empty", "an empty object", "gone"], ["encode/plain.jsonl", "again"]),
    (["report"], "encode/templates.json", JSON, ["encode/templates.json", "again"]),
    (["report"], "encode/counts.json", [*JSON, "gone"], ["encode/counts.json", "again"]),
    (["report"], "timing.jsonl", ["an empty object"], ["timing.jsonl:1", "Delete the line"]),
    (["report"], "train/plain.s0/steps.jsonl", ["empty", "torn", "NUL bytes", "gone", "fewer lines"],
     ["train/plain.s0/steps.jsonl", "steps, where", "again"]),
    (["report"], "train/plain.s0/DONE", [*JSON, "gone"], ["train/plain.s0/DONE", "again"]),
])  # fmt: skip


@pytest.mark.parametrize(("verb", "name", "way", "said"), REFUSED)
def test_a_broken_file_is_refused_and_no_verdict_or_report_made(verb, name, way, said, run, capsys, tally):
    tally("inputs tried")
    shutil.rmtree(run / "report")
    harm(run, name, way)
    more = ["plain.s0", str(run.parent / "dest"), "--base", "owner/name"] if verb == "export" else []
    refused([verb, str(run), *more], capsys, *said)
    assert not (run / "report").exists()
    assert not (run.parent / "dest").exists()


MADE = [
    ("score/held_out_from.json", [*JSON, "gone"]),
    ("score/nll.jsonl", ["empty", "gone", "fewer lines"]),
    ("score/contains.jsonl", [*JSON, "gone", "fewer lines"]),
    ("compare/comparisons.json", [*JSON, "gone"]),
    ("check/gates.json", [*JSON, "gone"]),
    ("check/findings.json", [*JSON, "gone"]),
    ("encode/plain.jsonl", [*JSON, "gone"]),
    ("encode/templates.json", [*JSON, "gone"]),
    ("generate/plain.s0@plain.jsonl", ["empty", "torn", "NUL bytes", "gone", "fewer lines"]),
    ("train/plain.s0/adapter_model.safetensors", [*JSON, "gone"]),
    ("train/plain.s0/DONE", [*JSON, "gone"]),
]
ALL = [(name, way) for name, ways in MADE for way in ways]
FEW = [(name, ways[at % len(ways)]) for at, (name, ways) in enumerate(MADE)]


@pytest.mark.parametrize(("name", "way"), ALL if LONG else FEW)
def test_a_broken_file_is_made_again_byte_for_byte(name, way, run, finished, tally):
    tally("inputs tried")
    harm(run, name, way)
    assert main(["run", str(run)]) == 0
    assert contents(run) == contents(finished)
