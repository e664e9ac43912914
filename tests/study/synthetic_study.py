"""A study's published scores made from known effects; never results, and nothing of it lies in study/."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import declare
import numpy as np

from iikata.core.io import sha256_of
from iikata.pipeline.publishing import redone
from iikata.stats.published import condensed, write_published
from iikata.stats.table import TableWriter

TEMPLATES = ("alpaca", "dolly_en_rinna", "native", "plain")
FOREIGN = 0.2
PLANTED = {"shuffled-10": 0.02, "shuffled-30": 0.06}
SAMPLES, ASKED, CHOICES = 8, 20, 300
ROWS = 150


@dataclass
class Case:
    """What is so, of nll in bits per byte; `choice` is a share."""

    effect: Mapping[str, float] = field(default_factory=lambda: {"dolly_en_rinna": 0.04})
    """Of nll, by template; `choice` has none."""
    tuned: float = 0.45
    base: float = 0.62
    shown: float = 0.58
    foreign: float = FOREIGN
    """What another template costs than the one that was trained."""
    gain: float = 0.08
    """Of `choice`, by tuning."""
    seed_spread: float = 0.002
    of_seed: Mapping[int, float] = field(default_factory=dict)
    """What of the effect a seed shows; all of it where it is not named."""
    long_only: bool = False
    """Whether the effect is on rows with long answers alone, which are the first third."""
    foretold: Mapping[str, float] = field(default_factory=lambda: PLANTED)
    margin: float | None = 0.02
    choice_margin: float = 0.05
    edge: tuple[str, ...] = ()
    lost: tuple[tuple[str, int], ...] = ()
    """Arms (variant, seed) whose training was given up: they have no scores, and a gate says so."""
    unscored: tuple[str, int] | None = None
    """A template that cannot give a question its choices, and that question."""


class World:
    """Draws every score: what a probe does to a template, a seed to an adapter, and what remains."""

    def __init__(self, seed: int = 0, case: Case | None = None, model: str = "smollm2") -> None:
        self.draw = np.random.default_rng(seed)
        self.case, study = case or Case(), declare.STUDIES[model]
        self.templates = tuple(map(declare.name_of, study.templates))
        self.prompts = (*self.templates, declare.name_of(study.asked))
        self.control = study.control
        self.chance = "0.333333" if study.language == "en" else "0.2"
        self.rows = self.draw.normal(0, 0.1, ROWS)
        self.of_prompt = {prompt: self.draw.normal(0, 0.01, ROWS) for prompt in self.prompts}
        self.right = self.draw.beta(1, 1.4, CHOICES)

    def nll(self, level: np.ndarray | float, prompt: str) -> np.ndarray:
        own = self.draw.normal(0, self.case.seed_spread) + self.draw.normal(0, 0.01, ROWS)
        return level + self.rows + self.of_prompt[prompt.partition("+")[0]] + own

    def choice(self, gain: float) -> np.ndarray:
        return (self.draw.random(CHOICES) < np.clip(self.right + gain, 0, 1)).astype(float)

    def answers(self, share: float) -> np.ndarray:
        return (self.draw.random((ASKED, SAMPLES)) < share).astype(float)

    def level(self, trained_on: str | None, seed: int | None, prompt: str, template: str) -> np.ndarray | float:
        case = self.case
        if trained_on is None:
            return case.shown if prompt.endswith("shots") else case.base
        effect = case.effect.get(template, 0.0) * case.of_seed.get(seed or 0, 1.0)
        foreign = 0.0 if prompt == template or trained_on == "mixed" else case.foreign
        where = np.arange(ROWS) < ROWS // 3 if case.long_only else 1.0
        return case.tuned + PLANTED.get(trained_on, 0.0) + effect * where + foreign

    def drawn(self, metric: str, cell: tuple[str | None, int | None, str, str | None]) -> np.ndarray:
        """Return one cell's scores of a metric: [probe, sample]."""
        trained_on, seed, prompt, template = cell
        if metric == "nll":
            return self.nll(self.level(trained_on, seed, prompt, template or ""), prompt)[:, None]
        if metric == "choice":
            right = self.choice(self.case.gain if trained_on else 0.0)
            if self.case.unscored and prompt.partition("+")[0] == self.case.unscored[0]:
                right[self.case.unscored[1]] = np.nan
            return right[:, None]
        return self.answers(0.3 if metric == "contains" else 0.95 if trained_on and prompt == template else 0.5)


