"""Broken probes are refused at their line with the cure; a pattern that searches for ever costs seconds, not hours."""

import json
import math
import time

import pytest
from refusal import files_in, refused

from iikata.core.records import Answer, Probe
from iikata.data import read_probes
from iikata.metrics import Context
from iikata.metrics.pattern import MOST_LATE, Pattern
from tiny_experiment import write_files

GOOD = {"instruction": "Which colour is red?"}
COMMANDS = (["run"], ["check"], ["plan"], ["encode"])
BACKSLASH = "Put a backslash before a bracket"
ONE_LINE = "a name on one line, of at most 200 characters"


def lines(*probes) -> str:
    return "".join((probe if isinstance(probe, str) else json.dumps(probe)) + "\n" for probe in probes)


def probe(**fields) -> str:
    """Return a good probe and, on the second line, another with these fields."""
    return lines(GOOD, GOOD | fields)


FILES = {
    "empty": ("", "p.jsonl: no probe in it", 'as in {"instruction": "..."}'),
    "torn": (lines(GOOD) + '{"instruction": "Whi', "p.jsonl:2:17: not JSON", "on a line of its own"),
    "question": (lines({"question": "a"}), 'unknown field "question" (here it is called "instruction")'),
    "unknown_field": (probe(referenses=["a"]), 'p.jsonl:2: unknown field "referenses" (did you mean "references"?)'),
    "dolly_row": (
        lines({"instruction": "a", "output": "b"}),
        'unknown field "output" (here it is called "references")',
        "allowed: id",
    ),
    "no_instruction": (lines(GOOD, {"input": "x"}), 'p.jsonl:2: a probe needs an "instruction"', "the text to answer"),
    "blank_instruction": (lines({"instruction": " \n"}), 'p.jsonl:1: a probe needs an "instruction"', "the text"),
    "list_instruction": (
        lines({"instruction": ["a"]}),
        "p.jsonl:1: instruction: a list of values was seen",
        "Write it as text",
    ),
    "true_input": (probe(input=True), "p.jsonl:2: input: true or false was seen", "Write it as text"),
    "infinite_id": (lines('{"instruction": "a", "id": Infinity}'), "p.jsonl:1: id: an infinite number", "as text"),
    "surrogate_in_reference": (
        probe(references=["a", "\udfff"]),
        "p.jsonl:2: the text holds a lone surrogate",
        "Remove it",
    ),
    "id_twice": (
        lines(GOOD | {"id": "a"}, GOOD | {"id": "a"}),
        'p.jsonl:2: the id "a" is there twice',
        "give each probe",
    ),
    "id_of_a_position": (lines(GOOD, GOOD | {"id": "p001"}), 'p.jsonl:2: the id "p001" is there twice', "its position"),
    "id_number_and_text": (
        lines(GOOD | {"id": 7}, GOOD | {"id": "7"}),
        'p.jsonl:2: the id "7" is there twice',
        "its own",
    ),
    "id_two_lines": (probe(id="a\nb"), "p.jsonl:2: id: 'a\\nb' was seen", ONE_LINE),
    "id_line_separator": (probe(id="a\u2028b"), "p.jsonl:2: id: ", ONE_LINE),
    "id_endless": (probe(id="a" * 100_000), "p.jsonl:2: id: 'aaa", ONE_LINE),
    "cluster_two_lines": (probe(cluster="a\r\nb"), "p.jsonl:2: cluster: 'a\\r\\nb' was seen", ONE_LINE),
    "reference_empty": (probe(references=["a", ""]), "p.jsonl:2: a reference is empty", "leave it out"),
    "reference_list": (
        probe(references=[["a"]]),
        "p.jsonl:2: references: a list of values was seen",
        "Write it as text",
    ),
    "pattern_list": (probe(pattern=["a"]), "p.jsonl:2: pattern: a list of values was seen", "Write it as text"),
    "pattern_open_bracket": (probe(pattern="(a"), "p.jsonl:2: pattern '(a' is no regular", BACKSLASH),
    "pattern_backslash": (probe(pattern="a\\"), "p.jsonl:2: pattern", "bad escape", BACKSLASH),
    "pattern_property": (probe(pattern=r"\p{Kanji}"), "p.jsonl:2: pattern", "unknown property", BACKSLASH),
    "pattern_named_list": (probe(pattern=r"\L<colours>"), "p.jsonl:2: pattern", "named list", BACKSLASH),
    "pattern_deep": (probe(pattern="(" * 2000 + ")" * 2000), "p.jsonl:2: pattern", "recursion", BACKSLASH),
    "pattern_count": (
        probe(pattern="a{1000000000}"),
        "p.jsonl:2: the pattern is too large",
        "at most 100,000 together",
    ),
    "pattern_counts": (probe(pattern="((a{99}){99}){99}"), "p.jsonl:2: the pattern is too large", "970,299 were seen"),
    "pattern_endless": (probe(pattern="a|" * 10_000), "p.jsonl:2: the pattern is too large", "10,000 characters"),
}


