"""Blind ratings: two answers to one probe side by side, who is better, and what all the choices come to."""

from iikata.rate.pairs import pairs, same
from iikata.rate.ratings import CHOICES, Pair, Rating, Ratings, Side, signature_of
from iikata.rate.scores import scores
from iikata.rate.summary import Strength, Summary, WinRate, summary

__all__ = [
    "CHOICES",
    "Pair",
    "Rating",
    "Ratings",
    "Side",
    "Strength",
    "Summary",
    "WinRate",
    "pairs",
    "same",
    "scores",
    "signature_of",
    "summary",
]
