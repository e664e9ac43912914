"""`iikata ask` shows every cell's answer as it is written, from a run, one adapter or the bare base."""

import io
import re

import pytest
from rich.console import Console

from iikata.cli import main
from iikata.cli.ask import AnswerColumns, Lines
from iikata.core.errors import IikataError
from iikata.pipeline import Pipeline
from iikata.pipeline.ask import respondents
from tiny_experiment import experiment

SHORT = ("generate.max_new_tokens=4",)


@pytest.fixture(scope="module")
def run(tmp_path_factory, llama_folder):
    folder = tmp_path_factory.mktemp("ask")
    train = {"seeds": [0], "epochs": 1, "batch_size": 4, "cutoff_len": 200, "lora": {"r": 2}}
    Pipeline(experiment(folder, llama_folder, train=train), folder / "run").run("train", True)
    return folder / "run"


def heard(asked, samples=1):
    """Return what each row was told, in order."""
    told = {}
    asked.ask("Name a colour.", "", samples, lambda key, text, finish: told.setdefault(key, []).append((text, finish)))
    return told


def test_every_cell_of_a_run_answers(run):
    told = heard(respondents(str(run), SHORT), samples=2)
    arms = ["alpaca_short.s0", "plain.s0", "base"]
    cells = [f"{arm}@{template}" for arm in arms for template in ("alpaca_short", "plain")]
    assert sorted(told) == sorted((cell, sample) for cell in cells for sample in range(2))
    assert all(said[-1][1] in ("stop", "length") for said in told.values())


def test_cells_speak_side_by_side(run):
    told = []
    respondents(str(run), SHORT).ask("Name a colour.", "", 1, lambda key, text, finish: told.append((key, finish)))
    ended = next(index for index, (_, finish) in enumerate(told) if finish)
    assert len({key for key, _ in told[:ended]}) == 6


def test_text_grows_token_by_token_and_ends_once(run):
    for said in heard(respondents(str(run), SHORT)).values():
        *growing, (whole, _) = said
        assert all(finish == "" for _, finish in growing)
        assert len(growing) <= 4
        for (before, _), (after, _) in zip(growing, [*growing[1:], (whole, "")], strict=True):
            assert after.startswith(before)


def test_answers_are_the_same_again_and_follow_the_seed(run):
    chosen = {"arms": ["plain.s0"], "templates": ["plain"]}
    first, again = (heard(respondents(str(run), SHORT, **chosen)) for _ in range(2))
    other = heard(respondents(str(run), (*SHORT, "generate.seed=7"), **chosen))
    assert first == again
    assert first != other


def test_adapter_folder_is_asked_with_the_template_stored_in_it(run, llama_folder):
    # Its configuration names a base as others find it; here that is no place to load from.
    told = heard(respondents(str(run / "train" / "plain.s0"), (*SHORT, f"model.base={llama_folder}")))
    assert sorted(told) == [("base@plain", 0), ("plain.s0@plain", 0)]


def test_adapter_without_its_template_asks_for_one(run, tmp_path):
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_bytes((run / "train" / "plain.s0" / name).read_bytes())
    with pytest.raises(IikataError, match="Give --template"):
        respondents(str(tmp_path))


def test_bare_base_is_asked_with_its_own_template(llama_folder, rinna_folder):
    assert respondents(str(llama_folder)).cells() == ["base@native"]
    assert respondents(str(rinna_folder)).cells() == ["base@plain"]
    assert len(heard(respondents(str(rinna_folder), SHORT, templates=["rinna", "alpaca"]))) == 2


def test_unknown_arm_is_refused_with_a_near_one(run):
    with pytest.raises(IikataError, match=r'did you mean "plain\.s0"'):
        respondents(str(run), arms=["plain.s1"])