def cells(variants: Mapping[str, str], seeds: range, prompts: tuple[str, ...], base: bool) -> Iterator[tuple[Any, ...]]:
    """Yield (trained_on, seed, prompted_with, template)."""
    for name, template in variants.items():
        for seed in seeds:
            yield from ((name, seed, prompt, template) for prompt in prompts)
    if base:
        yield from ((None, None, prompt, None) for prompt in prompts)
        yield from ((None, draw, f"{prompt}+4shots", None) for draw in range(4) for prompt in prompts)


def publish(folder: Path, world: World, given: Any, metrics: tuple[str, ...]) -> None:
    """Write one part's scores, what it says of itself, and its comparisons."""
    writer = TableWriter()
    for cell in given:
        trained_on, seed, prompt, template = cell
        if (trained_on, seed) in world.case.lost:
            continue
        levels = (("train.learning_rate", "3e-4"),) if trained_on else ()
        for metric in metrics:
            signature = f"choice|v:1|chance:{world.chance}" if metric == "choice" else f"{metric}|v:1"
            scored = (trained_on, seed, prompt, metric, signature, template, levels)
            kind = {"nll": "r", "choice": "c"}.get(metric, "q")
            for (probe, sample), value in np.ndenumerate(world.drawn(metric, cell)):
                writer.add(scored, (f"{kind}{probe}", f"{kind}{probe}"), sample, float(value), 1)
    folder.mkdir(parents=True)
    write_published(folder / "scores.parquet", condensed(writer.table()))
    gates = [
        {"name": "sound_training", "subject": f"{name}.s{seed}", "passed": False, "detail": ""}
        for name, seed in world.case.lost
    ]
    declared = {"primary": "nll", "margins": {"nll": 0.02}, "alpha": 0.05, "looks": 1, "factor": "variant"}
    run = {"declared": [{**declared, "others": None, "choosing_seeds": []}], "content": "contains", "gates": gates}
    about = {"scores": sha256_of(folder / "scores.parquet"), "runs": [run]}
    (folder / "published.json").write_text(json.dumps(about))
    (folder / "comparisons.json").write_text(json.dumps(redone(folder)))


def write(folder: Path, seed: int = 0, case: Case | None = None, model: str = "smollm2") -> Path:
    """Write a model's whole folder, as study/run.py leaves it."""
    world = World(seed, case, model)
    case, own, first, prompts = world.case, {name: name for name in world.templates}, world.control, world.prompts
    every, few = ("nll", "choice", "contains", "finish"), ("nll",)
    control = dict.fromkeys(PLANTED, first)
    mixed = {"mixed": "|".join(own)}
    publish(folder / "choose", world, cells(own, range(100, 102), world.templates, True), few)
    publish(folder / "pilot", world, cells({"clean": first, **control}, range(100, 102), (first,), True), few)
    publish(folder / "test", world, cells({**own, **mixed}, range(6), prompts, True), every)
    publish(folder / "planted", world, cells(control, range(6), prompts, True), every)
    publish(folder / "again", world, cells({"again": first}, range(6, 12), prompts, True), every)
    if declare.STUDIES[model].loss:
        loss = {f"{first}+completion": first, f"{first}+all": first}
        publish(folder / "loss", world, cells(loss, range(6), (first,), True), few)
    if declare.STUDIES[model].language == "ja":
        lengths = {f"r{n}": 30 if n < ROWS // 3 else 3 for n in range(ROWS)}
        (folder / "rows.json").write_text(json.dumps(lengths))
    rates = ("3e-4", "1e-4", "1e-3")
    means = {f"{name}+lr{rate}": case.tuned + 0.01 * n for name in own for n, rate in enumerate(rates)}
    chosen = {
        "rates": dict.fromkeys(own, "3e-4"),
        "at_the_edge": list(case.edge),
        "margin": {"nll": case.margin, "choice": case.choice_margin},
        "foretold": dict(case.foretold),
        "means": means,
    }
    (folder / "chosen.json").write_text(json.dumps(chosen))
    return folder
