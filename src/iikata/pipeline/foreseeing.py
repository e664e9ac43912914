"""What can be known before training: what the primary metric is measured on, and which questions it can answer."""

from collections.abc import Iterator
from dataclasses import dataclass

from iikata.core.errors import IikataError
from iikata.core.records import Finding
from iikata.metrics import CHOICE, HELD_OUT, get
from iikata.pipeline.context import RunContext
from iikata.run_folder import read_object
from iikata.stats import answerable, tested_clusters
from iikata.stats.factors import Design, design_of, refuse_few_seeds
from iikata.stats.interval import MIN_CLUSTERS, MIN_SEEDS
from iikata.stats.phrases import FACTOR, LEVELS
from iikata.stats.table import Variant

NEED_REFERENCES = ("contains", "exact", "numeric", "chrf", "rouge_l", "nll_reference")
FINDINGS = ("primary", "design")
"""The names of the findings made here; docs/templates.md lists them beside the doctor's rules."""


@dataclass(frozen=True)
class QuestionDesign:
    """How many seeds and clusters one question has, and what they can answer."""

    question: str
    seeds: int
    clusters: int
    choosing: int
    """Clusters that are not tested: they choose, or measure the margin."""
    scope: str | None
    """"recipe", "these_adapters", "these_probes"; None where too few for any claim."""
    things: str
    """What the clusters are: "held-out rows", "documents of held-out rows" or "probe clusters"."""
    asked: str
    """The question in words: "whether the template matters"."""

    @property
    def said(self) -> str:
        """What the question can be answered for, as the end of a sentence."""
        spent = f" (and {self.choosing} set aside to choose or to measure the margin on)" if self.choosing else ""
        counts = f"{self.seeds} seed{'s' * (self.seeds != 1)} and {self.clusters} {self.things}{spent}"
        if not self.clusters:
            return f"cannot be answered: of {self.choosing} {self.things} none is left beside those set aside to choose"
        if self.scope is None:
            return (
                f"cannot be answered: {counts} are too few for any claim; "
                f"{MIN_SEEDS} seeds or {MIN_CLUSTERS} {self.things} are the least"
            )
        if self.scope == "these_adapters":
            return f"can be answered for these adapters only, not for training again: {counts}"
        if self.scope == "these_probes":
            return f"can be answered on these {self.things} only, not on others: {counts}"
        return f"can be answered for the training recipe: {counts}"


def designs(ctx: RunContext) -> list[QuestionDesign]:
    """Return what the primary metric can answer of the questions that the verdict is made of."""
    primary, every = get(ctx.experiment.score.primary).name, clusters(ctx)
    rows = "held-out rows" if every == len(ctx.data.validation) else "documents of held-out rows"
    things = rows if primary in HELD_OUT else "probe clusters"
    seeds, matched, levels = tested(ctx)
    about_factor = ("matched", f"whether {factor_named(ctx)} matters", matched)
    about_lora = ("tuned_vs_best_base", "whether LoRA was needed", tested_clusters(every) if every else 0)
    return [
        QuestionDesign(question, seeds, count, every - count, answerable(seeds, count), things, asked)
        for question, asked, count in ([about_factor] if levels > 1 else []) + [about_lora]
    ]


def factor_named(ctx: RunContext) -> str:
    """Return the factor as a sentence names it."""
    factor = factor_design(ctx).factor
    return FACTOR["en"].get(factor, (factor,))[0]


def levels_named(ctx: RunContext) -> str:
    """Return the factor's levels as a sentence names them."""
    factor = factor_design(ctx).factor
    return FACTOR["en"][factor][1] if factor in FACTOR["en"] else LEVELS["en"].format(factor=factor)


def tested(ctx: RunContext) -> tuple[int, int, int]:
    """Return the seeds and clusters that the levels of the factor are tested on, and how many levels there are."""
    every, design = clusters(ctx), factor_design(ctx)
    every_seeds = [set(ctx.experiment.seeds_of(name)) for name in ctx.experiment.recipes]
    seeds = min(every_seeds, key=lambda one: len(one))  # the fewest that a side has
    best = design.others == "best"
    seeds -= set(ctx.experiment.compare.choosing_seeds) if best else set()
    aside = best or isinstance(ctx.experiment.margins.get(ctx.experiment.score.primary), str)
    return len(seeds), tested_clusters(every) if aside and every else every, len(design.levels)


def clusters(ctx: RunContext) -> int:
    """Return how many clusters the primary metric has."""
    primary = get(ctx.experiment.score.primary)
    if primary.name in HELD_OUT:
        return len(set(ctx.data.clusters.values()))
    asked = [one for one in ctx.probes if one.choices] if primary.scope == "choice" else ctx.sampled
    return len({probe.cluster for probe in asked})


