"""Count how often a run's results were looked at while it grew: each look is one more chance of a false alarm.

Looks at 3, 5 and 8 seeds, each tested at 5%, find something in 8 to 13% of runs where there is nothing. So looks are
declared beforehand (compare.looks) and each tests at its part of alpha; one beyond is told. A look is what was
compared, its arms and how many probes; the same or a part of it again is no new one. signature.json holds them in
order, and timing.jsonl when.
"""

from collections.abc import Sequence
from dataclasses import replace

from iikata.core.records import Arm, Score
from iikata.pipeline.context import RunContext
from iikata.run_folder import write_json
from iikata.stats import Result

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
SAID = {
    "en": "{Ordinal} look at an experiment planned for {planned}, so false alarms are more than alpha. ",
    "ja": "予定した{n}回を超える{k}回目の確認なので、誤検出の確率は有意水準より高くなります。",
}


def look(ctx: RunContext, scores: Sequence[Score]) -> int:
    """Return which look at the run this is, from 1, and record it where it is a new one."""
    arms = {Arm(variant, seed).name for variant, seed in {(score.trained_on, score.seed) for score in scores}}
    probes = {score.probe for score in scores}
    looks = list(ctx.signature.get("looks", []))
    for number, seen in enumerate(looks, start=1):
        if arms.issubset(seen["arms"]) and len(probes) <= seen["probes"]:
            return number
    looks.append({"arms": sorted(arms), "probes": len(probes)})
    write_json(ctx.store.signature, {**ctx.signature, "looks": looks})
    vars(ctx).pop("signature")
    return len(looks)


def counted(result: Result, this: int, planned: int) -> Result:
    """Return the result with its look told, first of all where it is one beyond those planned."""
    verdict = {**result.verdict, "looks": {"this": this, "planned": planned}}
    if this <= planned:
        return replace(result, verdict=verdict)
    ordinal = ORDINALS[this - 1] if this <= len(ORDINALS) else f"{this}th"
    plan = "one" if planned == 1 else str(planned)
    for language, said in SAID.items():
        head = said.format(Ordinal=ordinal.capitalize(), planned=plan, n=planned, k=this)
        for part in ("sentence", "advice"):
            verdict[f"{part}_{language}"] = head + verdict[f"{part}_{language}"]
    warning = f"{ordinal} look at an experiment planned for {plan}; declare how often it is looked at: compare.looks"
    return replace(result, verdict=verdict, warnings=[warning, *result.warnings])
