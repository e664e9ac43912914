"""Training is shown as a line an arm on a terminal and as plain lines elsewhere, whatever an arm is called."""

import io
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console as Rich

from iikata.cli.arms_display import ArmsDisplay
from iikata.cli.console import Console
from iikata.cli.terminal import sparkline
from iikata.core.evaluation import Evaluation
from iikata.core.records import TrainStep
from iikata.pipeline import Evaluated, Progress, Stage, Stepped, Warned


def stepped(arm, step, steps=10, loss=2.311, speed=488.2):
    return Stepped(TrainStep(arm, step, loss, 2.5e-4, 0.814, 100, 50), steps, speed)


class Clock:
    seconds = 1000.0

    def __call__(self):
        return self.seconds


def screen(written):
    """Return the lines that a terminal shows after `written`; the last is the one the cursor is in."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", written):
        if part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row == len(lines))
        elif part == "\r":
            column = 0
        elif part == "\x1b[1A":
            row -= 1
        elif part in ("\x1b[2K", "\x1b[K"):
            lines[row] = "" if part == "\x1b[2K" else lines[row][:column]
        elif part[0] == "\x1b":
            assert part[-1] == "m" or part in ("\x1b[?25l", "\x1b[?25h"), f"{part!r} is not known here"
        else:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    assert row == len(lines) - 1
    return [line.rstrip() for line in lines]


def cursor_is_shown(written):
    return written.rfind("\x1b[?25h") >= written.rfind("\x1b[?25l")


@pytest.fixture
def now():
    return Clock()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def make_terminal(monkeypatch):
    """Return what makes stderr a terminal of 100 x 12; a test calls it, as pytest has taken stderr by then."""
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "12"}.items():
        monkeypatch.setenv(name, value)
    for name in ("TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def make():
        monkeypatch.setattr(sys, "stderr", Terminal())
        return sys.stderr

    return make


@pytest.fixture
def display():
    opened = []

    def make(width=100, height=12, curves={}):  # noqa: B006
        console = Rich(file=io.StringIO(), force_terminal=True, width=width, height=height)
        opened.append(ArmsDisplay(console, curves))
        return console.file, opened[-1]

    yield make
    for shown in opened:
        shown.close()


def training(*steps, seconds=1):
    """Yield seconds and event: the stage, then what each (arm, step, steps, done, todo) brings."""
    yield 0, Stage("train", 9, "arms")
    for arm, step, many, done, todo in steps:
        yield seconds, stepped(arm, step, many)
        yield 0, Progress("train", done, todo, "not shown")


NUMBERS = "loss 2.311 lr 2.5e-04 norm 0.81  488 tokens/s"


@pytest.mark.parametrize(
    ("events", "lines"),
    [
        (
            training(("a.s0", 5, 10, 45, 90), seconds=62),
            ["train: 9 arms", f"train: 45/90  1:02, about 1:02 left  a.s0 5/10 {NUMBERS}"],
        ),
        (  # every ten seconds, and at the end
            training(*[("a.s0", step, 25, step, 25) for step in range(1, 26)]),
            [
                "train: 9 arms",
                f"train: 10/25  0:10, about 0:15 left  a.s0 10/25 {NUMBERS}",
                f"train: 20/25  0:20, about 0:05 left  a.s0 20/25 {NUMBERS}",
                f"train: 25/25  0:25, about 0:00 left  a.s0 25/25 {NUMBERS}",
            ],
        ),
        (  # arms that step together: the first of a turn counts the steps of all
            training(*[(arm, step, 2, 2 * step, 4) for step in (1, 2) for arm in ("a.s0", "b.s0")], seconds=0),
            ["train: 9 arms", f"train: 4/4  0:00, about 0:00 left  b.s0 2/2 {NUMBERS}"],
        ),
        (  # steps of an earlier process do not count: 30 in a minute, and 45 to go
            [(0, Stage("train", 9, "arms")), (60, Progress("train", 45, 90, "note", before=15))],
            ["train: 9 arms", "train: 45/90  1:00, about 1:30 left  note"],
        ),
        (  # cells of which some take longer than others
            [(0, Stage("score", 4, "cells")), (10, Progress("score", 2, 4, "base@plain", left=300))],
            ["score: 4 cells", "score: 2/4  0:10, about 5:00 left  base@plain"],
        ),
        (
            [
                *training(("a.s0", 1, 10, 1, 10)),
                (0, Stage("generate", 4, "answers")),
                (30, Progress("generate", 3, 4, "a.s0@plain")),
                (0, Warned("odd")),
                (0, Stage("score", 0, "answers")),
            ],
            [
                *("train: 9 arms", "generate: 4 answers", "generate: 3/4  0:30, about 0:10 left  a.s0@plain"),
                *("warning: odd", "score: 0 answers to do, all there"),
            ],
        ),
    ],
)
def test_plain_lines_tell_step_time_and_speed(events, lines, capsys, now):
    emit = Console(now)
    for seconds, event in events:
        now.seconds += seconds
        emit(event)
    assert capsys.readouterr().err.splitlines() == lines


def test_other_stages_keep_one_moving_line_on_a_terminal(make_terminal, now):
    terminal = make_terminal()
    emit = Console(now)
    emit(Stage("generate", 3, "answers"))
    for done in (1, 2):
        now.seconds += 5
        emit(Progress("generate", done, 3, "base@plain"))
    moving = ["generate: 3 answers", "generate: 2/3  0:10, about 0:05 left  base@plain"]
    assert screen(terminal.getvalue()) == moving
    emit(Progress("generate", 3, 3, "base@plain"))
    assert screen(terminal.getvalue()) == [moving[0], "generate: 3/3  0:10, about 0:00 left  base@plain", ""]


def test_display_has_a_line_an_arm_and_one_for_all(display):
    written, shown = display()
    shown.emit(stepped("alpaca.s0", 4), lambda: "train: 7/20")
    assert screen(written.getvalue())[0].startswith("alpaca.s0 ")  # seen at once
    shown.emit(stepped("plain.s0", 3, loss=1.5), lambda: "train: 7/20")
    shown.emit(stepped("alpaca.s0", 10, loss=0.25), lambda: "train: 13/20  488 tokens/s")
    shown.close()
    first, second, *rest = screen(written.getvalue())
    assert re.fullmatch(r"alpaca\.s0 ━{20} 10/10 loss 0\.250 lr 2\.5e-04 norm 0\.81", first)
    assert re.fullmatch(r"plain\.s0  [━╺╸]{20}  3/10 loss 1\.500 lr 2\.5e-04 norm 0\.81", second)
    assert rest == ["train: 13/20  488 tokens/s", ""]


@pytest.mark.parametrize(("height", "room"), [(12, 10), (3, 1), (1, 1)])
def test_display_of_many_arms_fits_the_terminal_and_shows_those_that_moved_last(display, height, room):
    written, shown = display(height=height)
    for step in (1, 2):
        for arm in range(40):
            shown.emit(stepped(f"a.s{arm}", step), lambda: "train")
    shown.emit(stepped("a.s5", 3), lambda: "train")
    shown.close()
    *arms, whole, below = screen(written.getvalue())
    recent = [5, *range(31, 40)] if room == 10 else [5]
    assert [line.split()[0] for line in arms] == [f"a.s{arm}" for arm in recent]
    assert (whole, below) == (f"train  ({room} of 40 arms shown)", "")


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_narrow_terminal_still_has_one_line_an_arm(display, width):
    written, shown = display(width=width)
    for arm in range(3):
        shown.emit(
            stepped(f"a template with a long name 雪雪雪.s{arm}", 1), lambda: "train: 3/30  1:02, about 5:00 left" * 3
        )
    shown.close()
    *lines, below = screen(written.getvalue())
    assert below == ""
    assert [line[:2] for line in lines] == ["a ", "a ", "a ", "tr"] if width > 20 else len(lines) == 4
    assert width < 60 or all(line.endswith("1/10 loss 2.311 lr 2.5e-04 norm 0.81") for line in lines[:3])


def test_markup_in_a_name_is_shown_and_escapes_are_not_obeyed(display):
    written, shown = display(width=200)
    shown.emit(stepped("[red]a[/red]\x1b[2J\x9b1m\r\n\x07.s0", 1), lambda: "train")
    shown.close()
    assert screen(written.getvalue())[0].startswith("[red]a[/red]⟨U+001B⟩[2J⟨U+009B⟩1m⟨U+000D⟩ ⟨U+0007⟩.s0 ━")
    assert not set(written.getvalue()) & {"\x9b", "\x07"}


@pytest.mark.parametrize("is_terminal", [True, False])
def test_no_event_brings_an_escape_to_stderr(monkeypatch, make_terminal, now, is_terminal):
    terminal = make_terminal()
    monkeypatch.setattr(terminal, "isatty", lambda: is_terminal)
    emit = Console(now)
    evil = "\x1b]0;o\x07[b]\x9b31m.s0"
    for stage, steps in (("train", [stepped(evil, 1, 1)]), ("generate", [])):
        emit(Stage(stage, 1, "things"))
        for event in steps:
            emit(event)
        emit(Warned(f"arm {evil} is odd"))
        emit(Progress(stage, 1, 1, evil))
        emit(Warned(f"arm {evil} was given up"))
    said = terminal.getvalue()
    assert not re.search("[\x07\x9b]|\x1b\\]", said)
    assert "\n".join(screen(said)).count("⟨U+001B⟩]0;o⟨U+0007⟩[b]⟨U+009B⟩31m.s0") == 6


@pytest.mark.parametrize("note", ["adapter" * 20, "ことば" * 20, "e"])
def test_the_moving_line_fits_a_narrow_terminal(monkeypatch, make_terminal, now, note):
    terminal = make_terminal()
    monkeypatch.setenv("COLUMNS", "60")
    emit = Console(now)
    for done in (1, 2):
        now.seconds += 10
        emit(Progress("generate", done, 2, note))
    lines = [line for line in re.split(r"\r\x1b\[K|\n", terminal.getvalue()) if line]
    assert [line[:12] for line in lines] == ["generate: 1/", "generate: 2/"]
    assert all(cell_len(line) < 60 and (note in line or cell_len(line) > 57) for line in lines)


def test_terminal_shows_training_in_place_and_warnings_above(make_terminal, now):
    terminal = make_terminal()
    emit = Console(now)
    emit(Stage("train", 2, "arms"))
    for step in (1, 2):
        now.seconds += 10
        for arm in ("a.s0", "b.s0"):
            emit(stepped(arm, step, 2, loss=3 - step))
            emit(Progress("train", 2 * step, 4, "not shown"))
            emit(Warned(f"[b]{arm} in step {step}"))
            assert cursor_is_shown(terminal.getvalue())
    assert sys.stderr is terminal
    head, *warnings, a, b, whole, late, below = screen(terminal.getvalue())
    assert (head, below) == ("train: 2 arms", "")
    assert warnings == ["warning: [b]a.s0 in step 1", "warning: [b]b.s0 in step 1", "warning: [b]a.s0 in step 2"]
    assert [line.split()[0] for line in (a, b)] == ["a.s0", "b.s0"]
    assert all(" 2/2 loss 1.000 " in line for line in (a, b))
    assert whole == "train: 4/4  0:20, about 0:00 left  488 tokens/s"
    assert late == "warning: [b]b.s0 in step 2"


def evaluated(arm, step, value, steps=10):
    return Evaluated(Evaluation(arm, step, arm[:1], "nll", value, 12), steps, None)


def test_display_draws_each_arms_held_out_curve_and_its_newest_value(make_terminal, now):
    terminal = make_terminal()
    emit = Console(now)
    emit(Stage("train", 2, "arms"))
    for arm in ("a.s0", "b.s0"):
        emit(evaluated(arm, 0, 2.0))
    for step, value in enumerate((1.0, 0.5, 0.0, 0.25), 1):
        emit(stepped("a.s0", step, 4))
        emit(evaluated("a.s0", step, value))
        emit(Progress("train", step, 8))
    for step in range(1, 5):
        emit(stepped("b.s0", step, 4))
        emit(Progress("train", step + 4, 8))
    emit(evaluated("b.s0", 4, float("nan")))  # a worker's may come behind the last step
    emit(Stage("generate", 0, "answers"))
    _, a, b, whole, *_ = screen(terminal.getvalue())
    assert a.endswith("norm 0.81 held out 0.250 █▅▃▁▂")
    assert b.endswith("norm 0.81 held out 2.000        ▁") or b.endswith("held out 2.000 ▁")
    assert whole.startswith("train: 8/8")
    assert terminal.getvalue().count("train: 8/8") == 1


def test_without_a_terminal_every_evaluation_is_a_line(now, capsys):
    emit = Console(now)
    emit(evaluated("a\x1b.s0", 0, 2.34567))
    emit(evaluated("a.s0", 4, float("inf")))
    assert capsys.readouterr().err.splitlines() == [
        "train: a⟨U+001B⟩.s0@a 0/10 held-out nll 2.3457",
        "train: a.s0@a 4/10 held-out nll inf",
    ]


class Ascii(io.StringIO):
    encoding = "ascii"


def test_a_terminal_without_block_characters_gets_no_bars():
    shown = ArmsDisplay(Rich(file=Ascii(), force_terminal=True, width=100, height=12), {"a.s0": [1.0, 0.5]})
    shown.emit(stepped("a.s0", 1), lambda: "train")
    shown.close()
    assert screen(shown._console.file.getvalue())[0].endswith("held out 0.500")


def test_sparkline_scales_to_its_own_values():
    assert sparkline([3.0, 1.0, float("nan"), 2.0]) == "█▁ ▅"
    assert sparkline([1.0, 1.0]) == "▁▁"
    assert sparkline([]) == ""


def test_next_stage_ends_a_display_that_an_arm_given_up_left_open(make_terminal, now):
    terminal = make_terminal()
    emit = Console(now)
    emit(Stage("train", 1, "arms"))
    emit(stepped("a.s0", 1, loss=float("nan")))
    emit(Progress("train", 1, 10))
    emit(Warned("arm a.s0 was given up"))
    now.seconds += 75
    emit(Stage("generate", 3, "answers"))
    emit(Progress("generate", 3, 3, "base@plain"))
    assert sys.stderr is terminal
    lines = screen(terminal.getvalue())
    assert lines[:2] == ["train: 1 arms", "warning: arm a.s0 was given up"]
    assert " 1/10 loss nan " in lines[2]
    assert lines[3] == "train: 1/10  1:15, about 11:15 left  488 tokens/s"  # the time went on without events
    assert [line[:13] for line in lines[4:]] == ["generate: 3 a", "generate: 3/3", ""]


def test_terminal_that_cannot_move_its_cursor_gets_plain_lines(monkeypatch, make_terminal, now):
    terminal = make_terminal()
    monkeypatch.setenv("TERM", "dumb")
    emit = Console(now)
    emit(Stage("train", 1, "arms"))
    emit(stepped("a.s0", 1, 1))
    emit(Progress("train", 1, 1))
    assert "\x1b" not in terminal.getvalue()
    assert terminal.getvalue().endswith("a.s0 1/1 loss 2.311 lr 2.5e-04 norm 0.81  488 tokens/s\n")


INTERRUPTED = """
import sys
from dataclasses import replace
from iikata.cli.console import Console
from iikata.pipeline import Progress, Stage, Stepped
from iikata.core.records import TrainStep
tell = Console()
tell(Stage("train", 1, "arms"))
tell(Stepped(TrainStep("a.s0", 1, 2.0, 1e-4, 0.5, 100, 50), 10, 488.0))
tell(Progress("train", 1, 10))
try:
    raise KeyboardInterrupt
