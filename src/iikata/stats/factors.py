"""Which variants stand for each level of a factor: all there are, the best of each, or an average over the rest."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from iikata.core.errors import IikataError
from iikata.core.records import Gate, Variant
from iikata.metrics import Metric
from iikata.stats.pairing import Settings, Side, best_of, choosing_third, on_common_clusters
from iikata.stats.table import Panel

OTHERS = ("best", "average", "each")
LEAST_CHOOSING, LEAST_TESTING = 2, 3
"""Seeds. Chosen on the tested ones, false equivalence reaches 14% (bench/calibration_factors.py)."""


@dataclass(frozen=True)
class Design:
    """What is compared: a factor, its levels, and what stands for each level."""

    factor: str
    others: str | None
    """How the settings other than the factor are dealt with; None where nothing else varies."""
    levels: Mapping[str, Mapping[Settings, Variant]]
    """level -> the other settings -> the variant."""

    def groups(self) -> Iterator[tuple[Settings, dict[str, Variant]]]:
        """Yield the variants that differ in the factor alone."""
        for settings in dict.fromkeys(s for variants in self.levels.values() for s in variants):
            alike = {level: variants[settings] for level, variants in self.levels.items() if settings in variants}
            yield settings, alike


@dataclass(frozen=True)
class LevelChoice:
    """The variant that stands for each level, and what it was chosen on: never tested on that again."""

    variants: Mapping[str, Variant]
    seeds: frozenset[int]
    clusters: frozenset[str]
    table: Mapping[str, Mapping[str, float]]
    """level -> variant -> mean of the primary metric over the choosing seeds and clusters."""
    edges: tuple[str, ...] = ()
    """Chosen variants at the edge of a numeric grid: a better one may lie beyond it."""


def design_of(variants: Mapping[str, Variant], factor: str | None, others: str | None) -> Design:
    """Sort the variants by the levels of the factor. Raises IikataError where the question cannot be asked of them.

    Without `factor` it is the one that varies, the template where that is one of several; where nothing tells the
    variants apart but their names, it is `variant`.
    """
    if len(variants) > 1 and any(variant.elsewhere for variant in variants.values()):
        # What they were trained on and with is not known, so that no setting could be said to differ alone.
        if factor not in (None, "variant") or others is not None:
            raise IikataError(
                "adapters from elsewhere can only be compared as variants, for what else differs in them is not known. "
                "Leave compare.factor and compare.others out, or say compare.factor: variant."
            )
        factor = "variant"
    factors = varying(variants)
    named = factors or (["variant"] if len(variants) > 1 else ["template"])
    chosen = factor or ("template" if "template" in named else named[0])
    if chosen not in (*named, "variant"):
        raise IikataError(f'the factor "{chosen}" does not vary in these scores. What varies: {", ".join(named)}.')
    rest = [name for name in factors if name != chosen] if chosen != "variant" else []
    if rest and others is None:
        raise IikataError(
            f"more than {chosen} varies: {', '.join(rest)}. Say how to deal with that, compare.others: best (the best "
            "of each level, chosen on seeds of their own), average, or each."
        )
    levels: dict[str, dict[Settings, Variant]] = {}
    for variant in variants.values():
        own = factors_of(variant)
        settings = tuple((name, own.get(name, "")) for name in rest)
        level = variant.name if chosen == "variant" else own.get(chosen, "")
        if settings in levels.setdefault(level, {}):
            raise IikataError(
                f'"{variant.name}" and "{levels[level][settings].name}" have the same levels, so nothing tells what '
                "differs. Give each its own, or compare them as variants: compare.factor: variant."
            )
        levels[level][settings] = variant
    design = Design(chosen, others if rest else None, levels)
    if design.others == "average":
        _refuse_unbalanced(design)
    return design


def factors_of(variant: Variant) -> dict[str, str]:
    """Return every factor's level, the template's too."""
    return {"template": "|".join(variant.templates), **dict(variant.levels)}


def varying(variants: Mapping[str, Variant]) -> list[str]:
    """Return the factors that have more than one level among the variants."""
    every = [factors_of(variant) for variant in variants.values()]
    names = dict.fromkeys(name for levels in every for name in levels)
    return [name for name in names if len({levels.get(name) for levels in every}) > 1]


def _refuse_unbalanced(design: Design) -> None:
    every = {settings for variants in design.levels.values() for settings in variants}
    for level, variants in design.levels.items():
        if missing := sorted(every - variants.keys()):
            lacking = ", ".join(f"{name} {value or '(not set)'}" for name, value in missing[0])
            raise IikataError(
                f"others: average needs every combination, and {design.factor} {level or '(not set)'} lacks "
                f"{len(missing)} of them, the first is {lacking}. Train them, or take others: best or each."
            )


def choose(design: Design, panel: Panel, info: Metric, seeds: Sequence[int], failed: Collection[str]) -> LevelChoice:
    """Choose each level's best variant by the primary metric, on the choosing seeds and the choosing third alone.

    `failed` names variants with a failed gate, which cannot be chosen. Raises IikataError where too few seeds are left
    for choosing or testing, or a level has nothing to choose from.
    """
    refuse_few_seeds(seeds, {seed for t, seed, _ in panel.cells if t is not None and seed is not None})
    third = choosing_third(panel.clusters)
    chosen, table, edges = {}, {}, []
    for level, variants in design.levels.items():
        means = _means(panel, [v for v in variants.values() if v.name not in failed], seeds, third)
        if not means:
            seen = f"others: best has nothing to choose from for {design.factor} {level}: each variant failed a gate"
            raise IikataError(f"{seen}. Train these again, or take others: each.")
        best = best_of(means, info)
        settings, chosen[level] = next((s, v) for s, v in variants.items() if v.name == best)
        table[level] = means
        edges += [best] if any(_at_edge(name, value, variants) for name, value in settings) else []
    clusters = frozenset(name for name, there in zip(panel.clusters, third, strict=True) if there)
    return LevelChoice(chosen, frozenset(seeds), clusters, table, tuple(edges))


def refuse_few_seeds(choosing: Sequence[int], every: Collection[int]) -> None:
    """Raise IikataError where `others: best` has too few seeds to choose on or to test on."""
    if len(choosing) < LEAST_CHOOSING or set(choosing) - set(every) or len(set(every) - set(choosing)) < LEAST_TESTING:
        raise IikataError(
            f"others: best chooses on {LEAST_CHOOSING} seeds or more and tests on {LEAST_TESTING} others or more. "
            f"compare.choosing_seeds is {list(choosing)}, and the seeds are {sorted(every)}. Add seeds."
        )


def edges(choice: LevelChoice | None) -> list[str]:
    """Return a warning where the best that was chosen lies at the edge of what was tried."""
    if choice is None or not choice.edges:
        return []
    return [f"chosen at the edge of the grid: {', '.join(choice.edges)}; a better setting may lie beyond it"]


def _means(panel: Panel, variants: Sequence[Variant], seeds: Sequence[int], third: np.ndarray) -> dict[str, float]:
    """Return the mean of each variant under its own template, on the clusters that all of them answer."""
    rows = {
        v.name: [row for s, row in panel.rows(v.name, own_prompt(panel, v)).items() if s in seeds] for v in variants
    }
    rows = {name: of for name, of in rows.items() if len(of) == len(seeds)}
    return {name: float(values.mean()) for name, values in on_common_clusters(panel, rows, third).items()}


def own_prompt(panel: Panel, variant: Variant) -> str:
    """Return the template that a variant is asked under when matched; of a mixture's, the first that was asked."""
    return next((p for p in variant.templates if panel.rows(variant.name, p)), variant.templates[0])