@pytest.mark.parametrize(
    ("target", "near"),
    [("runs/buttler", "runs/butler"), ("rusn/butler", "runs/butler"), ("./runs/x", ""), ("buttler", ""), ("runs/", "")],
)
def test_a_misspelt_run_folder_is_not_looked_for_on_the_hub(target, near, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "butler").mkdir(parents=True)
    (tmp_path / "runs" / "butler" / "experiment.yaml").write_text("")
    monkeypatch.setattr("iikata.model.files.hub.download", lambda *_: pytest.fail("the hub was asked"))
    told = f'{target}: no such run folder (did you mean "{near}"?)' if near else r"no such run folder|no config\.json"
    with pytest.raises(IikataError, match=re.escape(told) if near else told):
        respondents(target)


def test_a_hub_id_goes_to_the_hub_though_runs_lie_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "butler").mkdir(parents=True)
    (tmp_path / "runs" / "butler" / "experiment.yaml").write_text("")
    asked = []
    monkeypatch.setattr("iikata.model.files.hub.download", lambda base, *_: asked.append(base) or tmp_path)
    with pytest.raises(IikataError):
        respondents("owner/butler")
    assert asked == ["owner/butler"]


def test_command_prints_one_answer_below_the_other_where_there_is_no_terminal(run, capsys):
    arguments = ["ask", str(run), "Why?", "--arm", "base", "--set", "generate.max_new_tokens=3", "--samples", "2"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    heads = [line for line in out.splitlines() if line.startswith("--- ")]
    assert heads == [f"--- base@{name} ({i})" for name in ("alpaca_short", "plain") for i in (1, 2)]


def test_lines_write_the_first_answer_as_it_comes_and_the_next_when_it_is_done(capsys):
    lines = Lines(["a@t", "b@t"], 1)
    lines.emit(("b@t", 0), "late", "stop")
    lines.emit(("a@t", 0), "Re", "")
    assert capsys.readouterr().out == "--- a@t\nRe"
    lines.emit(("a@t", 0), "Red", "")
    assert capsys.readouterr().out == "d"
    lines.emit(("a@t", 0), "Red.", "length")
    assert capsys.readouterr().out == ". […]\n\n--- b@t\nlate\n\n"


NASTY = "\x1b[31mred\x1b]0;title\x07\r\x9b2J\u202e [bold]x[/bold]"


def test_lines_and_columns_show_markup_and_controls_as_text(capsys):
    Lines(["a@t"], 1).emit(("a@t", 0), NASTY, "stop")
    out = capsys.readouterr().out
    assert "⟨U+001B⟩[31mred" in out
    assert not set(out) & set("\x1b\x07\r\x9b\u202e")
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with AnswerColumns(console, ["a@t", "b@t"], 1) as columns:
        columns.emit(("a@t", 0), NASTY, "stop")
        columns.emit(("b@t", 0), "blue", "length")
    last = screen.getvalue().rpartition("a@t")[2]
    (line,) = [line for line in last.splitlines() if "blue" in line]
    assert "⟨U+001B⟩[31mred" in line
    assert "[bold]x[/bold]" in last.replace("│", "")
    assert "\x1b[31m" not in screen.getvalue()


def test_half_a_character_and_half_a_stop_string_are_held_back(run):
    from dataclasses import replace

    asked = respondents(str(run), SHORT, arms=["base"], templates=["plain"])
    asked.templates["plain"] = replace(asked.templates["plain"], stop=("###",), newline="<NL>")
    tokenizer = asked.ctx.tokenizer
    key = ("base@plain", 0)
    assert asked._text(key, tokenizer.ids("red ##")) == "red "
    assert asked._text(key, tokenizer.ids("red ##"), "length") == "red ##"
    assert asked._text(key, tokenizer.ids("red<N")) == "red"
    assert asked._text(key, tokenizer.ids("red<NL>")) == "red\n"
    assert asked._text(key, tokenizer.ids("🐟")[:-1]) == ""
    assert asked._text(key, tokenizer.ids("red 🐟")[:-1], "length") == "red "
    assert asked._text(key, tokenizer.ids("red 🐟")[:-1], "stop") == "red \ufffd"


def test_samples_below_one_are_refused(capsys):
    assert main(["ask", "smollm2", "x", "--samples", "0"]) == 1
    assert "1 or more" in capsys.readouterr().err
