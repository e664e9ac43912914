"""Blind ratings: two answers to one probe side by side, who is better, and what all the choices come to."""

from iikata.rating.pairs import pairs, same
from iikata.rating.ratings import CHOICES, RatedPair, RatedSide, Rating, Ratings, signature_of
from iikata.rating.scores import scores
from iikata.rating.summary import Strength, Summary, WinRate, summary

__all__ = [
    "CHOICES",
    "RatedPair",
    "RatedSide",
    "Rating",
    "Ratings",
    "Strength",
    "Summary",
    "WinRate",
    "pairs",
    "same",
    "scores",
    "signature_of",
    "summary",
]
