"""From answers and held-out rows to scores."""

from iikata.score.answers import score_answers

__all__ = ["score_answers"]
