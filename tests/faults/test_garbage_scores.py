"""Score files from any tool: what is broken is refused with its line and its cure, and nothing is made of the rest."""

import gzip
import json
import math
import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusal import refused

from iikata.cli import main
from iikata.core.errors import IikataError
from iikata.stats import reading

LINE = {"trained_on": "A", "seed": 0, "prompted_with": "A", "probe": "p1", "cluster": "c1", "metric": "m", "value": 0.5}
CELLS = [("A", seed, "A") for seed in range(2)] + [("B", seed, "B") for seed in range(2)] + [(None, None, "A")]


def text(**changes) -> str:
    """Return a score as JSON; a change to ... takes the field away."""
    return json.dumps({key: value for key, value in {**LINE, **changes}.items() if value is not ...})


def sound(probes: int = 4, metric: str = "m") -> list[str]:
    """Return the lines of a whole small file."""
    return [
        text(trained_on=t, seed=s, prompted_with=p, probe=f"p{i}", cluster=f"c{i}", metric=metric, value=i / 7 + j / 9)
        for j, (t, s, p) in enumerate(CELLS)
        for i in range(probes)
    ]


def lines(*more: str, end: str = "\n") -> bytes:
    return ("\n".join([*sound(), *more]) + end).encode("utf-8", "surrogatepass")


def packed_zip() -> bytes:
    import io

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("scores.jsonl", lines())
    return made.getvalue()


