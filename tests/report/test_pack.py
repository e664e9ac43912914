"""Answers are packed without loss, small, and the same every time."""

import base64
import gzip
import json
from collections import Counter

import pytest
from synthetic_run import METRICS, run

from iikata.core.records import Answer
from iikata.report.pack import LONGEST, pack


def opened(chunk):
    return json.loads(gzip.decompress(base64.b64decode(chunk)))


def packed(data, **more):
    scores = {name: found for name, found in data.scores.items() if name != "nll"}
    return pack(data.answers, [probe.id for probe in data.probes], scores, **more)


@pytest.fixture(scope="module")
def data():
    return run(probes=6)


def test_every_answer_comes_back_with_its_finish_and_scores(data):
    found, made = Counter(), packed(data)
    for probe, chunk in zip(data.probes, map(opened, made.chunks), strict=True):
        for place, rows in chunk["cells"].items():
            for seed, *texts in rows:
                for text in texts:
                    found[(*made.cells[int(place)], seed, probe.id, *chunk["texts"][text][:2])] += 1
    asked = Counter(
        (a.trained_on, a.prompted_with, a.seed, a.probe, a.text, int(a.finish != "stop")) for a in data.answers
    )
    assert found == asked
    assert made.metrics == [name for name in METRICS if name != "nll"]


def test_equal_answers_are_stored_once(data):
    texts = [tuple(map(str, entry)) for chunk in packed(data).chunks for entry in opened(chunk)["texts"]]
    per_probe = [len(opened(chunk)["texts"]) for chunk in packed(data).chunks]
    assert len(texts) == sum(per_probe) < len(data.answers) / 2


def test_a_score_that_is_missing_is_null(data):
    place = packed(data).metrics.index("contains")
    chunk = opened(packed(data).chunks[3])  # p03: its second samples have no score.
    assert None in [scores[place] for _, _, scores in chunk["texts"]]


def test_a_small_budget_shows_fewer_samples_and_says_so(data):
    full = packed(data)
    part = packed(data, budget=sum(map(len, full.chunks)) - 1)
    assert (full.shown, part.shown, part.samples) == (2, 1, 2)
    assert len(opened(part.chunks[1])["cells"]["0"][0]) == 2, "the seed and one answer"


def test_an_endless_answer_is_cut_and_says_so():
    answer = Answer("a", 0, "a", "p", 0, "x" * (LONGEST + 5), "length", 9)
    text = opened(pack([answer], ["p"], {}).chunks[0])["texts"][0][0]
    assert text == "x" * LONGEST + " … (+5)"


def test_a_run_without_answers_packs_nothing():
    made = pack([], ["p"], {})
    assert opened(made.chunks[0]) == {"texts": [], "cells": {}}
    assert (made.cells, made.shown, made.samples) == ([], 0, 0)