def _at_edge(name: str, value: str, variants: Mapping[Settings, Variant]) -> bool:
    """Return whether a numeric setting is the lowest or highest of three or more that were tried."""
    tried = sorted({found for settings in variants if (found := number(dict(settings)[name])) is not None})
    return len(tried) > 2 and number(value) in (tried[0], tried[-1])


def number(text: str) -> float | None:
    """Return a level as a number, None where it is a name."""
    return float(text) if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", text) else None


@dataclass(frozen=True)
class Levels:
    """The sides to compare: each level of the factor prompted as it was trained."""

    sides: Mapping[str, Side]
    about: Mapping[str, Any] = field(default_factory=dict)
    """What their comparisons' detail says of the other settings."""


def levels_of(design: Design, panel: Panel, choice: LevelChoice | None) -> list[Levels]:
    """Return the sides that are held against each other, a list for each of the other settings under `each`."""
    if design.others == "each":
        found = [Levels(_sides(group, panel), {"others": dict(settings)}) for settings, group in design.groups()]
        return [levels for levels in found if levels.sides]
    if choice is not None:
        about = {"chosen": {level: v.name for level, v in choice.variants.items()}, "choosing": dict(choice.table)}
        about |= {"best_at_the_edge_of_the_grid": list(choice.edges)} if choice.edges else {}
        return [Levels(_sides(choice.variants, panel), about)]
    if design.others == "average":
        sides = {level: averaged(design.factor, level, list(v.values()), panel) for level, v in design.levels.items()}
        return [Levels({level: side for level, side in sides.items() if side.cells})]
    return [Levels(_sides({level: v for level, of in design.levels.items() for v in of.values()}, panel))]


def _sides(variants: Mapping[str, Variant], panel: Panel) -> dict[str, Side]:
    """Return the variants that were asked under a template of their own."""
    prompts = {level: (v, own_prompt(panel, v)) for level, v in variants.items()}
    asked = {level: (v, prompt) for level, (v, prompt) in prompts.items() if panel.rows(v.name, prompt)}
    return {level: Side.of(v.name, prompt, v.levels) for level, (v, prompt) in asked.items()}


def averaged(factor: str, level: str, variants: Sequence[Variant], panel: Panel) -> Side:
    """Return a level's mean over all other settings, each variant asked under its own template."""
    cells = tuple((v.name, own_prompt(panel, v)) for v in variants)
    prompts = "|".join(dict.fromkeys(prompt for _, prompt in cells))
    return Side(level, prompts, cells, ((factor, level),))


def failed_variants(gates: Sequence[Gate], variants: Mapping[str, Variant]) -> set[str]:
    """Return the variants of which an adapter failed a gate, under any seed."""
    failed = {re.split(r"\.s-?\d+(?=@|$)|@", gate.subject)[0] for gate in gates if not gate.passed}
    return failed & variants.keys()
