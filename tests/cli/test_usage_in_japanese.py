"""Wrong usage is told in the language of the environment, as every other error."""

import pytest

from iikata.cli import main


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run"], "次の引数が必要です：EXP"),
        (["run", "e.yaml", "--to", "trian"], "--to に 'trian' は使えません。使えるのは 'encode', "),
        (["run", "e.yaml", "--foo"], "知らない引数です：--foo"),
        (["serve", "run", "--port", "x"], "--port に 'x' は使えません。整数を指定してください"),
        (["compare", "--margin", "x"], "--margin に 'x' は使えません。使えるのは次のものです：0 より大きい数か、"),
        (["finetune", "--train_on_inputs=maybe"], "に 'maybe' は使えません。True か False を指定してください"),
    ],
)
def test_wrong_usage_is_told_in_japanese(words, told, monkeypatch, capsys):
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err
