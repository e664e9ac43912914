"""nll and its kin: how surprised is the model by right answers, by their end, and by the template's own words?"""

from iikata.metrics.metric import Metric


class Likelihood(Metric):
    """Of a text that is given; lower is less surprised."""

    better = "lower"
    bounds = None
    unit = "bits"
    category = "likelihood"
    scope = "text"
    needs_model = True
    on_rows = True


class Nll(Likelihood):
    """-log2 p(answer | all that the template writes around it) over the UTF-8 bytes of the row's answer in the data."""

    name = "nll"
    unit = "bits per byte"
    signature = "nll|answer|bits/utf8-byte|before-newline-mapping|end:apart|template:apart|v:2"


class NllEnd(Likelihood):
    """-log2 p(end token | prompt, answer) of a held-out row: one token, so bits, over no bytes."""

    name = "nll_end"
    signature = "nll_end|end-token|bits|v:1"


class NllTemplate(Likelihood):
    """-log2 p of what a template makes the model write besides the answer (an empty think block): bits a row."""

    name = "nll_template"
    better = "none"  # another template writes another text
    signature = "nll_template|written-tokens|bits|v:1"


class NllReference(Likelihood):
    """-log2 p(reference | probe's prompt) over its UTF-8 bytes, of a probe's first reference as the answer."""

    name = "nll_reference"
    on_rows = False
    unit = "bits per byte"
    signature = "nll_reference|first|answer|bits/utf8-byte|before-newline-mapping|end:left-out|template:left-out|v:2"
