"""Blind ratings: two answers to one probe side by side, who is better, and what all the choices come to."""

from iikata.rating.pairs import pairs, same
from iikata.rating.ratings import CHOICES, RatedPair, Rating, Ratings, signature_of
from iikata.rating.scores import scores
from iikata.rating.summary import Summary, summary

__all__ = ["CHOICES", "RatedPair", "Rating", "Ratings", "Summary", "pairs", "same", "scores", "signature_of", "summary"]
