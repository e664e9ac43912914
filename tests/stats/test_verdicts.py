"""The ordered rules of the verdict, Holm and Benjamini-Hochberg, and the sentences."""

import re
import string
from collections import Counter
from itertools import product

import numpy as np
import pytest
from made_scores import RATE, made, normal
from statsmodels.stats.multitest import multipletests

from iikata.metrics import Metric
from iikata.stats import compare
from iikata.stats.gates import shapes
from iikata.stats.phrases import PHRASES, SHAPES
from iikata.stats.sentence import Speaker
from iikata.stats.verdict import benjamini_hochberg, holm, lora_needed, verdict

RULES = [
    # gates, interval, interval_90, margin, adjusted p, permutation p, both few -> verdict, beyond_margin
    (["failed"], (0.2, 0.4), (0.22, 0.38), 0.1, 0.001, 0.001, False, ("NOT_ASSESSABLE", None)),
    ([], (-0.05, 0.05), (-0.04, 0.04), 0.1, 0.9, 0.9, False, ("EQUIVALENT", None)),
    ([], (0.01, 0.07), (0.02, 0.06), 0.1, 0.001, 0.001, False, ("SMALL", None)),
    ([], (0.01, 0.12), (0.02, 0.10), 0.1, 0.001, 0.001, False, ("MATTERS", False)),  # on the margin is not inside it
    ([], (0.11, 0.40), (0.12, 0.38), 0.1, 0.001, 0.001, False, ("MATTERS", True)),
    ([], (-0.40, -0.11), (-0.38, -0.12), 0.1, 0.001, 0.001, False, ("MATTERS", True)),
    ([], (0.11, 0.40), (0.12, 0.38), None, 0.001, 0.001, False, ("MATTERS", None)),
    ([], (0.11, 0.40), (0.12, 0.38), 0.1, 0.06, 0.001, False, ("INCONCLUSIVE", None)),  # lost in the family
    ([], (0.11, 0.40), (0.12, 0.38), 0.1, 0.001, 0.06, False, ("INCONCLUSIVE", None)),  # the permutation denies
    ([], (0.11, 0.40), (0.12, 0.38), 0.1, 0.001, None, False, ("MATTERS", True)),  # no permutation over few clusters
    ([], (-0.05, 0.05), (-0.04, 0.04), None, 0.9, 0.9, False, ("INCONCLUSIVE", None)),  # no margin, no equivalence
    ([], (-0.20, 0.30), (-0.15, 0.25), 0.1, 0.7, 0.7, False, ("INCONCLUSIVE", None)),
    ([], (-0.05, 0.05), (-0.04, 0.04), 0.1, 0.001, 0.001, True, ("INCONCLUSIVE", None)),
    ([], None, None, 0.1, None, None, False, ("INCONCLUSIVE", None)),
]


@pytest.mark.parametrize("rule", RULES)
def test_the_first_rule_that_holds_gives_the_verdict(rule):
    *given, told = rule
    assert verdict(*given, alpha=0.05) == told


