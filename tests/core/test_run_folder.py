"""A run's score files are read as often as they change, and no more often."""

import os

from iikata.core.records import Score
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
    text = store.scores("exact").read_text()
    store.write_score_lines("exact", text.splitlines(keepends=True))
    assert store.scores("exact").read_text() == text
