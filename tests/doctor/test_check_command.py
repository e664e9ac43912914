"""`iikata check`, and what the doctor does to a run: an error stops it, --force goes on, all of it is kept."""

import json
import re
from pathlib import Path

import pytest
from examined import ROWS, template, write
from ruamel.yaml import YAML

from iikata.cli import main
from iikata.core.errors import IikataError
from iikata.pipeline import Pipeline
from tiny_experiment import experiment

KEYS = {"rule", "severity", "template", "message", "evidence", "cure"}


def experiment_file(folder: Path, *given, held_out: bool = True, **more) -> str:
    path = folder / "exp.yaml"
    values = write(folder, *given, **more)
    held = [{"instruction": f"Say {n}.", "input": "", "output": f"word {n}"} for n in range(16)]
    (folder / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held))
    if held_out:
        values["data"]["validation"] = "held.jsonl"  # without any, the primary metric is refused
    YAML().dump(values, path)
    return str(path)


def test_json_findings_have_the_six_keys_and_an_error_exits_1(tmp_path, sp_nfkc_folder, capsys):
    assert main(["check", experiment_file(tmp_path, sp_nfkc_folder, ["dolly_ja_rinna"]), "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    assert all(set(finding) == KEYS for finding in findings)
    assert findings[0]["severity"] == "error"


def test_findings_are_said_in_japanese_where_that_is_asked_for(tmp_path, sp_nfkc_folder, capsys, monkeypatch):
    path = experiment_file(tmp_path, sp_nfkc_folder, ["dolly_ja_rinna"])
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    main(["check", path, "--json"])
    english = json.loads(capsys.readouterr().out)
    main(["check", path, "--json", "--lang", "ja"])
    japanese = json.loads(capsys.readouterr().out)
    assert [list(one) for one in japanese] == [list(one) for one in english]
    for en, ja in zip(english, japanese, strict=True):
        assert {key: en[key] for key in ("rule", "severity", "evidence")} == {
            key: ja[key] for key in ("rule", "severity", "evidence")
        }
    assert "the vocabulary lacks some of the template's letters" in english[0]["message"]
    assert "テンプレートの文字の一部が語彙にありません" in japanese[0]["message"]
    main(["check", path])
    out = capsys.readouterr().out
    assert "error unknown_token\n  テンプレート dolly_ja_rinna: テンプレートの文字の一部が語彙にありません" in out
    assert "  対処: templates: [" in out


def test_without_an_error_it_exits_0(tmp_path, byte_bpe_folder, capsys):
    assert main(["check", experiment_file(tmp_path, byte_bpe_folder), "--json"]) == 0
    assert {finding["severity"] for finding in json.loads(capsys.readouterr().out)} == {"info"}


def test_a_person_is_told_rule_template_evidence_and_cure(tmp_path, sp_nfkc_folder, capsys, monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    main(["check", experiment_file(tmp_path, sp_nfkc_folder, ["dolly_ja_rinna"])])
    out = capsys.readouterr().out
    assert "error unknown_token\n  template dolly_ja_rinna:" in out
    assert "  evidence: " in out
    assert "  cure: templates: [" in out
    assert out.splitlines()[-1].startswith("1 error, ")


def test_checking_writes_nothing(tmp_path, byte_bpe_folder):
    main(["check", experiment_file(tmp_path, byte_bpe_folder), "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


@pytest.fixture
def twice(tmp_path, llama_folder):
    """An experiment with one template under two names, and its run folder."""
    for name in ("one", "other"):
        (tmp_path / f"{name}.json").write_text(json.dumps(template()))
    return experiment(tmp_path, llama_folder, templates=["one.json", "other.json"]), tmp_path / "run"


def test_an_error_stops_a_run_before_it_is_signed_and_names_the_cure(twice):
    declared, out = twice
    with pytest.raises(IikataError, match=r"same_tokens[\s\S]*cure: Leave other out of templates[\s\S]*--force"):
        Pipeline(declared, out).run("encode")
    assert not (out / "signature.json").exists()
    assert json.loads((out / "check" / "findings.json").read_text())[0]["rule"] == "same_tokens"


def test_force_goes_on_and_the_error_stays_in_the_findings(twice):
    declared, out = twice
    told = []
    Pipeline(declared, out, told.append).run("encode", force=True)
    assert (out / "signature.json").is_file()
    assert "error" in {item["severity"] for item in json.loads((out / "check" / "findings.json").read_text())}
    assert any("same_tokens (forced)" in getattr(event, "message", "") for event in told)


def test_a_template_cured_after_an_error_is_no_edit_of_the_run(twice, tmp_path, llama_folder):
    declared, out = twice
    with pytest.raises(IikataError, match="same_tokens"):
        Pipeline(declared, out).run("encode")
    (tmp_path / "other.json").write_text(json.dumps(template(prompt_no_input="{instruction} B:")))
    Pipeline(declared, out).run("encode")
    assert (out / "encode" / "counts.json").is_file()


@pytest.mark.long
def test_the_report_shows_a_forced_error(twice):
    declared, out = twice
    Pipeline(declared, out).run(force=True)
    assert "same_tokens" in (out / "report" / "report.md").read_text(encoding="utf-8")
    assert "same_tokens" in (out / "report" / "index.html").read_text(encoding="utf-8")


def test_what_was_read_is_told_before_the_findings(tmp_path, byte_bpe_folder, capsys):
    main(["check", experiment_file(tmp_path, byte_bpe_folder, held_out=False, rows=[*ROWS, ROWS[0]])])
    assert capsys.readouterr().out.splitlines()[:3] == [
        "train.jsonl: read as instructions with answers: 5 rows (columns instruction, input, output)",
        "4 rows to train on, 0 held out, 1 left out",
        "templates: t0 (t0.json)",
    ]


def test_rows_that_encode_leaves_out_are_told_beside_the_json(tmp_path, byte_bpe_folder, capsys):
    rows = [*ROWS, ROWS[0], {"instruction": "Name it.", "output": " "}]
    assert main(["encode", experiment_file(tmp_path, byte_bpe_folder, held_out=False, rows=rows), "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4
    assert "read as instructions with answers: 6 rows" in err
    assert "left out, empty: 1 (train.jsonl:6)" in err
    assert "left out, duplicates: 1 (train.jsonl:5)" in err


def test_a_misspelt_template_is_told_with_its_line(tmp_path, byte_bpe_folder, capsys):
    path = experiment_file(tmp_path, byte_bpe_folder, ["alpaca", "alpcaa_short"])
    told = r'exp\.yaml:\d+:3: template "alpcaa_short" is unknown \(did you mean "alpaca_short"\?\)'
    for command in (["check"], ["encode", "--json"]):
        assert main([command[0], path, *command[1:]]) == 1
        assert re.search(told, "".join(capsys.readouterr()))
