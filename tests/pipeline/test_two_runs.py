"""`iikata report RUN RUN2` shows two finished runs on one page, and says what is missing."""

import shutil

import pytest

from iikata.cli import main


@pytest.fixture
def two(whole_run, tmp_path):
    return [shutil.copytree(whole_run, tmp_path / name) for name in ("one", "the other")]


def test_two_runs_share_a_page_in_the_first_ones_report(two, capsys):
    assert main(["report", *map(str, two)]) == 0
    path = two[0] / "report" / "beside_the other.html"
    assert capsys.readouterr().out.strip() == str(path)
    html = path.read_text(encoding="utf-8")
    assert "<title>one | the other" in html, "their experiment has one name"
    assert 'href="index.html#show=' in html
    assert 'href="../../the%20other/report/index.html#show=' in html
    assert "Nothing that was declared differs." in html
    assert "Both were scored on the same held-out rows or probes." in html


def test_what_cannot_be_shown_is_refused_with_what_to_do(two, capsys):
    def refused(*arguments):
        assert main(["report", *map(str, arguments)]) == 1
        return capsys.readouterr().err

    assert "the same run twice" in refused(two[0], two[0])
    assert "--set and --out" in refused(*two, "--set", "train.epochs=2")
    (two[1] / "report" / "index.html").unlink()
    assert f"First: iikata report {two[1]}" in refused(*two)
    (two[1] / "compare" / "comparisons.json").unlink()
    assert "nothing has been compared yet" in refused(*two)
    assert not [*two[0].rglob("beside_*")]
