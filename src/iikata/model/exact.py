"""Hold a model's packed, prefilled and decoded logits against transformers' own forward, before it is first used."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from iikata.core.encoded import Encoded
from iikata.model import rotary
from iikata.model.attention.limits import Limits
from iikata.model.attention.registry import NAME, Kept, Layout, Unsupported
from iikata.model.attention.static_cache import StaticKVCache
from iikata.model.attention.tiles import Span
from iikata.model.buffers import Buffer, Ids, Part, pack
from iikata.model.files.code import NO_INTERFACE

PROMPT, DECODED = 96, 8
TOKENS = PROMPT + DECODED
SHARED, FIRST, SHORT = 24, 64, 12
"""Three samples of a buffer: ids[:FIRST] and ids[:SHARED] + ids[FIRST:PROMPT], whose first tokens are computed once,
and ids[:SHORT], which lies within what a twin's lengths are cut to."""
ROWS = 8
LIMITS = Limits(128, 256, 32)
EXACT = 1e-4
"""||ours - theirs|| / ||theirs|| in float32."""
ROUNDING = 3
"""In 16 bits: times what transformers' own eager and SDPA attention differ."""


@dataclass(frozen=True)
class Subject:
    """What is compared: a model's logits, or the last hidden states of one that has no head."""

    model: Any
    run: Callable[[Tensor, Tensor, Layout], Tensor]
    """Ours: ids [1, T], positions [1, T], layout -> [T, X]."""
    theirs: Callable[[Tensor], Tensor]
    """transformers': ids [1, T] -> [T, X]."""
    flash: bool
    device: torch.device
    """Where tokens are given and what is compared comes out."""
    window: int = 0
    """As of `buffers.pack`."""


@dataclass
class Reference:
    """What transformers gives for the tokens, and how much it may differ from itself."""

    ids: Tensor
    """[TOKENS]"""
    parts: dict[str, Tensor]
    tolerance: float
    differences: dict[str, float] = field(default_factory=dict)

    @property
    def worst(self) -> tuple[str, float]:
        """Return the kind of forward that differs most, and by what share."""
        return max(self.differences.items(), key=lambda item: item[1] if item[1] == item[1] else float("inf"))

    @property
    def holds(self) -> bool:
        return all(difference <= self.tolerance for difference in self.differences.values())


def refer(subject: Subject, ids: Tensor, rough: float = 0.0) -> Reference:
    """Ask transformers' own forward; `rough` is a difference that is allowed in any case."""
    with torch.no_grad(), attention(subject.model, "eager"):
        parts = _theirs(subject, ids)
    kind = subject.model.dtype
    if kind.itemsize > 2 and not rough:
        return Reference(ids, parts, EXACT)
    own = torch.finfo(torch.float16 if kind.itemsize != 2 else kind).eps
    if getattr(subject.model, "_supports_sdpa", False):
        with torch.no_grad(), attention(subject.model, "sdpa"):
            again = _theirs(subject, ids)
        own = max(distance(again[name], parts[name]) for name in parts)
    return Reference(ids, parts, max(ROUNDING * own, rough))


def compare(subject: Subject, found: Reference) -> Reference:
    """Run the same tokens as training and answering do, and note the differences."""
    with torch.no_grad():
        ours = _ours(subject, found.ids)
    found.differences = {name: distance(ours[name], found.parts[name]) for name in ours}
    return found


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Return ||ours - theirs|| / ||theirs||; in 16 bits without the worst tenth of the tokens.

    There rounding sends a token now and then to other experts, in transformers' own attentions as well.
    """
    errors, sizes = ((ours.double() - theirs.double()).norm(dim=-1), theirs.double().norm(dim=-1))
    if theirs.itemsize <= 2 and bool(errors.isfinite().all()):
        kept = (errors / sizes).argsort()[: len(errors) - math.ceil(len(errors) / 10)]
        errors, sizes = errors[kept], sizes[kept]
    return float(errors.norm() / sizes.norm())


@contextmanager
def attention(model: Any, name: str) -> Iterator[None]:
    """Let the model be transformers' own for a while, and attend by `name`."""
    model.set_attn_implementation(name)
    try:
        with rotary.removed(model):
            yield
    finally:
        model.set_attn_implementation(NAME)


def _theirs(subject: Subject, ids: Tensor) -> dict[str, Tensor]:
    one, other, short = (subject.theirs(sample[None]) for sample in _samples(ids))
    return {
        "packed": torch.cat([one[:FIRST], other[SHARED:], short]),
        "prefilled": torch.cat([one[:PROMPT], other, short]),
        "decoded": one[PROMPT:],
    }


def _samples(ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return ids, torch.cat([ids[:SHARED], ids[FIRST:PROMPT]]), ids[:SHORT]


def _ours(subject: Subject, ids: Tensor) -> dict[str, Tensor]:
    prompts = (ids[:PROMPT], *_samples(ids)[1:])
    buffer, spans = _buffer(subject, prompts), _spans(prompts)
    kept = Kept(buffer.layout)
    prefilled = subject.run(buffer.input_ids, buffer.positions, kept)[: spans[-1][1]]
    if not kept.keys:
        raise Unsupported(NO_INTERFACE)
    return {"packed": _packed(subject, ids), "prefilled": prefilled, "decoded": _decode(subject, ids, kept, spans)}


def _packed(subject: Subject, ids: Tensor) -> Tensor:
    """Return what `_theirs` names packed: a shared first part is there once, and is compared once."""
    _, other, short = _samples(ids)
    buffer = _buffer(subject, (ids[:FIRST], other, short), (tuple(ids[:SHARED].tolist()),))
    return subject.run(buffer.input_ids, buffer.positions, buffer.layout)[: PROMPT + SHORT]


def _buffer(subject: Subject, samples: Sequence[Tensor], prefixes: Sequence[Ids] = ()) -> Buffer:
    rows = [Encoded("", "", "", tuple(sample.tolist()), (False,) * len(sample)) for sample in samples]
    return pack([Part(rows, prefixes)], subject.device, LIMITS if subject.flash else None, window=subject.window)


def _spans(samples: Sequence[Tensor]) -> tuple[Span, ...]:
    ends = list(accumulate(map(len, samples)))
    return tuple((end - len(sample), end) for end, sample in zip(ends, samples, strict=True))


def _decode(subject: Subject, ids: Tensor, kept: Kept, spans: tuple[Span, ...]) -> Tensor:
    """Go on from all prompts side by side, and from idle rows; only the first one's tokens are compared."""
    slots = StaticKVCache(ROWS, LIMITS.longest, subject.device)
    token_index = torch.full((len(spans), LIMITS.longest), -1, device=subject.device)
    for row, (start, end) in enumerate(spans):
        token_index[row, : end - start] = torch.arange(start, end, device=subject.device)
    slots.fill(torch.arange(len(spans), device=subject.device), kept.keys, kept.values, token_index)
    found = []
    for token in ids[PROMPT:]:
        found.append(subject.run(token.expand(1, ROWS), slots.used[None].clone(), slots)[:1])
        for device in slots.counters:
            slots.advance(device)
    return torch.cat(found)