@pytest.fixture
def refuse(tmp_path, monkeypatch, llama_folder, capsys, tally):
    """Refuse an experiment with these probes, and see that nothing was written by it."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)

    def _refuse(file, command, *said):
        text = f"model: {{base: {llama_folder}}}\ndata: {{train: train.jsonl, validation: 2}}\nprobes: {file}\n"
        (tmp_path / "exp.yaml").write_text(text + "templates: [alpaca_short, plain]\n")
        before = {} if (tmp_path / file).is_fifo() else files_in(tmp_path)
        tally("inputs tried")
        refused([command[0], "exp.yaml", *command[1:]], capsys, *said)
        assert not before or files_in(tmp_path) == before
        assert not (tmp_path / "runs" / "exp").exists()

    return _refuse


@pytest.mark.parametrize("name", FILES)
def test_broken_probes_are_refused_at_their_line(tmp_path, refuse, name):
    content, *said = FILES[name]
    (tmp_path / "p.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    refuse("p.jsonl", COMMANDS[len(name) % len(COMMANDS)], *said)


def test_probes_that_are_not_there_are_told_with_what_is(refuse):
    refuse("probess.jsonl", ["check"], "probess.jsonl: no such file", 'did you mean "probes.jsonl"?')


@pytest.mark.parametrize("file", ["probes.csv", "probes"])
def test_probes_of_another_format_are_refused(tmp_path, refuse, file):
    (tmp_path / file).write_text(lines(GOOD))
    refuse(file, ["check"], file, "probes are read from json and jsonl files", "write it as one of them")


def test_ids_that_look_like_paths_are_names_and_nothing_else(tmp_path, tally):
    tally("inputs tried")
    names = ["../../up", "/etc/passwd", "a/b", "con|x", "色", "p.", "--force"]
    (tmp_path / "p.jsonl").write_text(lines(*({**GOOD, "id": name} for name in names)))
    assert [probe.id for probe in read_probes(tmp_path / "p.jsonl")] == names


EVIL = ["(a|aa)+$", "((a+)+)+$", "(a+a+)+b$", r"(?:(?:a|a)(?:a|a))+c", "(.*a){20}b", "(?:a?){25}a{25}b$"]
TEXT = "a" * 40 + "!"


def answer(text: str) -> Answer:
    return Answer("alpaca", 0, "alpaca", "p", 0, text, "stop", 1)


@pytest.mark.parametrize("pattern", [*EVIL, "(?R)"])
def test_search_that_would_never_end_is_not_scored(tmp_path, tally, pattern):
    tally("inputs tried")
    (tmp_path / "p.jsonl").write_text(probe(pattern=pattern))
    evil = read_probes(tmp_path / "p.jsonl")[1]
    start = time.process_time()
    scored = Pattern(seconds=0.1)(answer(TEXT), evil, Context())
    assert time.process_time() - start < 3
    assert math.isnan(scored) or pattern != EVIL[0]


def test_pattern_that_is_late_again_and_again_is_given_up_and_told():
    metric, scoring, evil = Pattern(seconds=0.05), Context(), Probe("p", "q", pattern=EVIL[0])
    start = time.process_time()
    assert all(math.isnan(metric(answer(TEXT), evil, scoring)) for _ in range(500))
    assert time.process_time() - start < 2 * MOST_LATE * 0.05 + 1
    (remark,) = metric.remarks()
    assert f"took too long {MOST_LATE} times" in remark
    assert "given up" in remark
    assert math.isnan(metric(answer("b"), evil, scoring))  # even an easy text: one pattern, one treatment
    assert metric(answer("b"), Probe("p", "q", pattern="b"), scoring) == 1.0
    assert metric(answer("b"), evil, Context()) == 0.0  # another scoring is another chance
    assert metric.remarks() == []


def test_many_patterns_that_never_end_do_not_add_up(monkeypatch):
    monkeypatch.setattr("iikata.metrics.pattern.MOST_WAITED", 0.5)
    monkeypatch.setattr("iikata.metrics.pattern.BRIEF", 0.001)
    metric, scoring = Pattern(seconds=0.1), Context()
    start = time.process_time()
    for number in range(200):
        for _ in range(5):
            metric(answer(TEXT), Probe(f"p{number}", "q", pattern=f"(a|aa)+{number}$"), scoring)
    assert time.process_time() - start < 5
    assert len(metric.remarks()) == 200
