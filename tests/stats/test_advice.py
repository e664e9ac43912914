"""The short answers and the advice: their texts on a table of synthetic results, and what they never do."""

import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from made_scores import made, normal

from iikata.core.records import Comparison, Gate
from iikata.metrics import Metric
from iikata.stats import compare
from iikata.stats.short import ShortAnswers
from iikata.stats.short_phrases import ADVICE, SHORT
from iikata.stats.verdict import prompt_must_match

GOLDEN = Path(__file__).parents[1] / "golden" / "advice.txt"
NLL = Metric.declared("nll", "lower", None, "bits per byte", "likelihood", on_rows=True)
CONTAINS = Metric.declared("contains", "higher", (0.0, 1.0), "share of answers", "content")
FINISH = Metric.declared("finish", "higher", (0.0, 1.0), "share of answers", "form")
INFOS = {info.name: info for info in (NLL, CONTAINS, FINISH)}


def told(
    matched=(1.0, 1.0),
    base=1.5,
    cross=None,
    contains=None,
    finish=None,
    margin=0.1,
    S=5,
    C=60,
    seed_sd=0.005,
    primary="nll",
    gates=(),
    names=("alpaca", "native", "dolly_ja"),
):
    """Return the verdict of templates whose nll, and that of the base and of prompts across, have these means."""
    names = [f"{name}" for name in names[: len(matched)]]
    scores = []

    def add(metric, means, clip=(-9, 9)):
        tables = {
            cell: np.clip(normal(*((S, C, mean, seed_sd) if cell[0] else (1, C, mean, 0.0)), 0.05, rng=i), *clip)
            for i, (cell, mean) in enumerate(means.items())
        }  # fmt: skip
        scores.extend(made(tables, metric))

    cells = {(t, t): mean for t, mean in zip(names, matched, strict=True)}
    if cross is not None and len(names) > 1:
        cells |= {(names[0], names[1]): cross, (names[1], names[0]): cross}
    if base is not None:
        cells |= {(None, t): base + 0.1 * i for i, t in enumerate(names)}
    add("nll", cells)
    for metric, pair in (("contains", contains), ("finish", finish)):
        if pair is not None:
            add(metric, {(t, t): pair[1] for t in names} | {(None, t): pair[0] for t in names}, clip=(0, 1))
    margins = {} if margin is None else {primary: margin, "contains": 0.1}
    return compare(scores, INFOS, primary, margins, gates=gates).verdict


DEAD = Gate("live_adapter", "alpaca.s1", False, "it equals the base")
SAME = Gate("distinct_templates", "alpaca|native", False, "same tokens")
LONG = (
    "a_template_with_a_rather_long_name_that_somebody_gave_it",
    "another_template_with_a_name_longer_still_than_that",
)
TABLE = {
    "the template matters, beyond the margin": dict(matched=(1.0, 1.3)),
    "it matters, beyond the margin is open": dict(matched=(1.0, 1.105), seed_sd=0.02),
    "it matters, no margin": dict(matched=(1.0, 1.3), margin=None),
    "a small difference": dict(matched=(1.0, 1.04)),
    "equivalent": dict(matched=(1.0, 1.0), S=8, C=150, seed_sd=0.001),
    "three equivalent": dict(matched=(1.0, 1.0, 1.0), S=8, C=150, seed_sd=0.001),
    "three: one worse, two alike": dict(matched=(1.0, 1.0, 1.4), S=8, C=150, seed_sd=0.001),
    "three: one worse, two open": dict(matched=(1.0, 1.02, 1.9), seed_sd=0.1),
    "three open": dict(matched=(1.0, 1.02, 1.05), seed_sd=0.2),
    "open": dict(matched=(1.0, 1.02), seed_sd=0.1),
    "open, no margin": dict(matched=(1.0, 1.0), margin=None),
    "few rows and seeds, but far apart": dict(matched=(1.0, 1.5), S=2, C=8),
    "few rows and seeds": dict(matched=(1.0, 1.0), S=2, C=8, seed_sd=0.05),
    "a single row": dict(matched=(1.0, 1.3), S=1, C=1),
    "one seed": dict(matched=(1.0, 1.3), S=1),
    "few rows": dict(matched=(1.0, 1.3), C=12),
    "few rows, matched ones too": dict(matched=(1.0, 1.3), C=8, cross=2.0),
    "one template": dict(matched=(1.0,)),
    "a dead adapter": dict(matched=(1.0, 1.3), gates=(DEAD,), cross=1.5),
    "the same template twice": dict(matched=(1.0, 1.0), gates=(SAME,)),
    "no base": dict(matched=(1.0, 1.3), base=None),
    "another prompt costs": dict(cross=1.6, contains=(0.0, 0.06), finish=(0.0, 0.97)),
    "another prompt costs little": dict(cross=1.04, S=8, C=150, seed_sd=0.001),
    "another prompt costs nothing": dict(cross=1.0, S=8, C=150, seed_sd=0.001),
    "another prompt is better": dict(cross=0.6),
    "another prompt: open": dict(cross=1.05, seed_sd=0.1),
    "LoRA did harm": dict(base=0.6, contains=(0.5, 0.2)),
    "LoRA was not needed": dict(base=1.0, S=8, C=150, seed_sd=0.001, contains=(0.4, 0.4)),
    "LoRA helped a little": dict(base=1.05, S=8, C=150, seed_sd=0.001, contains=(0.4, 0.4)),
    "LoRA: open": dict(base=1.03, seed_sd=0.3, contains=(0.4, 0.5)),
    "LoRA: one template, open on few rows": dict(matched=(1.0,), base=1.02, S=2, C=12, seed_sd=0.05),
    "LoRA: the untuned model ahead on few rows": dict(matched=(1.0,), base=0.5, S=2, C=12),
    "LoRA taught right answers": dict(contains=(0.2, 0.6), finish=(0.1, 0.9)),
    "LoRA cost right answers": dict(contains=(0.6, 0.2), finish=(0.1, 0.9)),
    "right answers are open": dict(contains=(0.3, 0.45), seed_sd=0.1),
    "right answers as the primary": dict(contains=(0.2, 0.6), primary="contains", cross=1.4),
    "long names": dict(matched=(1.0, 1.3), cross=1.6, names=LONG),
}


