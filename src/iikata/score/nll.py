"""Held-out likelihood: bits per UTF-8 byte of the data's own answer, given all that the template writes around it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress

import torch

from iikata.core.encoded import Encoded, Role
from iikata.core.records import Example
from iikata.model.attention.limits import Limits, Room
from iikata.model.base import Base
from iikata.model.buffers import Buffer, Ids, Part, split
from iikata.templates import Template
from iikata.tokenize import Tokenizer, encode_all, encode_turns

COUNTED: tuple[Role, ...] = ("answer", "end", "written")


@dataclass(frozen=True)
class HeldOut:
    """One row's likelihood in one cell, over all answers of a conversation; NaN where one cannot be scored."""

    id: str
    nll: float
    """Bits per byte of the answers."""
    nll_end: float
    """Bits of an end token."""
    nll_template: float
    """Bits of what the template makes the model write besides, an answer; 0 where that is nothing."""


def scoreable(example: Example, encoded: Encoded, template: Template, tokenizer: Tokenizer) -> bool:
    """True where the answer is all there and comes back from its tokens as it was.

    Otherwise the tokens carry other bytes than the answer's, and bits per byte would compare different texts.
    """
    # Nothing predicts the first token of all, so an answer that begins there cannot be scored.
    if encoded.truncated or not example.output or encoded.completion_mask[0]:
        return False
    first = encoded.completion_mask.index(True)  # examples in front may be most of a row
    own = [id for id, role in zip(encoded.input_ids[first:], encoded.roles[first:], strict=True) if role == "answer"]
    # A token at its ends may hold some of the template's text too.
    return template.unmapped(encoded.answer) == example.output and encoded.answer in tokenizer.text(own)


@dataclass(frozen=True)
class Laid:
    """Rows as tokens in buffers, which every arm that is prompted with the same template reads."""

    rows: Sequence[Sequence[Encoded]]
    """Of each row what it is scored on."""
    parts: Sequence[tuple[Sequence[Encoded], Buffer]]


LaidAs = tuple[str, int, bool]
"""A template's hash, the tokens of a buffer, whether flash kernels read it."""


def held_out_nll(
    base: Base,
    arm: str | None,
    examples: Sequence[Example],
    template: Template,
    tokenizer: Tokenizer,
    prefixes: Sequence[Ids],
    cutoff_len: int,
    buffer_tokens: int,
    last: bool = False,
    kept: dict[LaidAs, Laid] | None = None,
) -> Iterator[HeldOut]:
    """Yield every row's likelihood under `arm` prompted with `template`, in the rows' order.

    `last`: of a conversation the last answer alone counts. What is laid out is `kept` for the next call with the same
    examples and `last`.
    """
    key, kept = (template.hash, buffer_tokens, bool(base.runners)), {} if kept is None else kept
    if key not in kept:
        rows = list(_sequences(examples, template, tokenizer, cutoff_len, last))
        kept[key] = Laid(rows, list(_buffers(base, [one for row in rows for one in row], prefixes, buffer_tokens)))
    found = (sums for part, buffer in kept[key].parts for sums in nats_in(base, arm, part, buffer))
    for example, row in zip(examples, kept[key].rows, strict=True):
        sums = [next(found) for _ in row]
        nats_of = {role: sum(one[role] for one in sums) if sums else math.nan for role in COUNTED}
        answer, end, written = (nats_of[role] / math.log(2) for role in COUNTED)
        answers = [example.output] if last else [turn.output for turn in example.turns()]
        size, turns = sum(len(text.encode()) for text in answers), len(answers)
        yield HeldOut(example.id, answer / max(size, 1), end / turns, written / turns)


def _sequences(
    examples: Sequence[Example], template: Template, tokenizer: Tokenizer, cutoff_len: int, last: bool
) -> Iterator[list[Encoded]]:
    """Yield what each row is scored on, nothing where one of its answers cannot be."""
    how = (examples, template, tokenizer, cutoff_len)
    encoded = (([row], [row]) for row in encode_all(*how, "last")) if last else encode_turns(*how)
    for example, (turns, sequences) in zip(examples, encoded, strict=True):
        answered = zip([example] if last else example.turns(), turns, strict=True)
        yield sequences if all(scoreable(*one, template, tokenizer) for one in answered) else []


def nats(
    base: Base, arm: str | None, rows: Sequence[Encoded], prefixes: Sequence[Ids], buffer_tokens: int
) -> Iterator[dict[Role, float]]:
    """Yield the nats of each row's loss tokens, summed by their role."""
    for part, buffer in _buffers(base, rows, prefixes, buffer_tokens):
        yield from nats_in(base, arm, part, buffer)


def _buffers(
    base: Base, rows: Sequence[Encoded], prefixes: Sequence[Ids], buffer_tokens: int
) -> Iterator[tuple[Sequence[Encoded], Buffer]]:
    limits = limits_of(rows, prefixes, buffer_tokens)
    parts = list(split(rows, prefixes if base.shares(limits) else (), buffer_tokens))
    room = room_of(base, len(parts), buffer_tokens)
    for part in parts:
        yield part, packed(base, part, prefixes, limits, room)


def limits_of(rows: Sequence[Encoded], prefixes: Sequence[Ids], buffer_tokens: int) -> Limits:
    """Return the most that any buffer of these rows holds."""
    longest = max((len(row.input_ids) for row in rows), default=1)
    return Limits.over(longest, max(buffer_tokens, longest), max(map(len, prefixes), default=0))


def room_of(base: Base, buffers: int, buffer_tokens: int) -> Room | None:
    """Return what several buffers are filled up to, so that they are one graph; None where that would not pay."""
    return Room(buffer_tokens) if buffers > 1 and base.asking_bound else None


def packed(base: Base, part: Sequence[Encoded], prefixes: Sequence[Ids], limits: Limits, room: Room | None) -> Buffer:
    """Return rows in one buffer, which any arm may read."""
    with torch.inference_mode():
        return base.pack([Part(part, prefixes)], limits, room=room)


def nats_in(base: Base, arm: str | None, part: Sequence[Encoded], buffer: Buffer) -> Iterator[dict[Role, float]]:
    """Yield the nats of each row's loss tokens, summed by their role; `buffer` holds these rows."""
    with torch.inference_mode():
        losses = base.losses_as(arm, buffer).double().cpu()
    own: list[list[float]] = [[] for _ in part]
    for owner, loss in zip(buffer.sample_index.tolist(), losses.tolist(), strict=True):
        if owner >= 0:
            own[owner].append(loss)
    for row, of_row in zip(part, own, strict=True):
        sums: dict[Role, float] = dict.fromkeys(COUNTED, 0.0)
        for role, loss in zip(compress(row.roles, row.completion_mask), of_row, strict=True):
            sums[role] += loss
        yield sums
