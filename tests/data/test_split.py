"""Held-out rows are chosen by their content, so other rows do not decide."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iikata.core.records import Example
from iikata.data.examples import content_id
from iikata.data.split import hold_out_count, hold_out_share


def rows(numbers):
    return [Example(content_id(str(n), "", "x"), str(n), "", "x") for n in numbers]


NUMBERS = st.lists(st.integers(0, 10**6), unique=True, min_size=2, max_size=60)


def test_id_is_the_sha256_of_the_content_as_compact_json():
    # printf '["a","","日"]' | sha256sum
    assert content_id("a", "", "日") == "f957e11adc0ffaca"


def test_share_is_met_within_sampling_error():
    # Binomial: 5 standard deviations of 10,000 draws at 0.1 are 150.
    assert abs(len(hold_out_share(rows(range(10_000)), 0.1)) - 1000) < 150


def test_share_takes_the_lowest_hashes():
    low, high = (Example(digit * 16, "", "", "x") for digit in "0f")
    assert hold_out_share([high, low], 0.1) == [low]


@settings(deadline=None)
@given(NUMBERS, NUMBERS, st.floats(0.01, 0.99))
def test_share_adding_rows_anywhere_moves_no_other_row(numbers, more, share):
    held = hold_out_share(rows(numbers), share)
    mixed = rows([n for n in more[::2] if n not in numbers] + numbers)
    assert [row for row in hold_out_share(mixed, share) if int(row.instruction) in set(numbers)] == held


@settings(deadline=None)
@given(NUMBERS, st.data())
def test_count_is_exact_and_keeps_file_order(numbers, data):
    examples = rows(numbers)
    count = data.draw(st.integers(0, len(examples) - 1))
    held = hold_out_count(examples, count)
    assert len(held) == count
    assert held == [row for row in examples if row in held]


def first_share(n, count):
    """f as its docstring defines it, by search."""
    return min((2.0**-k for k in range(64) if 2.0**-k >= 1.25 * count / n), default=1.0)


@settings(deadline=None)
@given(NUMBERS, st.data())
def test_count_takes_the_rows_of_the_lowest_level_first(numbers, data):
    examples = rows(numbers)
    count = data.draw(st.integers(1, len(examples) - 1))
    f = first_share(len(examples), count)
    levels = [max(0, math.ceil(math.log2(int(row.id, 16) / 2**64 / f))) for row in examples]
    order = sorted(range(len(examples)), key=lambda i: (levels[i], i))
    assert hold_out_count(examples, count) == [examples[i] for i in sorted(order[:count])]


@pytest.mark.parametrize("added", [1, 100, 499])
def test_count_appending_rows_moves_no_row_while_f_stays(added):
    # 1.25 * 100 / 1000 and / 1499 both round up to 1/8 and 1/8 holds about 125 of the 1000.
    assert hold_out_count(rows(range(1000)), 100) == hold_out_count(rows(range(1000 + added)), 100)


def documents(numbers, size=4):
    """Rows of documents of `size`; the document's name is hashed as a row's content is."""
    return [
        Example(content_id(str(n), "", "x"), str(n), "", "x", "", content_id(str(n // size), "", "d")) for n in numbers
    ]


@settings(deadline=None)
@given(NUMBERS, st.data())
def test_rows_of_one_document_are_held_out_together(numbers, data):
    rows, share = documents(numbers), data.draw(st.floats(0.01, 0.99))
    count = data.draw(st.integers(1, len(rows) - 1))
    for held in (hold_out_count(rows, count), hold_out_share(rows, share)):
        assert held == [row for row in rows if row.cluster in {other.cluster for other in held}]
    held = hold_out_count(rows, count)
    assert count <= len(held) < count + 4


@pytest.mark.parametrize("made", [rows, documents])
@settings(deadline=None)
@given(NUMBERS, NUMBERS, st.data())
def test_count_appending_rows_never_brings_a_training_row_to_validation(made, numbers, more, data):
    count = data.draw(st.integers(1, len(numbers) - 1))
    grown = numbers + [n for n in more if n not in numbers]
    if first_share(len(grown), count) != first_share(len(numbers), count):
        return
    held, before = hold_out_count(made(grown), count), hold_out_count(made(numbers), count)
    assert all(row in before for row in held if int(row.instruction) in set(numbers))
