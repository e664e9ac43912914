"""No text from outside commands the terminal: not a template's, a row's, a path's, an error's or an argument's."""

import io
import json
import logging
import re
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console as Rich

import iikata
from iikata.cli import main
from iikata.cli.arms_display import ArmsDisplay
from iikata.cli.terminal import COLOUR, Guarded, bare, guarded, inert, painted
from iikata.core.encoded import Encoded
from iikata.tokenize import load_tokenizer, show
from tiny_experiment import values, write_files

COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""What a terminal may obey, or a reader may not see."""
EVIL = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202eoverride\u200b\x7f\rback"
FIGURES = {
    "colour": "\x1b[31m", "clear": "\x1b[2J\x1b[H", "title": "\x1b]0;owned\x07", "link": "\x1b]8;;file:///etc\x1b\\x",
    "clipboard": "\x1b]52;c;cm0gLXJmIH4=\x07", "csi of one byte": "\x9b31m", "osc of one byte": "\x9d0;owned\x9c",
    "bell": "\x07", "backspaces": "yes\b\b\bno ", "return": "true\rfalse", "delete": "\x7f", "device": "\x1b[6n\x1b[c",
    "nul": "\x00", "override": "\u202egnorw", "isolate": "\u2067\u2069", "mark": "\u200f", "arabic mark": "\u061c",
    "zero width": "a\u200bb", "line separator": "a\u2028b", "mark of order": "\ufeff", "surrogate": "\udc9b",
    "tags": "\U000e0041\U000e007f", "soft hyphen": "\u00ad", "alternate screen": "\x1b[?1049h", "charset": "\x1b(0\x0e",
}  # fmt: skip
"""Name -> what a stranger would like to send to a terminal."""


def assert_harmless(*said):
    for text in said:
        assert not COMMANDS.search(text), f"{text!r} reaches the terminal"


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
@pytest.mark.parametrize("kind", [io.StringIO, Screen])
def test_nothing_that_is_printed_commands_the_terminal(figure, kind, tally):
    stream = kind()
    print(f"before {figure} after", file=Guarded(stream, bars=True))
    assert_harmless(stream.getvalue())
    for character in figure:
        category = unicodedata.category(character)
        assert (f"⟨U+{ord(character):04X}⟩" in stream.getvalue()) == (category in ("Cc", "Cf", "Cs", "Zl"))
    tally("inputs tried")


def test_line_breaks_tabs_japanese_and_emoji_are_printed_as_they_are():
    stream = Screen()
    Guarded(stream).write("色の\n三原色\t🎨é\n")
    assert stream.getvalue() == "色の\n三原色\t🎨é\n"


@pytest.mark.parametrize("moves", ["\r 40%|####", "\n\n", "\x1b[A", "\n\x1b[A\x1b[A", "\r"])
def test_a_downloaders_bar_moves_on_a_terminal(moves):
    stream = Screen()
    Guarded(stream, bars=True).write(moves)
    assert stream.getvalue() == moves


@pytest.mark.parametrize("moves", ["\x1b[Ax", "x\x1b[A", "\r\r", "\x1b[2A", "\r\x1b[K"])
def test_no_other_move_passes(moves):
    stream = Screen()
    Guarded(stream, bars=True).write(moves)
    assert_harmless(stream.getvalue().removeprefix("\r"))


@pytest.mark.parametrize("moves", ["\r", "\rback", "\x1b[A", "\n\x1b[A\x1b[A"])
def test_results_and_pipes_have_no_bars(moves):
    for guarded_one in (Guarded(result := Screen()), Guarded(pipe := io.StringIO(), bars=True)):
        guarded_one.write(moves)
    assert_harmless(result.getvalue(), pipe.getvalue())


def test_streams_are_guarded_only_while_a_command_runs(capsys):
    before = sys.stdout, sys.stderr
    with guarded():
        assert (bare(sys.stdout), bare(sys.stderr)) == before
        assert isinstance(sys.stdout, Guarded)
        logging.StreamHandler().emit(logging.makeLogRecord({"msg": EVIL}))
    assert (sys.stdout, sys.stderr) == before
    assert_harmless(capsys.readouterr().err)


def test_above_the_display_of_training_nothing_commands_the_terminal(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_sentinel0123")
    monkeypatch.setattr(sys, "stderr", before := Screen())
    display = ArmsDisplay(Rich(file=before, force_terminal=True, width=80, height=20), {})
    print(f"a library says {EVIL} hf_sentinel0123", file=sys.stderr)
    display.close()
    assert sys.stderr is before
    said = before.getvalue().replace("\n", "")
    assert "a library says ⟨U+001B⟩[31mred⟨U+001B⟩]0;title⟨U+0007⟩" in said
    assert "⟨HF_TOKEN⟩" in said
    assert "]0;title\x07" not in said
    assert "sentinel" not in said


@settings(max_examples=40)
@given(
    st.recursive(
        st.none() | st.floats(allow_nan=False) | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_json_is_of_the_same_value_and_commands_nothing(value):
    for indent in (None, 1):
        text = inert(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(text) == value
        assert_harmless(text)


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_json_keeps_what_it_escapes(figure, tally):
    assert json.loads(inert(json.dumps(figure, ensure_ascii=False))) == figure
    tally("inputs tried")


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_a_painted_row_has_our_colours_alone(figure, sp_bytes_folder, tally):
    tokenizer = load_tokenizer(sp_bytes_folder)
    figure = figure.encode(errors="replace").decode()  # files hold no surrogates
    prompt, answer = (tokenizer.ids(f"{figure} {word}") for word in ("question", "answer"))
    ids = (*prompt, *answer, tokenizer.eos_id)
    mask = (*[False] * len(prompt), *[True] * (len(answer) + 1))
    text = show(Encoded("x", "", "", ids, mask), tokenizer)
    assert COLOUR.findall(text) == ["\x1b[2m", "\x1b[0m", "\x1b[32m", "\x1b[0m", "\x1b[7m", "\x1b[0m"]
    assert_harmless(COLOUR.sub("", text))
    assert painted(text) == text
    tally("inputs tried")


def test_a_tampered_file_of_painted_rows_has_only_colours():
    assert painted("\x1b[2mdim\x1b[0m\x1b[8mhidden\x1b[2J") == "\x1b[2mdim\x1b[0m⟨U+001B⟩[8mhidden⟨U+001B⟩[2J"


@pytest.fixture
def evil(tmp_path, llama_folder):
    """An experiment whose template, rows, probes and score files are hostile throughout."""
    write_files(tmp_path)
    for name in ("train", "validation", "probes"):
        path = tmp_path / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["instruction"] += EVIL
            row |= {"output": row["output"] + EVIL} if "output" in row else {"id": row["id"] + "\u202e"}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = {
        "description": EVIL,
        "prompt_input": f"{EVIL} {{instruction}} {{input}}:",
        "prompt_no_input": f"{EVIL} {{instruction}}:",
        "response_split": f"{EVIL}:",
    }
    (tmp_path / "evil.json").write_text(json.dumps(texts))
    (tmp_path / "evil.jinja").write_text(
        f"{{% for m in messages %}}{EVIL}{{{{ m.content }}}}{{% endfor %}}".replace("\r", "")
    )
    (tmp_path / "broken.json").write_text(json.dumps({**texts, "prompt_input": f"{EVIL} {{instruct}}", EVIL: EVIL}))
    (tmp_path / "scores.jsonl").write_text("".join(score_lines(f"a{EVIL}", f"b{EVIL}")))
    (tmp_path / "wrong.jsonl").write_text(json.dumps({"trained_on": EVIL, "seed": EVIL}) + "\n")
    (tmp_path / "garbage.jsonl").write_bytes(EVIL.encode() + b"\n")
    (tmp_path / "wrong.yaml").write_text(f'"{json.dumps(EVIL)[1:-1]}": 1\n')
    declared = values(llama_folder, templates=["./evil.json"])
    (tmp_path / "evil.yaml").write_text(json.dumps(declared))
    (tmp_path / "folder\x1b[31m").mkdir()
    return tmp_path


def score_lines(*names):
    for name in names:
        for seed in range(3):
            for probe in range(12):
                who = {"trained_on": name, "seed": seed, "prompted_with": name, "probe": f"{probe}{EVIL}"}
                value = 0.5 + 0.01 * ((probe * 7 + seed * 3) % 5)
                yield json.dumps({**who, "sample": 0, "metric": f"quality{EVIL}", "value": value}) + "\n"


QUALITY = f"quality{EVIL}".replace("\x00", "")
GIVEN = {
    # name: (command, exit code); {at} is the folder of hostile files.
    "encode paints rows": (["encode", "{at}/evil.yaml", "--out", "{at}/run", "--force"], 0),
    "encode --json": (["encode", "{at}/evil.yaml", "--json", "--limit", "2", "--out", "{at}/run"], 0),
    "check": (["check", "{at}/evil.yaml", "--out", "{at}/run"], None),
    "check --json": (["check", "{at}/evil.yaml", "--json", "--out", "{at}/run"], None),
    "check of a broken template": (["check", "{at}/evil.yaml", "--set", "templates=['./broken.json']"], 1),
    "train with findings": (["train", "{at}/evil.yaml", "--set", "templates=['./broken.json']", "--out", "{at}/r"], 1),
    "plan": (["plan", "{at}/evil.yaml", "--out", "{at}/run"], None),
    "templates show": (["templates", "show", "{at}/evil.json"], 0),
    "templates show jinja": (["templates", "show", "{at}/evil.jinja"], None),
    "templates show of a broken file": (["templates", "show", "{at}/broken.json"], 1),
    "templates show of no file": (["templates", "show", f"{EVIL}.json"], 1),
    "templates convert": (["templates", "convert", "alpaca", "{at}/folder\x1b[31m/new\x1b[2J.json"], 0),
    "compare --scores": (["compare", "--scores", "{at}/scores.jsonl", "--metric", QUALITY, "--margin", "0.1"], None),
    "compare --scores --json": (["compare", "--scores", "{at}/scores.jsonl", "--metric", QUALITY, "--json"], None),
    "compare of an unknown metric": (["compare", "--scores", "{at}/scores.jsonl", "--metric", "quality"], 1),
    "compare of wrong lines": (["compare", "--scores", "{at}/wrong.jsonl", "--metric", EVIL], 1),
    "compare of garbage": (["compare", "--scores", "{at}/garbage.jsonl", "--metric", EVIL], 1),
    "compare of no file": (["compare", "--scores", f"no{EVIL}", "--metric", EVIL], 1),
    "compare of a folder": (["compare", "{at}/folder\x1b[31m"], 1),
    "a wrong setting": (["run", "{at}/wrong.yaml"], 1),
    "a wrong setting's value": (["run", "{at}/evil.yaml", "--set", f"train.epochs={EVIL}"], 1),
    "a wrong setting's name": (["run", "{at}/evil.yaml", "--set", f"tra{EVIL}in.epochs=1"], 1),
    "an unknown template": (["run", "{at}/evil.yaml", "--set", "templates=['al\x1b[31mpaca']"], 1),
    "no experiment": (["run", f"{EVIL}.yaml"], 1),
    "a report of no run": (["report", "{at}/folder\x1b[31m"], 1),
    "a page of no run": (["serve", f"{EVIL}"], 1),
    "an export of no run": (["export", f"{EVIL}", f"{EVIL}", f"{EVIL}"], 1),
    "a question to nobody": (["ask", "{at}/folder\x1b[31m", EVIL], 1),
    "a model that is no folder": (["run", "{at}/evil.yaml", "--set", "model.base=./no\x1b[31m"], 1),
    "finetune without rows": (["finetune", "--base_model=x", f"--data_path=no{EVIL}.json", "--output_dir={at}/f"], 1),
    "an unknown command": ([f"ru{EVIL}n"], 2),
    "an unknown flag": (["run", "x", f"--fl{EVIL}ag"], 2),
    "too many words": (["report", "x", "y", f"z{EVIL}"], 2),
    "a number that is none": (["encode", "x", "--limit", EVIL], 2),
    "a choice that is none": (["run", "x", "--to", EVIL], 2),
    "a truth that is none": (["finetune", f"--train_on_inputs={EVIL}"], 2),
    "an argument that is no text": (["run", "no\udc9b31m"], 1),
}


SILENT = {"plan", "a question to nobody", "compare of wrong lines", "compare of garbage"}
"""What these print does not hold what they were given."""


@pytest.mark.parametrize("name", GIVEN)
def test_no_command_sends_what_it_was_given_to_the_terminal(evil, capsys, name, tally):
    command, code = GIVEN[name]
    try:
        ended = main([word.replace("{at}", str(evil)) for word in command])
    except SystemExit as stopped:
        ended = stopped.code
    out, err = capsys.readouterr()
    assert_harmless(out, err)
    assert "Traceback" not in err
    assert ended in ((0, 1) if code is None else (code,)), err
    if "--json" in command and out:
        lines = out.splitlines() if command[0] == "encode" else [out]
        assert any("\x1b" in json.dumps(json.loads(line), ensure_ascii=False) or r"\u001b" in line for line in lines)
    elif name not in SILENT:
        assert "⟨U+" in out + err or r"\x1b" in out + err
    tally("inputs tried")


def test_json_of_hostile_rows_is_exact(evil, capsys):
    assert main(["encode", str(evil / "evil.yaml"), "--json", "--limit", "1", "--out", str(evil / "run")]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["completion"] == f"red.{EVIL}"


def test_a_fault_of_iikatas_own_is_told_harmlessly(monkeypatch, capsys):
    def fails(given):
        raise RuntimeError(EVIL)

    monkeypatch.setattr("iikata.cli.stages.schema", fails)
    assert main(["schema"]) == 3
    err = capsys.readouterr().err
    assert_harmless(err)
    assert "Traceback" in err
    assert "⟨U+001B⟩" in err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp932", "shift_jis", "utf-8", "utf-16"])
@pytest.mark.parametrize("command", [["templates", "show", "dolly_ja"], ["schema"], ["run", "色\udc80.yaml"]])
def test_a_terminal_of_another_encoding_is_no_fault(encoding, command, monkeypatch, tally):
    out, err = io.TextIOWrapper(io.BytesIO(), encoding), io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert main(command) == (1 if command[0] == "run" else 0)
    out.flush()
    said = out.buffer.getvalue().decode(encoding)
    if command == ["schema"]:
        assert "properties" in json.loads(said)
    tally("inputs tried")


def test_no_table_is_written_or_copied_for_a_spreadsheet():
    """A cell that begins with = is a formula there; iikata reads such files and writes none."""
    source = Path(iikata.__file__).parent
    for path in source.rglob("*.py"):
        assert not re.search(r"csv\.(Dict)?writer|to_csv", path.read_text("utf-8")), path
    for path in [*source.glob("*/*.js"), *source.glob("*/*.jinja")]:
        if path.name != "htmx.min.js":
            assert not re.search(r"clipboard|createObjectURL|\bdownload\b", path.read_text("utf-8")), path