@pytest.fixture(scope="module")
def verdicts():
    return {name: told(**given) for name, given in TABLE.items()}


def test_every_branch_says_what_was_read_and_found_right(verdicts):
    lines = []
    for name, verdict in verdicts.items():
        lines.append(f"## {name}")
        for language in ("en", "ja"):
            lines += [*verdict[f"short_{language}"].split("\n"), f"=> {verdict[f'advice_{language}']}", ""]
    said = "\n".join(lines)
    if os.environ.get("IIKATA_GOLDEN") == "write":
        GOLDEN.write_text(said, encoding="utf-8")
    assert said == GOLDEN.read_text(encoding="utf-8")


def test_an_answer_has_at_most_140_characters_and_each_question_one(verdicts):
    for name, verdict in verdicts.items():
        for language in ("en", "ja"):
            answers = verdict[f"short_{language}"].split("\n")
            assert len(answers) == 3
            assert max(map(len, answers)) <= 140, name


def test_the_table_reaches_every_verdict(verdicts):
    for key, words in {
        "factor_matters": {"MATTERS", "SMALL", "EQUIVALENT", "INCONCLUSIVE", "NOT_ASSESSABLE"},
        "prompt_must_match": {"MATTERS", "SMALL", "EQUIVALENT", "INCONCLUSIVE", "NOT_ASSESSABLE"},
        "lora_needed": {"YES", "SMALL", "NO", "HARMED", "INCONCLUSIVE", "NOT_ASSESSABLE"},
    }.items():
        assert set(Counter(verdict[key] for verdict in verdicts.values())) == words


def test_few_rows_never_say_yes(verdicts):
    for name in ("few rows", "few rows, matched ones too", "few rows and seeds, but far apart"):
        for part in ("short_en", "advice_en"):
            said = verdicts[name][part]
            assert "Yes" not in said or name == "few rows"
    assert verdicts["few rows, matched ones too"]["advice_en"].startswith("On these 8 held-out rows only")


def test_an_open_answer_names_the_untuned_model_as_a_cell_of_the_base(verdicts):
    for name, said in {
        "LoRA: open": "minus base@alpaca is",
        "LoRA: one template, open on few rows": "alpaca minus base@alpaca is",
        "LoRA: the untuned model ahead on few rows": "base@alpaca is ahead by",
    }.items():
        assert said in verdicts[name]["short_en"].split("\n")[2]


def test_both_languages_have_the_same_phrases():
    for table in (SHORT, ADVICE):
        assert table["en"].keys() == table["ja"].keys()


@pytest.mark.parametrize(
    ("found", "summary"),
    [
        ([("MATTERS", False), ("EQUIVALENT", False)], "MATTERS"),
        ([("MATTERS", True), ("INCONCLUSIVE", False)], "INCONCLUSIVE"),
        ([("MATTERS", True)], "EQUIVALENT"),
        ([], "NOT_ASSESSABLE"),
    ],
)
def test_a_prompt_must_match_only_where_another_does_worse(found, summary):
    assert prompt_must_match(found) == summary


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (dict(matched=(1.3, 1.0)), "native"),
        (dict(matched=(1.0, 1.0), S=8, C=150, seed_sd=0.001), ("alpaca", "native")),
        (dict(matched=(1.0, 1.02), seed_sd=0.1), None),
        (dict(matched=(1.0, 1.3), base=0.5), None),
        (dict(matched=(1.0,)), "alpaca"),
        (dict(matched=(1.0,), base=0.5), None),
    ],
)
def test_what_is_recommended_is_what_the_advice_says_to_train_with_and_nothing_else(given, wanted):
    verdict = told(**given)
    found = verdict["recommended"]
    if wanted is None:
        assert found is None
        return
    assert found["trained_on"] in wanted
    assert (found["prompted_with"], found["seed"]) == (found["trained_on"], 0)
    if len(given["matched"]) > 1:
        assert f"with {found['trained_on']}" in verdict["advice_en"] or "any of these" in verdict["advice_en"]


