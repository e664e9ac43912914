"""What the report calls variants and their cells, and which level of the factor each of them belongs to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from iikata.core.records import Variant
from iikata.report.matrix import Key
from iikata.stats.factors import factors_of, varying

SIDE_BY_SIDE = 6
"""Cells whose answers a reader can still compare on one screen."""


@dataclass(frozen=True)
class Variants:
    """The variants of a run; one that is not known is a template's, as where only templates vary."""

    known: Mapping[str, Variant] = field(default_factory=dict)
    factor: str = "template"
    templates: Sequence[str] = ()
    """All templates, in the order that colours follow where the factor is the template."""

    @cached_property
    def varying(self) -> list[str]:
        """The factors with more than one level."""
        return varying(self.known)

    @property
    def grouped(self) -> bool:
        """Whether more than the factor varies, so that variants are sorted by its levels."""
        return self.factor in self.varying and len(self.varying) > 1

    def level(self, name: str) -> str:
        """Return the level of the factor that a variant, or an average over variants, stands for."""
        levels = factors_of(self.known[name]) if name in self.known else {}
        return levels.get(self.factor, name)

    @property
    def others(self) -> list[str]:
        """The factors beside the one that is compared."""
        return [name for name in self.varying if name != self.factor]

    def rest(self, name: str) -> str:
        """Return a variant's levels of `others`; its name where it lacks one of them."""
        levels = factors_of(self.known[name])
        return ", ".join(levels[one] for one in self.others) if levels.keys() >= {*self.others} else name

    def own(self, cell: Key) -> bool:
        """Return whether a cell is prompted as it was trained."""
        trained, prompted = cell
        if trained is not None and trained in self.known:
            return prompted in self.known[trained].templates
        if members := self._members(trained):
            return prompted == "|".join(dict.fromkeys(one.templates[0] for one in members))
        return trained == prompted

    def side(self, cell: Key) -> str:
        """Return what a cell is called: its variant where that tells how it was prompted, else `alpaca@native`."""
        several = cell[0] in self.known and len(self.known[str(cell[0])].templates) > 1
        return str(cell[0]) if self.own(cell) and not several else f"{cell[0] or 'base'}@{cell[1]}"

    def cells(self, cell: Key) -> list[Key]:
        """Return the cells that one side of a comparison stands for: more than one where it is an average."""
        members = self._members(cell[0])
        if self.own(cell):
            return [(one.name, one.templates[0]) for one in members] or [cell]
        return [(one.name, cell[1]) for one in members if cell[1] not in one.templates] or [cell]

    def first(self, cells: Sequence[Key], about: Iterable[Key]) -> list[Key]:
        """Return the cells that are shown first: all prompted as trained; of many, those the verdict is about."""
        usual = [one for one in cells if one[0] is None or self.own(one)]
        asked = {one for side in about for one in self.cells(side)}
        return usual if len(usual) <= SIDE_BY_SIDE else [one for one in cells if one in asked] or usual[:SIDE_BY_SIDE]

    def colour(self, cell: Key) -> int | None:
        """Return the number of a cell's colour, the same for a level everywhere; None for a base without a level."""
        if cell[0] is None:
            return self._colours.get(cell[1], 0) if self.factor == "template" else None
        return self._colours.get(self.level(cell[0]), 0)

    def sorted(self, names: Iterable[str | None]) -> list[str | None]:
        """Return variants with those of a level together; None, the base, stays first."""
        names = list(names)
        order = list(dict.fromkeys("" if name is None else self.level(name) for name in names))
        return sorted(names, key=lambda name: order.index("" if name is None else self.level(name)))

    def headed(self, names: Sequence[str | None]) -> Iterator[tuple[str | None, str | None, int, str]]:
        """Yield (variant, the level that begins here or None, how many rows it has, what the row is called)."""
        before = None
        for name in names:
            level = self.level(name) if self.grouped and name is not None and name in self.known else None
            span = sum(one is not None and one in self.known and self.level(one) == level for one in names)
            label = self.rest(name) if level is not None and name is not None else name or ""
            yield name, level if level != before else None, span, label
            before = level

    def _members(self, level: str | None) -> list[Variant]:
        """Return the variants that are averaged under the name of a level; none where it is a variant's own name."""
        if level is None or level in self.known:
            return []
        return [variant for name, variant in self.known.items() if self.level(name) == level]

    @cached_property
    def _colours(self) -> dict[str, int]:
        templates = self.templates if self.factor == "template" else ()
        return {level: i for i, level in enumerate(dict.fromkeys([*templates, *map(self.level, self.known)]))}


def settings_text(levels: Mapping[str, str]) -> str:
    """Return settings as a reader writes them: `learning_rate 3e-4, lora r8`; a template is named alone."""
    return ", ".join(level if name == "template" else f"{setting(name)} {level}" for name, level in levels.items())


def setting(name: str) -> str:
    """Return a factor's name without the section that everyone knows."""
    return "data" if name == "data.train" else name.removeprefix("train.")
