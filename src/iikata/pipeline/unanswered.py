"""What an experiment will leave without an answer whatever its scores are, and what would change that."""

from collections.abc import Iterator

from iikata.metrics import HELD_OUT, get
from iikata.pipeline.context import RunContext
from iikata.pipeline.foreseeing import NEED_REFERENCES, factor_design
from iikata.stats.phrases import factor_named


def unanswered(ctx: RunContext) -> Iterator[str]:
    """Yield a sentence for each; too few seeds and clusters are told with the questions (`designs`)."""
    yield from _factor(ctx)
    yield from _prompts(ctx)
    yield from _right_answers(ctx)
    primary = ctx.experiment.score.primary
    if primary not in ctx.experiment.margins:
        yield f"equivalence: no margin is declared for {primary}, so nothing can be called EQUIVALENT (compare.margin)"
    elif len(ctx.experiment.margins) == 1 and len(ctx.experiment.score.names) > 1:
        yield f"equivalence by any metric but {primary}: no other has a margin (compare.margin)"


def _factor(ctx: RunContext) -> Iterator[str]:
    design = factor_design(ctx)
    named, _ = factor_named(design.factor, "en")
    if len(design.levels) < 2:
        yield f"whether {named} matters: one level is trained"
    elif design.others == "each":
        yield f"whether {named} matters: others: each explores every setting and sums nothing up"


def _prompts(ctx: RunContext) -> Iterator[str]:
    """Name what is missing to tell whether the prompt must match: a template that some variant was not trained on."""
    if all(ctx.specs.keys() <= {*recipe.variant.templates} for recipe in ctx.experiment.recipes.values()):
        yield "whether the prompt must match: there is no other template to prompt with (prompt_only)"


def _right_answers(ctx: RunContext) -> Iterator[str]:
    """Name what is missing to tell right answers and behaviour, beside a likelihood."""
    score, content = ctx.experiment.score, get(ctx.experiment.score.content).name
    if not ctx.probes:
        lost = [name for name in score.metrics if get(name).name not in HELD_OUT]
        yield f"what answers are like: there are no probes, so no {', '.join(lost) or 'answer'} (probes)"
    elif content not in [get(name).name for name in score.metrics]:
        yield f"right answers: {content} is not among score.metrics"
    elif content in NEED_REFERENCES and not any(probe.references for probe in ctx.probes):
        yield f"right answers: no probe has the references that {content} needs"
    on_rows = [name for name in score.metrics if get(name).name in HELD_OUT]
    if on_rows and not ctx.data.validation:
        yield f"likelihood: no rows are held out, so no {', '.join(on_rows)} (data.validation)"
