"""Answer many prompts of one arm at once: shared prefill, then decoding in slots that are refilled as rows finish."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from iikata.generate.cache import KV, Part, Prefill, Slots
from iikata.generate.sampling import Sampling, draws, pick
from iikata.model.attention import Layout
from iikata.model.base import Base
from iikata.model.buffers import Ids, longest_prefix

SLOTS_OF = 8
"""With several threads, float32 products over another number of rows give a row bits that change with its place."""

OnToken = Callable[[Any, Sequence[int]], None]
"""Is told a row's key and all its new tokens so far."""


@dataclass(frozen=True)
class Request:
    """One prompt and the samples wanted of it."""

    keys: tuple[Any, ...]
    """What the caller knows each sample by."""
    prompt_ids: Ids
    seeds: tuple[int, ...]
    """A seed a sample; its whole random stream comes from it."""
    end_ids: frozenset[int]
    """Tokens that end an answer."""
    prefixes: Sequence[Ids] = ()
    """What its template's prompts begin with; the longest that fits is computed once for all of them."""
    stopped: Callable[[Ids], bool] = lambda ids: False
    """Says whether the new tokens already hold a stop string."""


@dataclass(frozen=True)
class Reply:
    """One finished row."""

    key: Any
    ids: Ids
    """New tokens without the end token."""
    finish: str


@dataclass
class _Row:
    request: Request
    sample: int
    uniform: Tensor
    ids: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Shapes:
    """Fixed shapes of decoding; stored in the run, since a row's rounding follows them."""

    rows: int
    """Rows in flight, rounded up to a multiple of 8."""
    length: int
    """Tokens a slot holds: the longest prompt and the new tokens."""
    prefill_tokens: int = 64
    """Tokens a prefill buffer; prompts share one as far as they fit, a longer prompt has its own."""


@torch.inference_mode()  # on a generator it holds while the generator runs, not while its caller does
def generate(
    base: Base,
    arm: str | None,
    requests: Sequence[Request],
    sampling: Sampling,
    max_new_tokens: int,
    shapes: Shapes,
    on_token: OnToken = lambda key, ids: None,
) -> Iterator[Reply]:
    """Yield every answer of `arm` to `requests` as it finishes; `on_token` gets each row's new tokens as they come.

    An answer depends on its prompt, its seed, the sampling and the shapes, not on the other requests.
    """
    too_long = max((len(request.prompt_ids) for request in requests), default=0) + max_new_tokens
    if too_long > shapes.length:
        raise ValueError(f"a prompt and its answer need {too_long} tokens, a slot holds {shapes.length}")
    decoder = _Decoder(base, arm, sampling, max_new_tokens, shapes)
    decoder.on_token = on_token
    yield from decoder.run(requests)