WHOLE = lines()
BAD = len(sound()) + 1
MEND = "a line is one score, as {"
VALUE = "value must be a number up to 1e+100, true, false, or null"
LISTED = "becomes lines with: jq -c"
FILES = [
    # id, content, what the message says: the place, what was seen, the cure
    ("torn", WHOLE[:-30], (f":{BAD - 1}: not JSON", "stopped in the middle of it", MEND)),
    ("torn in a character", lines(text(probe="é").replace("\\u00e9", "é"))[:-70], (f":{BAD}: not ", MEND)),
    ("latin-1", WHOLE + b'{"probe": "\xe9"}\n', (f":{BAD}: not UTF-8 (", "byte 12 of the line", MEND)),
    ("UTF-16 with its mark", WHOLE.decode().encode("utf-16"), (":1: not UTF-8", "plain text in UTF-8")),
    ("UTF-16 without a mark", WHOLE.decode().encode("utf-16-le"), (":1: not JSON (", "at column 2", MEND)),
    ("NUL bytes only", bytes(4096), (":1: not JSON", "begins '\\x00", "write the file again")),
    ("NUL in a line", lines(text().replace("p1", "p\0")), (f":{BAD}: not JSON", "control character", MEND)),
    ("a list of lines", b"[" + b",\n".join(WHOLE.splitlines()) + b"]", (":1: not JSON", LISTED)),
    ("a list in a line", b"[" + b",".join(WHOLE.splitlines()) + b"]\n", (":1: expected a JSON object", LISTED)),
    ("an object over lines", json.dumps(LINE, indent=1).encode(), (":1: not JSON", LISTED)),
    ("CSV", b"trained_on,seed,prompted_with\nA,0,A\n", (":1: not JSON", "column 1", MEND)),
    ("brackets without end", b"[" * 200_000 + b"\n", (":1: not JSON", 'begins "[[[[', MEND)),
    ("a number", lines("3"), (f':{BAD}: expected a JSON object, saw "3"', MEND)),
    ("null", lines("null"), (f':{BAD}: expected a JSON object, saw "null"', MEND)),
    ("an empty object", lines("{}"), (f':{BAD}: field "trained_on" is missing', "Required: trained_on", MEND)),
    ("two objects a line", lines(text() + text()), (f":{BAD}: not JSON (trailing characters at column", MEND)),
    ("single quotes", lines(str(LINE)), (f":{BAD}: not JSON", "key must be a string at column 2", MEND)),
    ("no probe", lines(text(probe=...)), (f':{BAD}: field "probe" is missing', MEND)),
    ("an unknown field", lines(text(model="x")), (f':{BAD}: field "model" is unknown', "Allowed: trained_on", MEND)),
    ("a mistyped field", lines(text(vlaue=1)), (f":{BAD}: ", 'did you mean "value"?', MEND)),
    ("a field of controls", lines(text(**{"\x1b[2J": 1})), (f":{BAD}: field '\\x1b[2J' is unknown", MEND)),
    ("a field of 9,000 letters", lines(text(**{"x" * 9000: 1})), (f':{BAD}: field "xxx', MEND)),
    ("a field twice", lines(text()[:-1] + ', "seed": 1}'), (f":{BAD}: a field is written twice", MEND)),
    ("value in quotes", lines(text(value="0.5")), (f":{BAD}: {VALUE}", '"0.5"', MEND)),
    ("value Infinity", lines(text(value=math.inf)), (f":{BAD}: {VALUE}", MEND)),
    ("value 1e200", lines(text(value=1e200)), (f":{BAD}: {VALUE}", MEND)),
    ("value of 400 digits", lines(text().replace("0.5", "9" * 400)), (f":{BAD}: {VALUE}", MEND)),
    ("seed true", lines(text(seed=True)), (f":{BAD}: seed must be a whole number", "saw True", MEND)),
    ("seed in quotes", lines(text(seed="0")), (f":{BAD}: seed must be a whole number", '"0"', MEND)),
    ("seed 0.0", lines(text(seed=0.0)), (f":{BAD}: seed must be a whole number", "saw 0.0", MEND)),
    ("seed below 0", lines(text(seed=-1)), (f":{BAD}: seed must be a whole number from 0 on", MEND)),
    ("seed of 40 digits", lines(text(seed=10**40)), (f":{BAD}: seed must be a whole number", MEND)),
    ("a seed of the base", lines(text(trained_on=None, seed=0)), (f":{BAD}: the untuned base", "write null", MEND)),
    ("an unnamed template", lines(text(trained_on="")), (f":{BAD}: trained_on must be a text, or null", MEND)),
    ("trained_on a number", lines(text(trained_on=3)), (f":{BAD}: trained_on must be a text, or null", MEND)),
    ("a list of clusters", lines(text(cluster=["a"])), (f":{BAD}: cluster must be a text, a whole", MEND)),
    ("sample below 0", lines(text(sample=-1)), (f":{BAD}: sample must be a whole number from 0 on", MEND)),
    ("sample of 20 digits", lines(text(sample=2**64)), (f":{BAD}: sample must be a whole number", MEND)),
    ("sample 1.5", lines(text(sample=1.5)), (f":{BAD}: sample must be a whole number", MEND)),
    ("no value", lines(text(value=...)), (f':{BAD}: field "value" is missing', MEND)),
    ("probe 3.0", lines(text(probe=3.0)), (f":{BAD}: probe must be a text or a whole number", MEND)),
    ("an unnamed probe", lines(text(probe="")), (f":{BAD}: probe must be a text or a whole number", MEND)),
    ("an unnamed metric", lines(text(metric="")), (f":{BAD}: metric must be a text", MEND)),
    ("signature a number", lines(text(signature=3)), (f":{BAD}: signature must be a text or null", MEND)),
    ("levels of lists", lines(text(levels={"a": [1]})), (f":{BAD}: levels must be an object of settings", MEND)),
    ("half a character", lines(text(probe="\ud800")), (f":{BAD}: not JSON (unexpected end of hex escape", MEND)),
    ("an endless line", lines(text(probe="x" * 2_000_000)), (f":{BAD}: this line is longer than", MEND)),
    ("a score twice", lines(sound()[2]),
     (f":{BAD}: the same score as on line 3", "probe p2, sample 0, metric m", "each have their own `sample`")),
    ("the file twice", WHOLE * 2, (f":{BAD}: the same score as on line 1", "20 duplicates")),
    ("a probe in two clusters", lines(text(probe="p2", sample=1)),
     (f":{BAD}: probe", 'on an earlier line in "c2"', "write the same on each")),
    ("empty", b"", (": no score lines", "Expected one JSON object a line")),
    ("a byte-order mark only", b"\xef\xbb\xbf", (": no score lines", "Expected one JSON object a line")),
    ("gzip", gzip.compress(WHOLE), (":1: not UTF-8", MEND)),
    ("zip", packed_zip(), (":1: not ", MEND)),
    ("Parquet", b"PAR1" + os.urandom(90), (":1: not ", MEND)),
    ("a pickle", pickle.dumps({"value": 1}), (":1: not UTF-8", MEND)),
]  # fmt: skip


