"""nll, nll_end and nll_reference: how surprised is the model by right answers, and by their end?"""

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


class NllReference(LikelihoodMetric):
    """-log2 p(reference | probe's prompt) over its UTF-8 bytes, of a probe's first reference as the answer."""

    name = "nll_reference"
    better = "lower"
    bounds = None
    unit = "bits per byte"
    kind = "likelihood"
    signature = "nll_reference|first|response|bits/utf8-byte|before-newline-mapping|end:left-out|v:1"
