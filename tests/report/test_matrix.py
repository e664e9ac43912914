"""Which cells of the matrix are a variant's own."""

from iikata.core.records import Score
from iikata.metrics import METRICS
from iikata.report.matrix import matrix


def test_a_variant_s_own_cells_are_those_of_the_templates_that_it_was_trained_on():
    def score(trained_on, prompted_with, template=None):
        return Score(trained_on, 0, prompted_with, "p", "p", 0, "nll", 1.0, "", template)

    given = [
        score("alpaca", "alpaca"),
        score("alpaca", "native"),
        score("native+lr3e-4", "native", "native"),
        score("native+lr3e-4", "alpaca", "native"),
        score("mixed", "alpaca", "alpaca|native"),
        Score(None, None, "alpaca", "p", "p", 0, "nll", 1.0, ""),
    ]
    found = matrix("nll", given, METRICS["nll"])
    own = {key for key, entry in found.entries.items() if entry.own}
    assert own == {("alpaca", "alpaca"), ("native+lr3e-4", "native"), ("mixed", "alpaca")}
