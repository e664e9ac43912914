"""rated and rated_base: which of two answers do people find better, not knowing whose they are?"""

from iikata.metrics.metric import Rate


class Rated(Rate):
    """Win share against the other variants' answers of the same seed, probe and sample: win 1, tie 0.5, loss 0."""

    name = "rated"
    unit = "win share"
    scope = "pair"
    signature = "rated|blind|leaks:stripped|ties:half|against:templates,all|v:1"


class RatedBase(Rated):
    """Win share against the untuned base under the same template; the base's own is 0.5, a tie with itself."""

    name = "rated_base"
    signature = "rated_base|blind|leaks:stripped|ties:half|against:base|v:1"
    within_template = True
    """Its zero is another one under each template, so it answers nothing but tuned against base."""
