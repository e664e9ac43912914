"""nll and its kin: how surprised is the model by right answers, by their end, and by the template's own words?"""

from iikata.metrics.metric import LikelihoodMetric


class Nll(LikelihoodMetric):
    """-log2 p(answer | all that the template writes around it) over the UTF-8 bytes of the row's answer in the data."""

    name = "nll"
    better = "lower"
    bounds = None
    unit = "bits per byte"
    category = "likelihood"
    signature = "nll|answer|bits/utf8-byte|before-newline-mapping|end:apart|template:apart|v:2"


class NllEnd(LikelihoodMetric):
    """-log2 p(end token | prompt, answer) of a held-out row: one token, so bits, over no bytes."""

    name = "nll_end"
    better = "lower"
    bounds = None
    unit = "bits"
    category = "likelihood"
    signature = "nll_end|end-token|bits|v:1"


class NllTemplate(LikelihoodMetric):
    """-log2 p of what a template makes the model write besides the answer (an empty think block): bits a row."""

    name = "nll_template"
    better = "none"  # another template writes another text
    bounds = None
    unit = "bits"
    category = "likelihood"
    signature = "nll_template|written-tokens|bits|v:1"


class NllReference(LikelihoodMetric):
    """-log2 p(reference | probe's prompt) over its UTF-8 bytes, of a probe's first reference as the answer."""

    name = "nll_reference"
    better = "lower"
    bounds = None
    unit = "bits per byte"
    category = "likelihood"
    signature = "nll_reference|first|answer|bits/utf8-byte|before-newline-mapping|end:left-out|template:left-out|v:2"
