"""What an experiment will leave without an answer whatever its scores are, and what would change that."""

from collections.abc import Iterator

from iikata.core.bilingual import Both
from iikata.metrics import HELD_OUT, get
from iikata.pipeline.context import RunContext
from iikata.pipeline.foreseeing import NEED_REFERENCES, factor_design
from iikata.stats.phrases import factor_named


def unanswered(ctx: RunContext) -> Iterator[Both]:
    """Yield a sentence for each; too few seeds and clusters are told with the questions (`designs`)."""
    yield from _factor(ctx)
    yield from _prompts(ctx)
    yield from _right_answers(ctx)
    primary = ctx.experiment.score.primary
    if primary not in ctx.experiment.margins:
        yield Both(
            f"equivalence: no margin is declared for {primary}, so nothing can be called EQUIVALENT (compare.margin)",
            f"同等かどうか。{primary} の許容差が宣言されていないので、「同等」とは言えません（compare.margin）",
        )
    elif len(ctx.experiment.margins) == 1 and len(ctx.experiment.score.names) > 1:
        yield Both(
            f"equivalence by any metric but {primary}: no other has a margin (compare.margin)",
            f"{primary} 以外の指標で同等かどうか。ほかの指標には許容差がありません（compare.margin）",
        )


def _factor(ctx: RunContext) -> Iterator[Both]:
    design = factor_design(ctx)
    en, ja = (factor_named(design.factor, language)[0] for language in ("en", "ja"))
    if len(design.levels) < 2:
        yield Both(f"whether {en} matters: one level is trained", f"{ja}が影響するか。学習するのは一種類だけです")
    elif design.others == "each":
        yield Both(
            f"whether {en} matters: others: each explores every setting and sums nothing up",
            f"{ja}が影響するか。others: each は設定ごとに調べるだけで、まとめません",
        )


def _prompts(ctx: RunContext) -> Iterator[Both]:
    """Name what is missing to tell whether the prompt must match: a template that some variant was not trained on."""
    if all(ctx.specs.keys() <= {*recipe.variant.templates} for recipe in ctx.experiment.recipes.values()):
        yield Both(
            "whether the prompt must match: there is no other template to prompt with (prompt_only)",
            "学習時と同じ形で尋ねる必要があるか。尋ねるためのほかのテンプレートがありません（prompt_only）",
        )


def _right_answers(ctx: RunContext) -> Iterator[Both]:
    """Name what is missing to tell right answers and behaviour, beside a likelihood."""
    score, content = ctx.experiment.score, get(ctx.experiment.score.content).name
    if not ctx.probes:
        lost = ", ".join(name for name in score.metrics if get(name).name not in HELD_OUT)
        yield Both(
            f"what answers are like: there are no probes, so no {lost or 'answer'} (probes)",
            f"回答がどう変わるか。質問がないので、{f'{lost} ' if lost else '回答'}もありません（probes）",
        )
    elif content not in [get(name).name for name in score.metrics]:
        yield Both(
            f"right answers: {content} is not among score.metrics",
            f"正解かどうか。score.metrics に {content} がありません",
        )
    elif content in NEED_REFERENCES and not any(probe.references for probe in ctx.probes):
        yield Both(
            f"right answers: no probe has the references that {content} needs",
            f"正解かどうか。{content} に必要な references のある質問がありません",
        )
    on_rows = ", ".join(name for name in score.metrics if get(name).name in HELD_OUT)
    if on_rows and not ctx.data.validation:
        yield Both(
            f"likelihood: no rows are held out, so no {on_rows} (data.validation)",
            f"尤度。検証行がないので {on_rows} もありません（data.validation）",
        )
