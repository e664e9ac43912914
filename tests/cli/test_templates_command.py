"""`iikata templates` converts a template to its other form, or says why it cannot."""

import json

from iikata.cli import main
from iikata.templates import TEMPLATES, read_saved
from tokenizer_folders import CHATML


def test_built_in_template_becomes_a_jinja_file_and_comes_back(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["templates", "convert", "rinna", "r.jinja"]) == 0
    assert main(["templates", "convert", "r.jinja", "r.json"]) == 0
    back = read_saved(tmp_path / "r.json")
    assert back.hash == TEMPLATES["rinna"].hash
    assert back.name == "r"
    assert capsys.readouterr().out.split() == ["r.jinja", "r.json"]


def test_jinja_file_is_shown_with_names_for_special_tokens(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["templates", "convert", "plain", "p.jinja"])
    assert main(["templates", "show", "p.jinja"]) == 0
    assert "{output}[eos_token]" in capsys.readouterr().out


def test_what_is_not_exact_is_refused_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chat.jinja").write_text(CHATML)
    (tmp_path / "stops.json").write_text(
        json.dumps({"prompt_input": "{instruction}{input}", "prompt_no_input": "{instruction}", "stop": ["##"]})
    )
    for arguments, reason in (
        (["chat.jinja", "chat.json"], "cannot be converted exactly: it ends answers with"),
        (["stops.json", "stops.jinja"], "a Jinja file has no word for it"),
        (["plain", "stops.json"], "is not overwritten"),
        (["plain", "plain.txt"], "write to a name that ends in"),
        (["plain"], "needs where to write"),
    ):
        assert main(["templates", "convert", *arguments]) == 1
        assert reason in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chat.jinja", "stops.json"]
