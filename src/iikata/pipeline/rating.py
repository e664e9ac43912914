"""Ratings of a run: scores of the metrics rated and rated_base, and what they may be used for."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from iikata.core.records import Answer, Arm, Cell, Score
from iikata.metrics import RATED, Context
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Warned
from iikata.rating import Rating, Ratings, Summary, same, scores, signature_of, summary
from iikata.run_folder import read_json
from iikata.stats.interval import MIN_CLUSTERS, MIN_SEEDS


def score_ratings(ctx: RunContext, answers: Sequence[Answer], about: Context) -> None:
    """Write the rated answers' scores; a metric that nobody rated anything for has no file."""
    found = list(scores(ratings(ctx, answers, about), ctx.probes))
    for name in RATED:
        if own := [score for score in found if score.metric == name]:
            ctx.store.write_scores(name, ctx.told(own))
        else:
            ctx.store.scores(name).unlink(missing_ok=True)


def ratings(ctx: RunContext, answers: Sequence[Answer], about: Context) -> list[Rating]:
    """Return the ratings that hold for these answers, and a tie for each pair of equal texts passed by.

    Those of answers that are no longer there, or no longer the same, are told and left out.
    """
    given = Ratings(ctx.store.ratings).all()
    if not given:
        return []
    signatures = {
        (Cell(Arm(one.trained_on, one.seed), one.prompted_with), one.probe, one.sample): signature_of(one)
        for one in answers
    }
    held = [rating for rating in given if rating.holds(signatures)]
    if lost := len(given) - len(held):
        told = f"{ctx.store.ratings}: {lost} of {len(given)} ratings are of answers that the run no longer has"
        ctx.emit(Warned(f"{told}; they are left out."))
    seed = ctx.experiment.generate.seed
    return held + same(answers, ctx.probes, about.template_literals, held, seed, own_templates(ctx))


def own_templates(ctx: RunContext) -> dict[str, tuple[str, ...]]:
    """Return each variant's own templates, under one of which its answers are rated."""
    return {name: recipe.variant.templates for name, recipe in ctx.experiment.recipes.items()}


def written(ctx: RunContext) -> Context:
    """Return the texts by which an answer could be told to be of a template; from the run, so without a tokenizer."""
    cards = read_json(ctx.store.templates, {})
    return Context(template_literals={name: tuple(card["markers"]) for name, card in cards.items()})


def summed(ctx: RunContext, answers: Sequence[Answer]) -> Summary | None:
    """Return what the run's ratings say together; None where there are none."""
    found = ratings(ctx, answers, written(ctx)) if ctx.store.ratings.is_file() else []
    return summary(found, ctx.probes) if found else None


def averaged(found: Sequence[Score]) -> tuple[list[Score], str | None]:
    """Return a rated metric's scores as they may be compared, and a warning where that says less than they could.

    Few answers are rated by design, in an order that has nothing to do with what they say, so what is missing biases
    nothing. But a comparison over training seeds needs every seed on every probe. Where ratings have filled three
    seeds and ten clusters in this way, the probes that are whole are used: the result speaks of the recipe. Before
    that, all ratings are used with the seeds averaged, as of one arm without a seed: the clusters' spread then holds
    the seeds' too, and the result speaks of these adapters only.
    """
    arms = {(score.trained_on, score.seed) for score in found if score.trained_on is not None}
    seeds = {seed for _, seed in arms}
    if len(seeds) < 2:
        return list(found), None
    there = defaultdict(set)
    for score in found:
        there[score.probe].add((score.trained_on, score.seed))
    whole = [score for score in found if there[score.probe] >= arms]
    if len(seeds) >= MIN_SEEDS and len({score.cluster for score in whole}) >= MIN_CLUSTERS:
        return whole, None
    samples = defaultdict[Any, Iterator[int]](count)
    pooled = [replace(s, seed=None, sample=next(samples[s.trained_on, s.prompted_with, s.probe])) for s in found]
    return pooled, (
        f"{found[0].metric}: too few answers are rated under every training seed, so the seeds are averaged; this "
        "speaks about these adapters, not about training again. "
        f"{MIN_SEEDS} seeds on {MIN_CLUSTERS} clusters would do."
    )
