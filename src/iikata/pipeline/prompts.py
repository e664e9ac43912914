"""What each cell is prompted with: a template, for the untuned model also with rows of the data as examples."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from iikata import tokenize
from iikata.config import Experiment
from iikata.core.records import Cell, Example, Probe
from iikata.templates import Shots, Template, drawn

if TYPE_CHECKING:
    from iikata.generate import Request, Sampling

Ids = tuple[int, ...]


def request(
    template: Template, tokenizer: tokenize.Tokenizer, prompt: Ids, keys: Iterable[Any], seeds: Iterable[int],
    arm: str | None, prefixes: Sequence[Ids] = (),
) -> "Request":  # fmt: skip
    """Return what an arm is asked; its answers end where the template says."""
    from iikata.generate import Request

    stop, ends = template.stop, tokenize.stop_ids(template, tokenizer)
    stopped = (lambda ids: any(text in tokenizer.text(ids) for text in stop)) if stop else None
    return Request(tuple(keys), prompt, tuple(seeds), ends, arm, prefixes, stopped)


def sampling_of(experiment: Experiment) -> "Sampling":
    from iikata.generate import Sampling

    settings = experiment.generate
    return Sampling(settings.temperature, settings.top_p, settings.top_k, settings.repetition_penalty)


class Prompts:
    """The templates of a run, and how each of its cells is prompted."""

    def __init__(
        self, templates: Mapping[str, Template], tokenizer: tokenize.Tokenizer, rows: Sequence[Example]
    ) -> None:
        self.templates, self.tokenizer, self.rows = templates, tokenizer, rows
        self._shots: dict[tuple[str, int], Shots] = {}

    def of(self, cell: Cell) -> Template:
        """Return the template that a cell is prompted with, with its examples where it is shown some."""
        if cell.prompted_with in self.templates:
            return self.templates[cell.prompted_with]
        key = cell.prompted_with, int(cell.arm.seed or 0)
        if key not in self._shots:
            name, _, shots = cell.prompted_with.rpartition("+")
            rows = drawn(self.rows, int(shots.removesuffix("shots")), key[1])
            self._shots[key] = Shots.over(self.templates[name], rows, cell.prompted_with)
        return self._shots[key]

    @cached_property
    def prefixes(self) -> dict[str, list[Ids]]:
        """Template -> the tokens that its prompts begin with."""
        return {name: tokenize.prefixes(template, self.tokenizer) for name, template in self.templates.items()}

    def prefixes_of(self, cell: Cell) -> list[Ids]:
        """Return the tokens that a cell's prompts begin with, its examples among them."""
        template = self.of(cell)
        if isinstance(template, Shots):
            return tokenize.prefixes(template, self.tokenizer)
        return self.prefixes[cell.prompted_with]

    def ids(self, cell: Cell, probe: Probe) -> Ids:
        return tuple(tokenize.encode_prompt(self.of(cell), self.tokenizer, *probe.asked))
