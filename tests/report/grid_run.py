"""A run of two templates under four learning rates, compared by the real statistics: what a report of factors shows."""

import random
from dataclasses import asdict

from synthetic_run import METRICS

from iikata.core.records import Answer, Probe, Score, Variant
from iikata.report.data import ReportData, TemplateCard
from iikata.stats import compare

TEMPLATES, RATES, SEEDS = ("alpaca", "native"), ("1e-4", "3e-4", "1e-3", "3e-3"), range(5)
LR = "train.learning_rate"
VARIANTS = {f"{t}+lr{rate}": Variant(f"{t}+lr{rate}", (t,), ((LR, rate),)) for t in TEMPLATES for rate in RATES}
LOSS = dict(zip(RATES, (1.2, 1.0, 0.8, 0.6), strict=True))
PROBES = [Probe(f"p{i:02d}", f"Which is number {i}?", references=(str(i),), cluster=f"p{i:02d}") for i in range(12)]


def cells():
    """Yield (variant or None, seed, template that is prompted with)."""
    for t in TEMPLATES:
        yield None, None, t
        yield from ((variant, seed, t) for variant in VARIANTS.values() for seed in SEEDS)


def scores():
    """Return held-out losses (higher rates do better) and whether answers end by themselves."""
    dice, made = random.Random(3), []
    for variant, seed, prompt in cells():
        name, *recipe = (variant.name, variant.templates[0], dict(variant.levels)) if variant else (None, None, {})
        loss = LOSS[variant.levels[0][1]] + 0.5 * (prompt not in variant.templates) if variant else 1.5
        loss += 0.3 * (name or prompt).startswith("native")
        for metric, level, asked in (("nll", loss, 45), ("finish", float(name is not None), 12)):
            for i in range(asked):
                value = level + (dice.gauss(0, 0.02) if metric == "nll" else 0)
                probe = f"row{i}" if metric == "nll" else f"p{i:02d}"
                made.append(Score(name, seed, prompt, probe, probe, 0, metric, value, "s", *recipe))
    return made


def run(others="best", factor="template", **more) -> ReportData:
    """Return the run's report."""
    found, chosen = scores(), {"choosing_seeds": (0, 1)} if others == "best" else {}
    result = compare(found, METRICS, "nll", {"nll": 0.02}, factor=factor, others=others, **chosen)
    answers = [
        Answer(variant and variant.name, seed, prompt, probe.id, 0, f"{'It is ' if variant else 'Hm '}{probe.id}",
               "stop" if variant else "length", 3)
        for variant, seed, prompt in cells()
        for probe in PROBES
    ]  # fmt: skip
    by_metric = {name: [one for one in found if one.metric == name] for name in ("nll", "finish")}
    return ReportData(
        name="grid", experiment="", signature={},
        comparisons={**result.to_json(), "comparisons": [asdict(one) for one in result.comparisons]},
        scores=by_metric, metrics={name: METRICS[name] for name in by_metric}, probes=PROBES, answers=answers,
        templates={t: TemplateCard(t, "hash") for t in TEMPLATES}, steps={}, findings=[], gates=[], costs=[], counts={},
        command="iikata run", variants=VARIANTS, **more,
    )  # fmt: skip