@pytest.mark.parametrize(("content", "said"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_a_broken_file_is_refused_with_its_line(content, said, tmp_path, capsys, tally):
    tally("inputs tried")
    path = tmp_path / "scores.jsonl"
    path.write_bytes(content)
    argv = ["compare", "--scores", str(path), "--metric", "m"]
    assert refused(argv, capsys, str(path), *said) == refused([*argv, "--json"], capsys)


def test_a_file_that_is_not_there_is_refused_with_a_near_one(tmp_path, capsys, tally):
    tally("inputs tried", 2)
    (tmp_path / "scores.jsonl").write_bytes(WHOLE)
    for name, near in (("scroes.jsonl", ' (did you mean "scores.jsonl"?)'), ("of/no/folder.jsonl", ", nor its folder")):
        argv = ["compare", "--scores", str(tmp_path / name), "--metric", "m"]
        refused(argv, capsys, f"{tmp_path / name}: no such file{near}")


def test_what_is_no_regular_file_is_refused_and_never_read(tmp_path, capsys, tally):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    rows = [
        (tmp_path, "a folder where a file belongs", "RUN/score/"),
        (tmp_path / "pipe", "a pipe or a device", "save it first"),
        (Path("/dev/zero"), "a pipe or a device", "save it first"),
        (tmp_path / "loop", "loop", ""),
    ]
    for path, seen, cure in rows:
        tally("inputs tried")
        refused(["compare", "--scores", str(path), "--metric", "m"], capsys, str(path), seen, cure)


@pytest.mark.parametrize("holes", [b"", b"{"], ids=["hole", "hole behind a bracket"])
def test_a_hole_of_terabytes_is_refused_at_once(holes, tmp_path, capsys, tally):
    tally("inputs tried")
    path = tmp_path / "scores.jsonl"
    path.write_bytes(holes)
    try:
        os.truncate(path, 1 << 40)
    except OSError:
        os.truncate(path, 1 << 30)
    refused(["compare", "--scores", str(path), "--metric", "m"], capsys, str(path))


FLAGS = [
    (["--metric", "m", "--margin", "nan"], ("--margin nan", "a number above 0 is allowed")),
    (["--metric", "m", "--margin=-0.1"], ("--margin -0.1", "hundredths")),
    (["--metric", "m", "--margin", "0"], ("--margin 0.0", "hundredths")),
    (["--metric", "m", "--alpha", "0"], ("--alpha 0.0", "0.05 is usual")),
    (["--metric", "m", "--alpha", "5"], ("--alpha 5.0", "0.05 is usual")),
    (["--metric", "accuracy"], ('"accuracy" is unknown', "Known: m")),
    (["--metric", ""], ("needs --metric NAME",)),
    ([], ("needs --metric NAME",)),
]


@pytest.mark.parametrize(("flags", "said"), FLAGS, ids=[" ".join(row[0]) or "none" for row in FLAGS])
def test_a_flag_that_cannot_be_meant_is_refused_by_name(flags, said, tmp_path, capsys, tally):
    tally("inputs tried")
    (tmp_path / "scores.jsonl").write_bytes(WHOLE)
    refused(["compare", "--scores", str(tmp_path / "scores.jsonl"), *flags], capsys, *said)


@pytest.mark.parametrize(
    ("flag", "told"), [("--alpha", "invalid float value: 'garbage'"), ("--margin", 'as "10% of gain", is allowed')]
)
def test_a_flag_that_is_no_number_is_wrong_usage(flag, told, tmp_path, capsys, tally):
    tally("inputs tried")
    with pytest.raises(SystemExit) as stopped:
        main(["compare", "--scores", str(tmp_path / "x"), "--metric", "m", flag, "garbage"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert f"argument {flag}: " in error
    assert told in error


def test_of_several_files_the_broken_one_is_named_and_no_verdict_printed(tmp_path, capsys, tally):
    tally("inputs tried")
    paths = [tmp_path / f"{name}.jsonl" for name in "abc"]
    for path in paths:
        path.write_bytes(WHOLE)
    paths[1].write_bytes(lines(text(value="high")))
    said = refused(["compare", "--scores", *map(str, paths), "--metric", "m"], capsys, f"{paths[1]}:{BAD}: value")
    assert str(paths[0]) not in said
    assert str(paths[2]) not in said


def test_a_score_beyond_its_metrics_bounds_is_refused_with_its_file(tmp_path, capsys, tally):
    tally("inputs tried")
    path = tmp_path / "scores.jsonl"
    path.write_bytes(lines(text(metric="contains", value=3)))
    refused(
        ["compare", "--scores", str(path), "--metric", "m"], capsys, str(path), "contains", "lie outside its bounds"
    )


ODD = [
    ("no base", [one for one in sound() if '"trained_on": null' not in one], 0),
    ("one probe", sound(probes=1), 0),
    ("one cell", sound()[:4], 0),
    ("base only", sound()[-4:], 0),
    ("a metric in one cell only", [*sound(), text(metric="n")], 0),
    ("null and whole seeds", [*sound(), *(text(seed=None, probe=f"p{i}", cluster=f"c{i}") for i in range(4))], 0),
    ("no number at all", [re.sub(r'"value": [\d.]+', '"value": null', one) for one in sound()], 20),
    ("some not scored", [*sound(), text(sample=1, value=None), text(sample=2, value=math.nan)], 2),
    ("the largest values", [re.sub(r'"value": [\d.]+', '"value": 1e100', one) for one in sound()], 0),
    ("the largest seed and sample", [*sound(), text(seed=2**63 - 1, sample=2**63 - 1)], 0),
    ("a byte-order mark and Windows lines", ["\ufeff" + "\r\n".join(sound()) + "\r"], 0),
    ("no last line break", ["\n".join(sound()).removesuffix("\n")], 0),
    ("true for a value", [re.sub(r'"value": [\d.]+', '"value": true', one) for one in sound()], 0),
    ("whole numbers as probes", [re.sub(r'"([pc])(\d)"', r"\2", one) for one in sound()], 0),
    ("controls in a name", [one.replace('"A"', r'"\u001b[31m\u009b2J\u0007\u202e"') for one in sound()], 0),
]  # fmt: skip


@pytest.mark.parametrize(("given_lines", "unscored"), [row[1:] for row in ODD], ids=[row[0] for row in ODD])
def test_an_odd_but_whole_file_is_read_and_what_has_no_number_counted(given_lines, unscored, tmp_path, capsys, tally):
    tally("inputs tried")
    path = tmp_path / "scores.jsonl"
    path.write_text("\n".join(given_lines) + "\n", encoding="utf-8", newline="")
    assert main(["compare", "--scores", str(path), "--metric", "m", "--json"]) == 0
    made = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert made["left_out"]["scores_without_number"]["m"] == unscored
    assert main(["compare", "--scores", str(path), "--metric", "m"]) == 0
    out = capsys.readouterr().out
    assert not re.search("[\x07\x1b\x9b\u202e]", out)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255))
def test_one_changed_byte_is_read_or_refused_with_the_file(tmp_path, at, byte):
    path = tmp_path / "scores.jsonl"
    path.write_bytes(WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])
    try:
        said, read = "", len(reading.read_table(path))
    except IikataError as error:
        said, read = str(error), 0
    assert said.startswith(str(path)) or read == len(sound())
