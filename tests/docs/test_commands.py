"""README and docs show commands that exist; the README's own are run."""

import json
import re

import pytest
from commands import PAGES, ROOT, blocks, inline_commands, shell_lines

from iikata.cli import main
from iikata.cli.parser import parser
from iikata.templates import TEMPLATES, saved
from tiny_experiment import write_files

TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
VALUES = {"X": "0.1"}
"""What stands for a number in a usage line."""


def shown(page):
    return [words for words in shell_lines(page) + inline_commands(page) if words[0] == "iikata"]


@pytest.mark.parametrize("page", PAGES)
def test_each_iikata_command_is_one(page):
    for words in shown(page):
        given = [VALUES.get(word, "score" if word == "STAGE" else word) for word in words[1:] if word != "..."]
        if len(given) > 1 or given[0] in ("demo", "schema"):
            parser().parse_args(given)
        else:  # a verb by its name alone
            with pytest.raises(SystemExit) as left:
                parser().parse_args([*given, "--help"])
            assert left.value.code == 0


@pytest.mark.parametrize("page", ["README.md", "README.ja.md", "CONTRIBUTING.md"])
def test_each_make_command_is_a_target(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert set(re.findall(r"^    make ([\w-]+)|`make ([\w-]+)", text, re.MULTILINE))
    for pair in re.findall(r"^    make ([\w-]+)|`make ([\w-]+)", text, re.MULTILINE):
        assert "".join(pair) in TARGETS


@pytest.mark.parametrize("page", ["README.md", "README.ja.md"])
def test_a_readme_is_short_and_its_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text.count("\n") <= 90
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize("page", ["README.md", "README.ja.md"])
def test_a_readmes_experiment_is_checked_planned_and_run_by_its_commands(page, tmp_path, monkeypatch, llama_folder):
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    (tmp_path / "train.jsonl").rename("rows.jsonl")
    (tmp_path / "my-model").symlink_to(llama_folder)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "mine.json").write_text(saved(TEMPLATES["plain"]), encoding="utf-8")
    (text,) = blocks(page, "yaml")
    (tmp_path / "my.yaml").write_text(
        text.replace(", native]", "]"), encoding="utf-8"
    )  # the model has no chat template
    small = {
        "data.validation": 4,
        "train.seeds": [0],
        "train.epochs": 1,
        "generate.samples": 1,
        "generate.max_new_tokens": 2,
        "score.metrics": ["nll", "contains"],
    }
    settings = [word for name, value in small.items() for word in ("--set", f"{name}={json.dumps(value)}")]
    commands = [words[1:] for words in shell_lines(page) if words[0] == "iikata"]
    assert [words[0] for words in commands] == ["check", "plan", "run"]
    assert [main([*words, *settings]) for words in commands] == [0, 0, 0]
    assert len(list(tmp_path.glob("runs/*/report/index.html"))) == 1