def refuse_undecided(ctx: RunContext) -> None:
    """Raise IikataError, with its place, where the variants cannot answer what `compare` asks of them."""
    try:
        if factor_design(ctx).others == "best":
            refuse_few_seeds(ctx.experiment.compare.choosing_seeds, ctx.experiment.train.seeds)
    except IikataError as error:
        raise IikataError(f"{ctx.experiment.at('compare')}{error}") from None


def factor_design(ctx: RunContext) -> Design:
    """Return what is compared. Raises IikataError where the variants cannot answer it."""
    settings, made = ctx.experiment.compare, ctx.experiment.recipes
    variants = {n: Variant(n, "|".join(r.variant.templates), r.variant.levels) for n, r in made.items()}
    return design_of(variants, settings.factor, settings.others)


def examples_too_long(ctx: RunContext) -> Iterator[Finding]:
    """Yield an error where examples and a question are longer than the text that the model was made for."""
    config = read_object(ctx.model_folder / "config.json")
    most = {**config, **config.get("text_config", {})}.get("max_position_embeddings")
    if type(most) is not int:
        return
    longest: dict[str, int] = {}
    for arm in ctx.experiment.bases()[1:]:
        for cell in ctx.cells_of(arm):
            for probe in ctx.probes:
                tokens = len(ctx.prompts.ids(cell, probe)) + ctx.experiment.generate.max_new_tokens
                longest[cell.prompted_with] = max(tokens, longest.get(cell.prompted_with, 0))
    for name, tokens in longest.items():
        if tokens > most:
            message = f"{name}: a question with its examples and answer has {tokens:,} tokens, and the model {most:,}"
            yield Finding("design", "error", None, message, cure="Fewer or shorter examples: untuned: {shots: [0, 2]}.")


def scaled_by_rank(ctx: RunContext) -> Iterator[Finding]:
    """Yield a warning where the rank varies and the update's scale, alpha / r, with it."""
    loras = {one.train.lora for one in ctx.experiment.recipes.values()}
    if len({lora.r for lora in loras}) > 1 and len({(lora.alpha, lora.use_rslora) for lora in loras}) == 1:
        yield Finding(
            "design",
            "warning",
            None,
            "the rank varies and alpha does not, so the update's scale alpha / r varies too: a difference may be the "
            "scale's",
            cure="Let both vary together: vary: {train.lora: {r8: {r: 8, alpha: 16}, r64: {r: 64, alpha: 128}}}.",
        )


def foresee(ctx: RunContext) -> Iterator[Finding]:
    """Yield a primary metric that would have nothing to measure, then what cannot be answered for the recipe."""
    if fault := _unmeasured(ctx):
        yield fault
        return
    yield from scaled_by_rank(ctx)
    yield from examples_too_long(ctx)
    for one in designs(ctx):
        if one.scope != "recipe":
            severity = "info" if one.scope else "warning"
            cure = (
                f"For the recipe: {MIN_SEEDS} seeds or more (train.seeds) and {MIN_CLUSTERS} {one.things} or more"
                + (", besides the third of them that chooses." if one.choosing else ".")
            )
            yield Finding("design", severity, None, f"{one.asked} {one.said}", cure=cure)


def _unmeasured(ctx: RunContext) -> Finding | None:
    settings = ctx.experiment
    primary = get(settings.score.primary).name
    key: tuple[str, ...]
    if primary in HELD_OUT:
        key = ("data", "validation")
        held_out = settings.data.validation
        missing = "" if ctx.data.validation else f"data.validation is {'not given' if held_out is None else held_out}"
        cure = "Hold rows out (data.validation: 500, or 0.1), or name a primary metric that is measured on probes."
        cure = cure if ctx.data.train else cure.replace("500, or 0.1", "a file")
        on = "held-out rows"
    else:
        key, on = ("probes",), "probes"
        cure = "Give probes what it needs, or name another primary metric: score.primary: nll needs held-out rows only."
        missing = _missing_in_probes(ctx, primary)
    if not missing:
        return None
    message = (
        f"{settings.at(*key)}the primary metric {primary} is measured on {on}, and {missing}: nothing would decide"
    )
    return Finding("primary", "error", None, message, cure=cure)


def _missing_in_probes(ctx: RunContext, primary: str) -> str:
    if not ctx.probes:
        return "there are none"
    if primary in NEED_REFERENCES and not any(probe.references for probe in ctx.probes):
        return "none of them has references"
    if primary in CHOICE and not any(probe.choices for probe in ctx.probes):
        return "none of them has choices"
    return "none of them has a pattern" if primary == "pattern" and not any(p.pattern for p in ctx.probes) else ""
