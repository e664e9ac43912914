"""What a rater is shown: the verdict's pairs, blind, in an order that is fair wherever it stops."""

from collections import Counter
from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rated_run import MARKERS, answered, asked, choose

from iikata.core.records import Answer, Probe
from iikata.rating import Rating, pairs, same

PROBES = asked(5, each=2)
ANSWERS = answered(PROBES, samples=2)


def names(pair) -> tuple[str, str]:
    return pair.first.cell.name, pair.second.cell.name


def test_pairs_are_those_of_the_verdicts_questions():
    found = {names(pair) for pair in pairs(ANSWERS, PROBES, MARKERS, "mia", 0)}
    between = {(f"alpaca.s{s}@alpaca", f"plain.s{s}@plain") for s in range(3)}
    of_alpaca = {(f"alpaca.s{s}@alpaca", "base@alpaca") for s in range(3)}
    of_plain = {("base@plain", f"plain.s{s}@plain") for s in range(3)}
    assert found == between | of_alpaca | of_plain


def test_each_pair_comes_once_with_one_probe_and_sample_on_both_sides():
    found = pairs(ANSWERS, PROBES, MARKERS, "mia", 0)
    assert len(found) == len({pair.id for pair in found}) == 9 * len(PROBES) * 2
    texts = {(a.cell, a.probe, a.sample): a.text for a in ANSWERS}
    for pair in found:
        assert pair.left.sample == pair.right.sample
        for side in (pair.left, pair.right):
            assert side.text == texts[side.cell.name, pair.probe, side.sample]


def test_an_answer_with_half_a_surrogate_pair_can_be_rated():
    odd = [replace(answer, text=f"{answer.text}\ud800") for answer in ANSWERS]
    assert {pair.id for pair in pairs(odd, PROBES, MARKERS, "mia", 0)} == {
        pair.id for pair in pairs(ANSWERS, PROBES, MARKERS, "mia", 0)
    }
    assert pairs(odd, PROBES, MARKERS, "mia", 0)[0].signature != pairs(ANSWERS, PROBES, MARKERS, "mia", 0)[0].signature


def test_a_rater_is_always_shown_the_same_and_another_one_another_order():
    mia = pairs(ANSWERS, PROBES, MARKERS, "mia", 0)
    assert mia == pairs(ANSWERS, PROBES, MARKERS, "mia", 0)
    assert mia == pairs(ANSWERS[::-1], PROBES[::-1], MARKERS, "mia", 0)
    for other in (pairs(ANSWERS, PROBES, MARKERS, "ken", 0), pairs(ANSWERS, PROBES, MARKERS, "mia", 1)):
        assert [pair.id for pair in other] != [pair.id for pair in mia]
        assert {pair.id for pair in other} == {pair.id for pair in mia}


def test_sides_are_drawn_for_each_rater_and_lean_to_none():
    """Within four standard deviations of one half."""
    mia, ken = (pairs(ANSWERS, PROBES, MARKERS, rater, 0) for rater in ("mia", "ken"))
    swapped = [pair.left is not pair.first for pair in mia]
    assert abs(sum(swapped) / len(mia) - 0.5) < 4 * 0.5 / len(mia) ** 0.5
    of_ken = {pair.id: pair.left for pair in ken}
    alike = sum(of_ken[pair.id] == pair.left for pair in mia)
    assert abs(alike / len(mia) - 0.5) < 4 * 0.5 / len(mia) ** 0.5


@given(
    st.integers(1, 5),
    st.integers(1, 7),
    st.sampled_from([("alpaca", "plain"), ("alpaca", "plain", "third")]),
    st.sampled_from(["mia", "ken", "eva"]),
)
def test_whoever_stops_early_has_seen_every_pair_of_cells_and_every_cluster_about_equally_often(S, C, templates, rater):
    probes = asked(C)
    shown = pairs(answered(probes, templates, seeds=tuple(range(S))), probes, MARKERS, rater, 0)
    group = len(templates) * (len(templates) - 1) // 2 + len(templates)
    assert len(shown) == group * S * C
    cells, clusters = Counter(dict.fromkeys(map(names, shown), 0)), Counter({f"c{c}": 0 for c in range(C)})
    for seen, pair in enumerate(shown, 1):
        cells[names(pair)] += 1
        clusters[pair.probe[:2]] += 1
        assert max(cells.values()) - min(cells.values()) <= 2
        assert max(clusters.values()) - min(clusters.values()) <= 2 * group
        if seen % (group * S * C) == 0:
            assert len(set(cells.values())) == len(set(clusters.values())) == 1


def test_all_pairs_of_a_probe_sample_and_seed_come_together():
    shown = pairs(ANSWERS, PROBES, MARKERS, "mia", 0)
    seeds = [max(side.cell.arm.seed or 0 for side in (pair.left, pair.right)) for pair in shown]
    groups = [(pair.probe, pair.left.sample, seed) for pair, seed in zip(shown, seeds, strict=True)]
    assert 1 + sum(one != two for one, two in pairwise(groups)) == len(set(groups)) == len(shown) // 3


