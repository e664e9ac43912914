"""Ratings are on the disk once given, survive a torn line and threads, and are taken back without rewriting."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from rated_run import MARKERS, answered, asked

from iikata.core.errors import IikataError
from iikata.core.records import Arm, Cell
from iikata.rating import Ratings, pairs, signature_of

PROBES = asked(4)
ANSWERS = answered(PROBES)
SHOWN = pairs(ANSWERS, PROBES, MARKERS, "mia", 0)
SWAPPED = next(pair for pair in SHOWN if pair.left is pair.second)


@pytest.fixture
def ratings(tmp_path):
    return Ratings(tmp_path / "rate" / "ratings.jsonl")


@pytest.mark.parametrize(("choice", "kept"), [("left", "second"), ("right", "first"), ("tie", "tie"), ("skip", "skip")])
def test_a_choice_is_kept_in_terms_of_the_answers_and_not_of_the_sides(ratings, choice, kept):
    made = ratings.add(SWAPPED, "mia", choice)
    assert made.choice == kept
    assert (made.first, made.second) == (SWAPPED.right.cell, SWAPPED.left.cell)
    assert ratings.all() == [made]
    line = json.loads(ratings.path.read_text())
    assert line["first"] == {
        "trained_on": made.first.arm.variant,
        "seed": made.first.arm.seed,
        "prompted_with": made.first.prompted_with,
    }
    assert "left" not in line.values()


def test_a_choice_has_reached_the_disk_before_the_next_pair_is_shown(ratings, monkeypatch):
    reached = []
    monkeypatch.setattr("os.fsync", lambda file: reached.append(os.fstat(file).st_size))
    ratings.add(SWAPPED, "mia", "left")
    assert reached == [ratings.path.stat().st_size]


def test_before_anything_is_rated_there_is_nothing(ratings):
    assert ratings.all() == []
    assert ratings.of("mia") == {}
    assert ratings.undo("mia") is None
    assert not ratings.path.exists()


def test_undo_takes_back_a_raters_own_last_choice_and_rewrites_nothing(ratings):
    one, two = (ratings.add(pair, "mia", "tie") for pair in SHOWN[:2])
    ratings.add(SHOWN[2], "ken", "left")
    before = ratings.path.read_bytes()
    assert ratings.undo("mia") == two
    assert ratings.path.read_bytes().startswith(before)
    assert ratings.of("mia") == {one.pair: one}
    assert len(ratings.of("ken")) == 1
    assert ratings.undo("mia") == one
    assert ratings.undo("mia") is None
    assert ratings.of("mia") == {}


def test_a_later_choice_about_the_same_pair_replaces_and_undo_brings_the_earlier_back(ratings):
    first = ratings.add(SHOWN[0], "mia", "tie")
    other = ratings.add(SHOWN[1], "mia", "tie")
    second = ratings.add(SHOWN[0], "mia", "skip")
    assert list(ratings.of("mia").values()) == [other, second]
    ratings.undo("mia")
    assert list(ratings.of("mia").values()) == [first, other]


def test_a_torn_last_line_is_dropped_and_nothing_is_glued_to_it(ratings):
    kept = ratings.add(SHOWN[0], "美亜", "tie")
    whole = ratings.path.read_bytes()
    ratings.add(SHOWN[1], "美亜", "tie")
    torn = ratings.path.read_bytes()[: len(whole) + 40]
    ratings.path.write_bytes(torn)
    assert ratings.all() == [kept]
    again = ratings.add(SHOWN[1], "美亜", "skip")
    assert ratings.all() == [kept, again]


def test_threads_lose_no_choice(ratings):
    jobs = [(pair, rater) for pair in SHOWN for rater in ("mia", "ken", "eva")]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda job: Ratings(ratings.path).add(*job, "left"), jobs))
    assert sorted((rating.pair, rating.rater) for rating in ratings.all()) == sorted((p.id, r) for p, r in jobs)


def test_a_rating_holds_for_the_rated_texts_and_no_others(ratings):
    rating = ratings.add(SHOWN[0], "mia", "left")

    def signatures(answers):
        return {(Cell(Arm(a.trained_on, a.seed), a.prompted_with), a.probe, a.sample): signature_of(a) for a in answers}

    rated = {rating.first.name, rating.second.name}
    assert rating.holds(signatures(ANSWERS))
    for change in ({"text": "another"}, {"signature": "made anew"}):
        changed = [replace(a, **change) if a.cell in rated else a for a in ANSWERS]
        assert not rating.holds(signatures(changed))
    assert not rating.holds(signatures([a for a in ANSWERS if a.cell != rating.first.name]))


def test_an_unknown_choice_and_a_rater_without_a_name_are_refused(ratings):
    with pytest.raises(IikataError, match="left, right, tie, skip"):
        ratings.add(SHOWN[0], "mia", "first")
    with pytest.raises(IikataError, match="name"):
        ratings.add(SHOWN[0], " ", "left")
    assert not ratings.path.exists()


@pytest.mark.parametrize("line", ["{", "[]", '{"rater": "mia"}', '{"rater": "mia", "choice": "left", "pair": "x"}'])
def test_a_line_that_is_no_rating_is_named(ratings, line):
    ratings.add(SHOWN[0], "mia", "tie")
    with ratings.path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(IikataError, match=r"ratings\.jsonl:2:.* Delete the line"):
        ratings.all()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "rate").write_text("a file")
    with pytest.raises(IikataError, match="could not be written"):
        Ratings(tmp_path / "rate" / "ratings.jsonl").add(SHOWN[0], "mia", "tie")


def test_two_processes_that_rate_at_once_lose_and_tear_no_line(tmp_path):
    code = (
        "import sys; from pathlib import Path; from iikata.rating.ratings import Ratings\n"
        "for n in range(60): Ratings(Path(sys.argv[1]))._append({'rater': sys.argv[2], 'n': n, 'more': 'x' * 9000})"
    )
    path = tmp_path / "rate" / "ratings.jsonl"
    both = [subprocess.Popen([sys.executable, "-c", code, str(path), who]) for who in ("a", "b")]
    assert [one.wait() for one in both] == [0, 0]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((line["rater"], line["n"]) for line in lines) == [(who, n) for who in "ab" for n in range(60)]