except KeyboardInterrupt:
    print("iikata: [interrupted]", file=sys.stderr)
    sys.exit(130)
"""


def test_interrupted_training_leaves_its_lines_whole_and_the_cursor_below():
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "12"}
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED], stderr=theirs, env=environment, check=False)
    os.close(theirs)
    written = os.read(ours, 65536).decode()
    os.close(ours)
    assert ended.returncode == 130
    assert cursor_is_shown(written)
    head, said, arm, whole, below = screen(written)
    assert (head, said, below) == ("train: 1 arms", "iikata: [interrupted]", "")
    assert " 1/10 loss 2.000 lr 1.0e-04 norm 0.50" in arm
    assert whole.startswith("train: 1/10  0:0")


def test_each_arm_of_several_devices_stands_with_its_device_and_the_last_line_with_the_speed_of_all(now, make_terminal):
    terminal, tell = make_terminal(), Console(now)
    tell(Stage("train", 2, "arms"))
    for number, arm in enumerate(("a.s0", "b.s0")):
        tell(replace(stepped(arm, 3, speed=30_000 + number), device=f"node GPU {number}", of_device=10_000 + number))
        tell(Progress("train", 3 * (number + 1), 20))
    tell(Stage("generate", 0, "answers"))
    shown = screen(terminal.getvalue())
    assert [line for line in shown if line.endswith(("node GPU 0 10,000/s", "node GPU 1 10,001/s"))] == shown[1:3]
    assert shown[3].endswith("30,001 tokens/s")


def test_without_a_terminal_a_line_names_the_device(now, capsys):
    tell = Console(now)
    tell(Stage("train", 1, "arms"))
    tell(replace(stepped("a.s0", 10, speed=900), device="node GPU 1", of_device=400))
    tell(Progress("train", 10, 10))
    assert capsys.readouterr().err.endswith("  900 tokens/s (node GPU 1: 400)\n")