def asked_thrice(names, verdict, scope, both_few=False):
    """Return a comparison of each question, with numbers of many digits."""
    numbers = {"difference": -0.01234, "interval": (-0.0234, 0.0123), "interval_90": (-0.0223, 0.0113), "p_holm": 0.012}
    kinds = {"adapters": 2, "draws": 2} if both_few else {"adapters": 5, "draws": 4}
    detail = {"replicates": kinds, "both_few": both_few, "noise_floor": None, "better": "lower"}
    detail |= {"clusters_aside": 0, "best_on_choosing": True}
    gates = (Gate("distinct_templates", "|".join(names), False, "").__dict__,) if verdict == "NOT_ASSESSABLE" else ()
    a, b = ({"trained_on": one, "prompted_with": one} for one in names)
    pairs = {"matched": (a, b), "mismatch": (a | {"prompted_with": names[1]}, a)}
    pairs["tuned_vs_best_base"] = a, {"trained_on": None, "prompted_with": names[1]}
    about = {"metric": "nll", "verdict": verdict, "beyond_margin": False, "scope": scope, "level": 0.95, "p": 0.01}
    about |= {"n_seeds": 5, "n_probes": 300, "n_clusters": 9 if both_few else 150, "n_samples": 1}
    about |= {"mde": None, "needed": None, "gates": gates, "detail": detail}
    return [Comparison(question, *pair, **about, **numbers) for question, pair in pairs.items()]


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("names", [("Alpaca", "native"), LONG])
@pytest.mark.parametrize("scope", ["these_adapters", "these_probes"])
def test_a_limited_answer_is_one_sentence_of_at_most_140_characters(scope, names, language):
    for verdict, lora in (("MATTERS", "YES"), ("SMALL", "SMALL"), ("EQUIVALENT", "NO"), ("INCONCLUSIVE", "HARMED")):
        told = asked_thrice(names, verdict, scope)
        said = {"factor": "template", "factor_matters": verdict, "prompt_must_match": verdict, "lora_needed": lora}
        for answer in ShortAnswers(told, NLL, said | {"margin": 0.0456}, language).answers():
            assert len(answer) <= 140, answer
            assert not re.search(r": [UNV](?!ative)", answer), answer
            assert answer.startswith(("Of these adapters only", "On these 150 documents", "この")), answer


UNIT = "words of the answer that stand in the first sentence of the reference as somebody wrote it down by hand"
WORDY = tuple(
    f"{name} (in the wording (of {i} May) that everybody here calls the usual one)" for i, name in enumerate(LONG)
)


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("scope", ["recipe", "these_adapters", "these_probes"])
@pytest.mark.parametrize("names", [("a", "b"), WORDY])
@pytest.mark.parametrize(("unit", "factor"), [("bits", "template"), (UNIT, "x".join(LONG)), (UNIT * 9, "a")])
def test_no_name_or_unit_makes_an_answer_longer_and_no_number_is_cut(unit, factor, names, scope, language):
    info = Metric.declared("nll", "lower", None, unit, "likelihood", on_rows=True)
    wholes = {"−0.0123", "−0.0234", "0.0123", "0.0234", "−0.0223", "0.0113", "0.0223", "−0.0113", "0.0456", "0.012"}
    wholes |= {"0", "1", "2", "3", "4", "5", "9", "150"}
    for verdict in ("MATTERS", "SMALL", "EQUIVALENT", "INCONCLUSIVE", "NOT_ASSESSABLE"):
        for lora in ("YES", "HARMED", "SMALL", "NO", "INCONCLUSIVE", "NOT_ASSESSABLE"):
            for few, margin, asked in (
                (False, 0.0456, True),
                (False, None, True),
                (True, None, True),
                (False, 0.0456, False),
            ):
                told = asked_thrice(names, verdict, scope, few) if asked else []
                said = {"factor": factor, "factor_matters": verdict, "prompt_must_match": verdict, "lora_needed": lora}
                for answer in ShortAnswers(told, info, said | {"margin": margin}, language).answers():
                    assert len(answer) <= 140, answer
                    assert answer.count("(") == answer.count(")") or names == WORDY, answer
                    assert set(re.findall(r"−?\d[\d.]*(?<!\.)", answer)) <= wholes, answer