class _Decoder:
    on_token: OnToken

    def __init__(self, base: Base, arm: str | None, sampling: Sampling, max_new_tokens: int, shapes: Shapes) -> None:
        self.base, self.arm, self.sampling, self.max_new_tokens = base, arm, sampling, max_new_tokens
        self.prefix_kv: dict[Ids, KV] = {}
        self.prefill_tokens = shapes.prefill_tokens
        rows = SLOTS_OF * math.ceil(shapes.rows / SLOTS_OF)
        self.slots = Slots(rows, shapes.length)
        self.rows: list[_Row | None] = [None] * rows
        vocabulary = base.config.get_text_config().vocab_size
        self.next_ids = torch.zeros(rows, dtype=torch.long, device=base.device)
        self.seen = torch.zeros(rows, vocabulary, dtype=torch.bool, device=base.device)

    def run(self, requests: Sequence[Request]) -> Iterator[Reply]:
        waiting = deque(request for request in requests if request.seeds)
        ready: deque[tuple[Request, int, KV, Tensor]] = deque()
        while waiting or ready or any(self.rows):
            for slot in range(len(self.rows)):
                while self.rows[slot] is None and (waiting or ready):
                    if not ready:
                        ready.extend(self._prefill(self._bufferful(waiting)))
                    yield from self._start(slot, *ready.popleft())
            if any(self.rows):
                yield from self._decode()

    def _bufferful(self, waiting: deque[Request]) -> list[tuple[Request, Ids]]:
        """Take the next requests whose own tokens fit one prefill buffer, each with its shared prefix."""
        taken: list[tuple[Request, Ids]] = []
        free = self.prefill_tokens
        while waiting:
            prefix = longest_prefix(waiting[0].prompt_ids, waiting[0].prefixes)
            free -= len(waiting[0].prompt_ids) - len(prefix)
            if taken and free < 0:
                break
            taken.append((waiting.popleft(), prefix))
        return taken

    def _prefill(self, taken: Sequence[tuple[Request, Ids]]) -> Iterator[tuple[Request, int, KV, Tensor]]:
        """Run prompts once for all their samples, in a buffer of fixed size: their bits do not follow their company."""
        for _, prefix in taken:
            if prefix and prefix not in self.prefix_kv:
                self.prefix_kv[prefix] = self._forward([(prefix, 0, None)], len(prefix))[0][0]
        prompts = [(request.prompt_ids[len(p) :], len(p), self.prefix_kv.get(p)) for request, p in taken]
        own = sum(len(ids) for ids, _, _ in prompts)
        size = self.prefill_tokens if own <= self.prefill_tokens else SLOTS_OF * math.ceil(own / SLOTS_OF)
        for (request, _), (kv, logits) in zip(taken, self._forward(prompts, size), strict=True):
            for sample in range(len(request.seeds)):
                yield request, sample, kv, logits

    def _forward(self, prompts: Sequence[tuple[Ids, int, KV | None]], size: int) -> list[tuple[KV, Tensor]]:
        """Return each prompt's keys and values and its next token's logits [1, V]; `size` tokens are computed."""
        ids = torch.zeros(1, size, dtype=torch.long)
        positions = torch.zeros(1, size, dtype=torch.long)
        parts, end = [], 0
        for own, start, before in prompts:
            begin, end = end, end + len(own)
            ids[0, begin:end] = torch.tensor(own)
            positions[0, begin:end] = torch.arange(start, start + len(own))
            parts.append(Part(begin, end, before))
        layout = Prefill(parts)
        hidden = self._hidden(ids.to(self.base.device), positions.to(self.base.device), layout)
        # One head product a prompt: over several, a prompt's bits would follow their number.
        return [(kv, self.base.logits(hidden[:, part.end - 1])) for part, kv in zip(parts, layout.kept, strict=True)]

    def _hidden(self, ids: Tensor, positions: Tensor, layout: Layout) -> Tensor:
        self.base.speak(self.arm)  # between two answers the caller may have let another arm speak
        return self.base.hidden(ids, positions, layout)

    def _start(self, slot: int, request: Request, sample: int, kv: KV, logits: Tensor) -> Iterator[Reply]:
        row = _Row(request, sample, draws(request.seeds[sample], self.max_new_tokens))
        self.slots.put(slot, kv)
        self.rows[slot] = row
        self.seen[slot] = False
        self.seen[slot, torch.tensor(request.prompt_ids, device=self.base.device)] = True
        first = pick(logits, row.uniform[:1], self.seen[slot : slot + 1], self.sampling)
        yield from self._take(slot, int(first))

    def _decode(self) -> Iterator[Reply]:
        """One more token for every row; empty slots compute too, and nobody reads them."""
        assert self.slots.used is not None
        logits = self.base.logits(self._hidden(self.next_ids[:, None], self.slots.used[:, None], self.slots)[:, -1])
        uniform = torch.stack([row.uniform[len(row.ids)] if row else torch.zeros(()) for row in self.rows])
        tokens = pick(logits, uniform, self.seen, self.sampling).tolist()
        for slot, row in enumerate(self.rows):
            if row is not None:
                self.slots.used[slot] += 1
                yield from self._take(slot, tokens[slot])

    def _take(self, slot: int, token: int) -> Iterator[Reply]:
        row = self.rows[slot]
        assert row is not None
        ended = token in row.request.end_ids
        if not ended:
            row.ids.append(token)
            self.next_ids[slot] = token
            self.seen[slot, token] = True
            self.on_token(row.request.keys[row.sample], row.ids)
            ended = row.request.stopped(tuple(row.ids))
        if ended or len(row.ids) >= self.max_new_tokens:
            self.rows[slot] = None
            yield Reply(row.request.keys[row.sample], tuple(row.ids), "stop" if ended else "length")
