"""Of the answers that a probe lists, which does a cell find the likeliest? Packed, each prompt computed once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from iikata.core.encoded import Encoded
from iikata.core.records import Example, Probe
from iikata.model.base import Base
from iikata.model.buffers import Buffer, Ids, computed
from iikata.score.nll import limits_of, nats_in, packed, room_of, scoreable
from iikata.templates import Template
from iikata.tokenize import Tokenizer, encode_all


@dataclass(frozen=True)
class Chosen:
    """Whether the right choice of one probe was the likeliest; NaN where a choice cannot be scored."""

    id: str
    choice: float
    choice_norm: float


@dataclass(frozen=True)
class Asked:
    """A probe's choices as tokens under one template; no rows where one of them is cut or does not come back whole."""

    probe: Probe
    rows: tuple[Encoded, ...]

    @property
    def prompt(self) -> Ids:
        """The tokens that all choices follow on."""
        counted = min(row.completion_mask.index(True) for row in self.rows)
        return self.rows[0].input_ids[:counted]


def encode_choices(
    probes: Sequence[Probe], template: Template, tokenizer: Tokenizer, cutoff_len: int
) -> Iterator[Asked]:
    """Yield the choices of every probe that has some."""
    asking = [probe for probe in probes if probe.choices]
    examples = [Example(p.id, p.instruction, p.input, one, before=p.before) for p in asking for one in p.choices]
    pairs = zip(examples, encode_all(examples, template, tokenizer, cutoff_len, "last"), strict=True)
    for probe in asking:
        own = list(islice(pairs, len(probe.choices)))
        fit = all(scoreable(example, row, template, tokenizer) for example, row in own)
        yield Asked(probe, tuple(row for _, row in own) if fit else ())


LaidChoices = list[tuple[list[Encoded], Buffer]]
"""The rows of consecutive probes, and the buffer that holds them: the same for every arm."""


def laid(base: Base, asked: Sequence[Asked], buffer_tokens: int, examples: Sequence[Ids] = ()) -> LaidChoices:
    """Pack the choices, once for all arms that are asked under a template.

    `examples` begin every prompt and are longer than the rest of it: these are computed once a buffer, then, and not
    each probe's prompt once for its choices.
    """
    whole = [one for one in asked if one.rows]
    shared = examples or [one.prompt for one in whole]
    limits = limits_of([row for one in whole for row in one.rows], shared, buffer_tokens)
    examples = examples if base.shares(limits) else [()]
    made, parts = [], list(_parts(whole, buffer_tokens, examples))
    room = room_of(base, len(parts), buffer_tokens)
    for part in parts:
        rows = [row for one in part for row in one.rows]
        made.append((rows, packed(base, rows, examples or [one.prompt for one in part], limits, room)))
    return made


def chosen(base: Base, arm: str | None, asked: Sequence[Asked], buffers: LaidChoices) -> Iterator[Chosen]:
    """Yield which choice `arm` takes for each probe, in order. A tie goes to the first, as in lm-eval."""
    sums = (found["answer"] for rows, buffer in buffers for found in nats_in(base, arm, rows, buffer))
    for one in asked:
        if not one.rows:
            yield Chosen(one.probe.id, math.nan, math.nan)
            continue
        nats = [next(sums) for _ in one.rows]
        a_character = [sum_ / len(choice) for sum_, choice in zip(nats, one.probe.choices, strict=True)]
        right = [float(values.index(min(values)) == one.probe.answer) for values in (nats, a_character)]
        yield Chosen(one.probe.id, *right)


def _parts(asked: Sequence[Asked], size: int, examples: Sequence[Ids]) -> Iterator[list[Asked]]:
    """Yield consecutive probes, as many as fit `size` tokens; one that is longer stands alone."""
    part: list[Asked] = []
    used = first = sum(map(len, examples))
    for one in asked:
        lengths = [len(row.input_ids) for row in one.rows]
        shared = lengths[0] - computed(one.rows[0], examples) if examples else len(one.prompt)
        tokens = sum(lengths) - len(lengths) * shared + (0 if examples else shared)
        if part and used + tokens > size:
            yield part
            part, used = [], first
        part.append(one)
        used += tokens
    if part:
        yield part
