"""A study's published scores made from known effects; never results, and nothing of it lies in study/."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from iikata.core.io import sha256_of
from iikata.pipeline.publishing import redone
from iikata.stats.published import condensed, write_published
from iikata.stats.table import TableWriter

TEMPLATES = ("alpaca", "dolly_en_rinna", "native", "plain")
PROMPTS = (*TEMPLATES, "alpaca_asked")
EFFECT = {"alpaca": 0.0, "dolly_en_rinna": 0.04, "native": 0.0, "plain": 0.0}
"""Of nll; `choice` has none."""
TUNED, BASE, SHOWN, FOREIGN = 0.45, 0.62, 0.58, 0.2
PLANTED = {"shuffled-10": 0.02, "shuffled-30": 0.06}
SAMPLES, ASKED, CHOICES = 8, 20, 300
ROWS = 150
CHANCE = "choice|v:1|chance:0.333333"


class World:
    """Draws every score: what a probe does to a template, a seed to an adapter, and what remains."""

    def __init__(self, seed: int = 0, effect: Mapping[str, float] | None = None) -> None:
        self.draw = np.random.default_rng(seed)
        self.effect = effect or EFFECT
        self.rows = self.draw.normal(0, 0.1, ROWS)
        self.of_prompt = {prompt: self.draw.normal(0, 0.01, ROWS) for prompt in PROMPTS}
        self.right = self.draw.beta(1, 1.4, CHOICES)

    def nll(self, level: float, prompt: str) -> np.ndarray:
        own = self.draw.normal(0, 0.002) + self.draw.normal(0, 0.01, ROWS)
        return level + self.rows + self.of_prompt[prompt.partition("+")[0]] + own

    def choice(self, gain: float) -> np.ndarray:
        return (self.draw.random(CHOICES) < np.clip(self.right + gain, 0, 1)).astype(float)

    def answers(self, share: float) -> np.ndarray:
        return (self.draw.random((ASKED, SAMPLES)) < share).astype(float)


def level(world: World, trained_on: str | None, prompt: str, template: str) -> float:
    if trained_on is None:
        return SHOWN if prompt.endswith("shots") else BASE
    extra = PLANTED.get(trained_on, 0.0) + world.effect.get(template, 0.0)
    return TUNED + extra + (0.0 if prompt == template or trained_on == "mixed" else FOREIGN)


def cells(variants: Mapping[str, str], seeds: range, prompts: tuple[str, ...], base: bool) -> Iterator[tuple[Any, ...]]:
    """Yield (trained_on, seed, prompted_with, template)."""
    for name, template in variants.items():
        for seed in seeds:
            yield from ((name, seed, prompt, template) for prompt in prompts)
    if base:
        yield from ((None, None, prompt, None) for prompt in prompts)
        yield from ((None, draw, f"{prompt}+4shots", None) for draw in range(4) for prompt in prompts)


def drawn(world: World, metric: str, trained_on: str | None, prompt: str, template: str) -> np.ndarray:
    """Return one cell's scores of a metric: [probe, sample]."""
    if metric == "nll":
        return world.nll(level(world, trained_on, prompt, template), prompt)[:, None]
    if metric == "choice":
        return world.choice(0.08 if trained_on else 0.0)[:, None]
    return world.answers(0.3 if metric == "contains" else 0.95 if trained_on and prompt == template else 0.5)


def publish(folder: Path, world: World, given: Any, metrics: tuple[str, ...]) -> None:
    """Write one part's scores, what it says of itself, and its comparisons."""
    writer = TableWriter()
    for trained_on, seed, prompt, template in given:
        levels = (("train.learning_rate", "3e-4"),) if trained_on else ()
        for metric in metrics:
            signature = CHANCE if metric == "choice" else f"{metric}|v:1"
            scored = (trained_on, seed, prompt, metric, signature, template, levels)
            kind = {"nll": "r", "choice": "c"}.get(metric, "q")
            for (probe, sample), value in np.ndenumerate(drawn(world, metric, trained_on, prompt, template or "")):
                writer.add(scored, (f"{kind}{probe}", f"{kind}{probe}"), sample, float(value), 1)
    folder.mkdir(parents=True)
    write_published(folder / "scores.parquet", condensed(writer.table()))
    declared = {"primary": "nll", "margins": {"nll": 0.02}, "alpha": 0.05, "looks": 1, "factor": "variant"}
    run = {"declared": [{**declared, "others": None, "choosing_seeds": []}], "content": "contains", "gates": []}
    about = {"scores": sha256_of(folder / "scores.parquet"), "runs": [run]}
    (folder / "published.json").write_text(json.dumps(about))
    (folder / "comparisons.json").write_text(json.dumps(redone(folder)))


def write(folder: Path, seed: int = 0, effect: Mapping[str, float] | None = None) -> Path:
    """Write a model's whole folder, as study/run.py leaves it."""
    world, own = World(seed, effect), {name: name for name in TEMPLATES}
    every, few = ("nll", "choice", "contains", "finish"), ("nll",)
    control = dict.fromkeys(PLANTED, "alpaca")
    mixed = {"mixed": "|".join(TEMPLATES)}
    publish(folder / "choose", world, cells(own, range(100, 102), TEMPLATES, True), few)
    publish(folder / "pilot", world, cells({"clean": "alpaca", **control}, range(100, 102), ("alpaca",), True), few)
    publish(folder / "test", world, cells({**own, **mixed}, range(6), PROMPTS, True), every)
    publish(folder / "planted", world, cells(control, range(6), PROMPTS, True), every)
    publish(folder / "again", world, cells({"again": "alpaca"}, range(6, 12), PROMPTS, True), every)
    loss = {"alpaca+completion": "alpaca", "alpaca+all": "alpaca"}
    publish(folder / "loss", world, cells(loss, range(6), ("alpaca",), True), few)
    rates = ("3e-4", "1e-4", "1e-3")
    means = {f"{name}+lr{rate}": TUNED + 0.01 * n for name in TEMPLATES for n, rate in enumerate(rates)}
    chosen = {
        "rates": dict.fromkeys(TEMPLATES, "3e-4"),
        "margin": {"nll": 0.02, "choice": 0.05},
        "foretold": dict(PLANTED),
        "means": means,
    }
    (folder / "chosen.json").write_text(json.dumps(chosen))
    return folder
