"""nll and nll_end: how surprised is the model by the data's own answers, and by their end?"""

from iikata.metrics.metric import LikelihoodMetric


class Nll(LikelihoodMetric):
    """-log2 p(answer | prompt) of a held-out row over the UTF-8 bytes of the answer as the data have it."""

    name = "nll"
    better = "lower"
    bounds = None
    unit = "bits per byte"
    kind = "likelihood"
    signature = "nll|response|bits/utf8-byte|before-newline-mapping|end:apart|v:1"


class NllEnd(LikelihoodMetric):
    """-log2 p(end token | prompt, answer) of a held-out row: one token, so bits, over no bytes."""

    name = "nll_end"
    better = "lower"
    bounds = None
    unit = "bits"
    kind = "likelihood"
    signature = "nll_end|end-token|bits|v:1"