def test_every_seed_has_met_a_cluster_before_its_next_probe_comes_and_a_second_sample_comes_last():
    shown = pairs(ANSWERS, PROBES, MARKERS, "mia", 0)
    quarter = len(shown) // 4
    of_part = [{(p.probe, p.left.sample) for p in shown[i * quarter : (i + 1) * quarter]} for i in range(4)]
    assert [len(part) for part in of_part] == [5] * 4
    assert [{sample for _, sample in part} for part in of_part] == [{0}, {0}, {1}, {1}]


def test_two_raters_who_stop_after_a_sweep_have_rated_the_same_pairs():
    mia, ken = ({p.id for p in pairs(ANSWERS, PROBES, MARKERS, who, 0)[: 3 * 5]} for who in ("mia", "ken"))
    assert mia == ken


def test_template_text_is_stripped_and_what_is_the_same_then_is_left_out():
    def text(trained_on, *_):
        return {"alpaca": "### Response: Tokyo", "plain": "Tokyo\n### Instruction:", None: "Kyoto<|endoftext|>"}[
            trained_on
        ]

    probes = asked(2)
    found = pairs(answered(probes, text=text), probes, MARKERS, "mia", 0)
    assert {side.text for pair in found for side in (pair.left, pair.right)} == {"Tokyo", "Kyoto"}
    assert all("base" in pair.left.cell.name + pair.right.cell.name for pair in found)
    assert len(found) == 2 * 3 * 2


def test_equal_texts_are_ties_for_who_passed_them_by_and_wait_otherwise():
    probes = asked(8)
    answers = answered(probes, text=lambda t, s, p, probe, i: "same" if probe < "c4" else f"{t} {p}")
    rated = choose(answers, probes, "mia", lambda pair: "first")
    assert len(rated) == 4 * 9
    every = same(answers, probes, MARKERS, rated, 0)
    some = same(answers, probes, MARKERS, rated[:1], 0)
    assert len(every) > 30
    assert len(some) < len(every)
    assert {(rating.choice, rating.asked, rating.rater) for rating in every} == {("tie", False, "mia")}
    assert {rating.probe for rating in every} == {"c0-0", "c1-0", "c2-0", "c3-0"}
    assert same(answers, probes, MARKERS, [], 0) == []


@pytest.mark.parametrize(
    "answers",
    [
        [],
        [Answer(None, None, "plain", "c0-0", 0, "x", "stop", 1)],
        [Answer("plain", 0, "alpaca", "c0-0", 0, "x", "stop", 1)],
    ],
    ids=["none", "base alone", "crossed alone"],
)
def test_without_a_matched_cell_there_is_nothing_to_rate(answers):
    assert pairs(answers, asked(1), MARKERS, "mia", 0) == []


def test_a_probe_that_is_gone_and_an_arm_that_did_not_answer_are_passed_over():
    short = [a for a in ANSWERS if (a.trained_on, a.seed) != ("plain", 1)]
    found = pairs(short, [*PROBES[:2], Probe("new", "?")], MARKERS, "mia", 0)
    assert {pair.probe for pair in found} == {"c0-0", "c0-1"}
    assert not any("plain.s1" in name for pair in found for name in names(pair))
    assert len(found) == 2 * 2 * (3 + 1 + 3)


VARIANTS = {"alpaca+lr1": ("alpaca",), "alpaca+lr2": ("alpaca",), "plain+lr1": ("plain",), "mixed": ("plain", "alpaca")}


def of_variants(probes, prompts=("alpaca", "plain")):
    """Return an answer of every variant and of the base under every template."""
    arms = [(name, s) for name in VARIANTS for s in range(2)] + [(None, None)]
    return [
        Answer(t, s, p, probe.id, 0, f"{t} {s} {p} {probe.id}", "stop", 5)
        for t, s in arms
        for p in prompts
        for probe in probes
    ]


def test_any_two_variants_meet_under_their_own_template_and_seed_and_a_mixture_under_its_first():
    probes = asked(2)
    shown = {names(pair) for pair in pairs(of_variants(probes), probes, MARKERS, "mia", 0, VARIANTS)}
    home = {name: templates[0] for name, templates in VARIANTS.items()}
    wanted = {
        tuple(sorted((f"{a}.s{s}@{home[a]}", f"{b}.s{s}@{home[b]}")))
        for a, b in combinations(home, 2)
        for s in range(2)
    }
    wanted |= {tuple(sorted((f"{a}.s{s}@{home[a]}", f"base@{home[a]}"))) for a in home for s in range(2)}
    assert shown == wanted


def test_a_mixture_is_rated_under_the_template_that_it_answered():
    shown = pairs(of_variants(asked(1), ("alpaca",)), asked(1), MARKERS, "mia", 0, VARIANTS)
    assert {cell for pair in shown for cell in names(pair) if cell.startswith("mixed")} == {
        "mixed.s0@alpaca",
        "mixed.s1@alpaca",
    }


def test_ties_of_equal_texts_are_found_between_variants_too():
    probes = asked(3)
    answers = [replace(a, text="the same") if a.probe == "c0-0" else a for a in of_variants(probes)]
    every = pairs(answers, probes, MARKERS, "mia", 0, VARIANTS)
    rated = [Rating.of(pair, "mia", "first") for pair in every]
    ties = same(answers, probes, MARKERS, rated, 0, VARIANTS)
    assert {tie.probe for tie in ties} == {"c0-0"}
    assert any({tie.first.arm.variant, tie.second.arm.variant} == {"alpaca+lr1", "mixed"} for tie in ties)
