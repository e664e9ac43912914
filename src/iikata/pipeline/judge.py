"""Let a judge compare every answer with the base's, and keep how far the judge is to be believed."""

import os
from collections.abc import Mapping, Sequence

from iikata.core.records import Answer, Probe
from iikata.metrics import Context
from iikata.metrics.judge import Judge
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Stage, Warned
from iikata.run_folder import write_json

KEY = "IIKATA_JUDGE_KEY"
"""Environment variable of the endpoint's key, which is never written anywhere."""
MOST_FLIPS = 0.3
"""Above this share of pairs whose winner changes with their order, it is the order that is judged."""


def judge_of(ctx: RunContext) -> Judge | None:
    """Return the experiment's judge, where it names one; nothing is asked yet."""
    settings = ctx.experiment.score.judge
    if settings is None:
        return None
    return Judge(settings.url, settings.model, ctx.store.judge_cache, os.environ.get(KEY))


def judge(ctx: RunContext, answers: Sequence[Answer], probes: Mapping[str, Probe], about: Context) -> None:
    """Write judge.jsonl and judge.json where the experiment names a judge and there are answers.

    Replies are kept as they come, so that a killed run asks for none twice.
    """
    asker = judge_of(ctx)
    if asker is None or not answers:
        return
    ctx.emit(Stage("score", sum(answer.trained_on is not None for answer in answers), "answers for the judge"))
    judged = asker.against_base(answers, probes, about)
    ctx.store.write_scores(Judge.name, ctx.told(judged.scores))
    who = {"model": asker.endpoint.model, "signature": asker.signature}
    write_json(ctx.store.judge, {**who, "flip_rate": judged.flip_rate, "unread": judged.unread})
    flips = "no pair of different answers was judged"
    if (rate := judged.flip_rate) is not None:
        flips = f"in {rate:.0%} of the pairs the two orders disagree, which counts as a tie"
        flips += "; the order is being judged, not the answers: do not believe it" if rate > MOST_FLIPS else ""
    ctx.emit(Warned(f"judge: {flips}; {judged.unread} pairs without a readable reply have no score"))
