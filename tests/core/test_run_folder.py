"""A run's score files are read as often as they change, and no more often."""

import os

import pytest

from iikata.core.records import Arm, Score
from iikata.run_folder import RunFolder


def scores(value):
    return [Score("alpaca", 0, "alpaca", "p1", "p1", sample, "exact", value, "v") for sample in range(3)]


def test_a_score_file_is_read_once_and_again_when_it_is_another(tmp_path, monkeypatch):
    store, read = RunFolder(tmp_path), []
    whole = RunFolder.read_scores
    monkeypatch.setattr(RunFolder, "read_scores", lambda self, metric: read.append(metric) or whole(self, metric))
    store.write_scores("exact", scores(0.0))
    assert store.scores_once("exact") == store.scores_once("exact") == scores(0.0)
    store.write_scores("exact", scores(0.25))
    assert store.scores_once("exact") == scores(0.25)
    store.write_scores("exact", scores(0.75))  # as many bytes
    os.utime(store.scores("exact"), (0, 0))
    assert store.scores_once("exact") == scores(0.75)
    assert read == ["exact"] * 3


def test_lines_made_elsewhere_are_written_as_they_are(tmp_path):
    store = RunFolder(tmp_path)
    store.write_scores("exact", scores(1.0))
    text = store.scores("exact").read_bytes()
    store.write_score_lines("exact", text.splitlines(keepends=True))
    assert store.scores("exact").read_bytes() == text


def test_lines_that_break_off_replace_nothing(tmp_path):
    store = RunFolder(tmp_path)
    store.write_scores("exact", scores(1.0))
    before = store.scores("exact").read_bytes()

    def lines():
        yield b"{}\n" * 100_000
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write_score_lines("exact", lines())
    assert [path.read_bytes() for path in store.scores("exact").parent.iterdir()] == [before]


def test_what_a_killed_process_left_half_written_is_cleared_wherever_it_lies(tmp_path):
    store = RunFolder(tmp_path)
    left = store.arm(Arm("alpaca", 0)) / ".steps.jsonl.tmp"
    left.parent.mkdir(parents=True)
    left.touch()
    with store.locked():
        assert not left.exists()


def test_arms_are_those_of_the_very_template_though_its_name_has_dots(tmp_path):
    store = RunFolder(tmp_path)
    for name in ("my.style", "my"):
        store.arm(Arm(name, 0)).mkdir(parents=True)
    assert store.arms_of("my.style") == [store.arm(Arm("my.style", 0))]
    assert store.arms_of("my") == [store.arm(Arm("my", 0))]