@pytest.mark.parametrize(("ours", "theirs"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
@pytest.mark.parametrize("size", [1, 2, 6, 40])
def test_adjusted_p_is_that_of_statsmodels(ours, theirs, size):
    p = np.random.default_rng(size).uniform(0, 0.2, size) ** 2
    p[-1] = p[0]
    assert list(ours(p)) == pytest.approx(list(multipletests(p, method=theirs)[1]))


def test_an_empty_family_needs_no_adjustment():
    assert len(holm([])) == len(benjamini_hochberg([])) == 0


def test_rare_failures_skew_and_an_odd_seed_are_seen():
    draw = np.random.default_rng(1).normal
    calm = draw(0, 0.02, (5, 40))
    assert shapes(calm) == []
    failing = calm.copy()
    failing[:, 7] -= 0.8
    assert shapes(failing) == ["rare_large"]
    long_tailed = calm + np.random.default_rng(1).lognormal(0, 1, 40)
    assert shapes(long_tailed) == ["skewed"]
    sparse = np.zeros((5, 40))
    sparse[:, :2] = 0.5
    assert shapes(sparse) == ["rare_large"]
    collapsed = calm.copy()
    collapsed[3] -= 0.4
    assert shapes(collapsed) == ["odd_seed"]


@pytest.mark.parametrize("language", PHRASES)
def test_both_languages_have_the_same_phrases_and_fields(language):
    def named(text):
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    english = PHRASES["en"]
    assert PHRASES[language].keys() == english.keys()
    for key, phrase in PHRASES[language].items():
        assert named(phrase) == named(english[key]), key
    assert SHAPES[language].keys() == SHAPES["en"].keys()


def said(a, b, base=0.5, margin=0.1, S=5, C=60, seed_sd=0.01, info=RATE):
    clip = (0, 1) if info.bounds else (-np.inf, np.inf)
    tables = {
        ("A", "A"): np.clip(normal(S, C, a, seed_sd, 0.05, rng=1), *clip),
        ("B", "B"): np.clip(normal(S, C, b, seed_sd, 0.05, rng=2), *clip),
        (None, "A"): np.clip(normal(1, C, base, 0, 0.05, rng=3), *clip),
    }
    return compare(made(tables), {"m": info}, "m", {} if margin is None else {"m": margin}).verdict


CASES = [
    (said(0.8, 0.4), "MATTERS", "YES", ["B does worse than A", "whole interval lies beyond"], ["B は A より"]),
    (said(0.56, 0.45), "MATTERS", None, ["exceeds the declared margin of 10 points is open"], ["まだ決められません"]),
    (said(0.5, 0.5, 0.8), None, "HARMED", ["LoRA did harm"], ["害になりました"]),
    (said(0.5, 0.5), None, "NO", ["LoRA was not needed", "declared margin of 10 points"], ["必要ありませんでした"]),
    (said(0.5, 0.5, margin=None), "INCONCLUSIVE", None, ["there is no margin"], ["同等とも言えません"]),
    (said(0.5, 0.5, S=3, seed_sd=0.2), "INCONCLUSIVE", None, ["seeds x", "would be needed"], ["シード ×"]),
    (said(0.8, 0.4, S=1), "MATTERS", "YES", ["adapters only (1 seed, 60 probe clusters)"], ["今回のアダプタに限った"]),
    (
        said(0.8, 0.4, C=6),
        "MATTERS",
        None,
        ["these 6 probe clusters only (5 seeds)"],
        ["今回の 6 質問クラスタに限った"],
    ),
    (said(0.8, 0.4, S=1, C=3), "INCONCLUSIVE", None, ["too few for any claim"], ["少なすぎて何も主張できません"]),
]


@pytest.mark.parametrize(("told", "matters", "lora", "english", "japanese"), CASES)
def test_sentences_say_verdict_scope_and_what_is_open(told, matters, lora, english, japanese):
    assert matters in (None, told["template_matters"])
    assert lora in (None, told["lora_needed"])
    for part in english:
        assert part in told["sentence_en"]
    for part in japanese:
        assert part in told["sentence_ja"]


def test_sentences_give_interval_unit_and_direction_of_a_metric_where_lower_is_better():
    nll = Metric.declared("nll", "lower", None, "bits per byte", "likelihood")
    tables = {(t, t): normal(3, 40, mean, rng=i) for i, (t, mean) in enumerate({"A": 0.9, "B": 1.3}.items())}
    told = compare(made(tables, "nll"), {"nll": nll}, "nll", {"nll": 0.02}).verdict
    assert 'for "nll"' in told["sentence_en"]
    assert re.search(
        r"B does worse than A by 0\.\d+ bits per byte \(95% interval 0\.\d+ to 0\.\d+", told["sentence_en"]
    )
    assert re.search(r"B は A より 0\.\d+ ビット/バイト悪い結果", told["sentence_ja"])


def test_another_alpha_changes_the_levels_that_are_said():
    tables = {("A", "A"): normal(3, 20, 0.9, rng=1), ("B", "B"): normal(3, 20, 0.1, rng=2)}
    told = compare(made(tables), {"m": Metric.declared("m", "higher", None, "", "content")}, "m", alpha=0.01)
    assert told.comparisons[0].level == pytest.approx(0.99)
    assert "99% interval" in told.verdict["sentence_en"]


def test_no_difference_found_is_never_told_as_no_difference():
    for told, *_ in CASES:
        for forbidden in ("no need to care", "no difference between", "does not matter", "差はありません"):
            assert forbidden not in told["sentence_en"] + told["sentence_ja"]


ROWS = Metric.declared("nll", "lower", None, "bits per byte", "likelihood", on_rows=True)


@pytest.fixture(scope="module")
def grid():
    """Results over designs, effects, margins and metrics, three templates and the base."""
    return list(_grid())


def _grid():
    for number, (S, C, effect, margin, info) in enumerate(
        product((1, 2, 3, 5), (4, 14, 40), (0.0, 0.03, 0.12), (None, 0.1), (RATE, ROWS))
    ):
        means, clip = {"A": 0.45 + effect, "B": 0.45, "C": 0.42}, (0, 1) if info.bounds else (-9, 9)
        seed_sd = (0.003, 0.08)[number % 2]
        cells = {
            (t, t): normal(S, C, mean, seed_sd, 0.05, rng=number * 4 + i) for i, (t, mean) in enumerate(means.items())
        }
        cells[None, "A"] = normal(1, C, 0.45, 0, 0.05, rng=number * 4 + 3)
        tables = {cell: np.clip(table, *clip) for cell, table in cells.items()}
        margins = {} if margin is None else {info.name: margin}
        yield info, margin, compare(made(tables, info.name), {info.name: info}, info.name, margins)


@pytest.mark.long
def test_no_sentence_says_of_an_interval_what_the_interval_denies(grid):
    seen = Counter()
    for info, margin, result in grid:
        for question in ("matched", "tuned_vs_best_base"):
            for c in (c for c in result.comparisons if c.question == question and c.verdict != "NOT_ASSESSABLE"):
                speaker = Speaker(info, margin, "en")
                if question == "matched":
                    said = " ".join(speaker.template([c], c.verdict, c))
                else:
                    said = " ".join(speaker.lora(c, lora_needed(c.verdict, True)))
                low, high = c.interval or (float("-inf"), float("inf"))
                claims = {
                    "neither settle that there is a difference": low <= 0 <= high,
                    "nor rule out one": margin is not None
                    and not (-margin < c.interval_90[0] <= c.interval_90[1] < margin),
                    "do not settle that": low <= 0 <= high,
                    "taken alone": not low <= 0 <= high and c.p < 0.05 <= c.p_holm,
                    "is not settled (Holm": c.p_holm >= 0.05,
                    "makes a difference": c.p_holm < 0.05 and not low <= 0 <= high,
                    "matters for": c.verdict == "INCONCLUSIVE" or c.p_holm < 0.05,
                    "equivalent": c.verdict == "EQUIVALENT" or margin is None,
                    "whole interval lies beyond": margin is not None and (low > margin or high < -margin),
                    "exceeds the declared margin": margin is not None and not (low > margin or high < -margin),
                    "too few for any claim": c.n_seeds < 3 and c.n_clusters < 10,
                    "four times out of five": not (c.n_seeds < 3 and c.n_clusters < 10),
                    "about the training recipe": c.n_seeds >= 3 and c.n_clusters >= 10,
                    "probe": not info.on_rows,
                    "held-out row": info.on_rows,
                }
                for claim, true in claims.items():
                    assert true or claim not in said, (claim, said, c)
                    seen[claim] += claim in said
                first = {"these_adapters": "For these adapters only (", "these_probes": f"On these {c.n_clusters} "}
                if c.n_seeds < 3 and c.n_clusters < 10:
                    assert re.match(
                        r"Whether .* is open: \d seeds? and \d (held-out rows|probe clusters) are too few", said
                    )
                elif c.scope in first:
                    assert said.startswith(first[c.scope])
                if c.needed and c.needed["seeds"] and question == "tuned_vs_best_base":
                    assert c.needed["clusters"] > c.needed["tested"]
                    assert (
                        f"{c.needed['tested']} {'held-out rows' if info.on_rows else 'probe clusters'} are left" in said
                    )
    assert all(seen.values()), seen


@pytest.mark.long
def test_both_languages_say_the_same_numbers(grid):
    for _, _, result in grid:
        if "NOT_ASSESSABLE" in result.verdict.values():  # Japanese names what failed, English gives its numbers too
            continue
        numbers = [
            sorted(re.findall(r"\d+\.\d+|\d+", result.verdict[f"sentence_{language}"].replace("points", "")))
            for language in ("en", "ja")
        ]
        spoken = {"1", "3", "5", "4", "10", "15", "64", "100"}  # "a third", "four times out of five"
        assert [n for n in numbers[0] if n not in spoken] == [n for n in numbers[1] if n not in spoken]
