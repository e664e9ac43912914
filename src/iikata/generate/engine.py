"""Answer many prompts of all arms at once: shared prefill, then decoding in slots that are refilled as rows finish."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from iikata.generate.decoder import Decoder
from iikata.generate.in_flight import Completion, InFlight, OnToken, Request
from iikata.generate.prefill import EIGHT, FlashPrefill, Hidden, Prefill, Prefilled, Prompt
from iikata.generate.sampling import Sampling
from iikata.model.adapters.multi_lora import MultiLora
from iikata.model.attention.registry import Layout
from iikata.model.base import Base
from iikata.model.buffers import longest_prefix
from iikata.model.links import Sent, fetch

AHEAD = {"cpu": 0, "cuda": 1}
"""A GPU is asked for the next step before this one's tokens are read, so that it never waits."""
SHARE_FREE = {"cpu": 0, "cuda": 16}
"""A GPU's free slots are filled once they are a 16th of all: filling a few takes the processor as long as many."""


@dataclass(frozen=True)
class Shapes:
    """Fixed shapes of decoding; stored in the run, since a row's rounding follows them."""

    rows: int
    """Rows in flight, rounded up to a multiple of 8."""
    length: int
    """Tokens a slot holds: the longest prompt and the new tokens."""
    prefill_tokens: int = 64
    """Tokens a prefill buffer; prompts share one as far as they fit, a longer prompt has its own."""


def generate(
    base: Base,
    arms: Sequence[str],
    requests: Sequence[Request],
    sampling: Sampling,
    max_new_tokens: int,
    shapes: Shapes,
    on_token: OnToken | None = None,
) -> Iterator[Completion]:
    """Yield every answer as it finishes; `on_token` gets each row's new tokens as they come.

    `arms` are all that requests name. An answer depends on its arm, its prompt, its seed, the sampling and the shapes,
    not on the other requests or arms: on CPU bit for bit. Raises ValueError where a prompt and its answer are longer
    than a slot, IikataError where an arm's weights are not finite.
    """
    too_long = max((len(request.prompt_ids) for request in requests), default=0) + max_new_tokens
    if too_long > shapes.length:
        raise ValueError(f"a prompt and its answer need {too_long} tokens, a slot holds {shapes.length}")
    return _Engine(base, arms, requests, sampling, max_new_tokens, shapes, on_token).run()


def _with_each_tokens_arm(base: Base, multi_lora: MultiLora | None) -> Hidden:
    def hidden(ids: Tensor, positions: Tensor, arm_index: Tensor, layout: Layout) -> Tensor:
        # Between two answers the caller may have let another arm answer.
        if base.adapters is not None:
            base.adapters.set_adapter_per_token(multi_lora, arm_index)
        return base.hidden(ids, positions, layout)[0]

    return hidden


@dataclass
class _Group:
    """Rows that decode together; a base on several devices has as many groups as stages, so that none waits."""

    rows: InFlight
    decoder: Decoder
    pending: deque[tuple[np.ndarray, np.ndarray, Sent]] = field(default_factory=deque)
    """Slots, serial numbers of the rows that tokens were drawn for, and the tokens on their way from the device."""


class _Engine:
    def __init__(
        self, base: Base, arms: Sequence[str], requests: Sequence[Request], sampling: Sampling, max_new_tokens: int,
        shapes: Shapes, on_token: OnToken | None,
    ) -> None:  # fmt: skip
        multi_lora = base.adapters.join(arms, base.dtype) if base.adapters and arms else None
        hidden = _with_each_tokens_arm(base, multi_lora)
        self.arm_index: dict[str | None, int] = {None: -1}
        self.arm_index.update(multi_lora.index if multi_lora else {})
        count = EIGHT * math.ceil(shapes.rows / EIGHT)
        ends = max((len(r.end_ids) for r in requests), default=0)
        self.groups = [
            _Group(
                InFlight(count, max_new_tokens, ends, on_token),
                Decoder(base, multi_lora, hidden, sampling, count, shapes.length, max_new_tokens),
            )
            for _ in base.devices
        ]
        self.room = shapes.prefill_tokens
        self.prefill: Prefill | FlashPrefill = (
            FlashPrefill(base, hidden, self.room, shapes.length)
            if base.runners
            else Prefill(base, hidden, self.room, shapes.length)
        )
        self.waiting = deque(request for request in requests if request.seeds)
        self.ready: deque[tuple[Request, int, Prefilled, int]] = deque()
        """Samples whose prompts are filled in: the request, the sample, where its prompt is."""
        self.ahead = AHEAD[base.device.type]
        self.few = count // share if (share := SHARE_FREE[base.device.type]) else 0
        """Free slots up to which rows in flight go on alone."""

    @torch.inference_mode()  # on a generator it holds while the generator runs, not while its caller does
    def run(self) -> Iterator[Completion]:
        while self.waiting or self.ready or any(group.rows.busy for group in self.groups):
            for group in self.groups:
                filling = len(group.rows.free) > self.few or not group.rows.busy
                while filling and (self.waiting or self.ready) and (free := group.rows.free):
                    if not self.ready:
                        self._fill_in()
                    self._begin(group, free)
                    yield from self._read(group, self.ahead)
                if group.rows.busy:
                    self._queue(group, np.arange(len(group.rows.serial)), group.decoder.step())
                yield from self._read(group, self.ahead)
        for group in self.groups:
            yield from self._read(group, 0)

    def _fill_in(self) -> None:
        """Run the next requests whose own tokens fit one prefill buffer."""
        taken: list[tuple[Request, Prompt]] = []
        free = self.room
        while self.waiting:
            request = self.waiting[0]
            prefix = longest_prefix(request.prompt_ids, request.prefixes if self.prefill.shares else ())
            free -= len(request.prompt_ids) - len(prefix)
            if taken and free < 0:
                break
            taken.append((self.waiting.popleft(), Prompt(self.arm_index[request.arm], request.prompt_ids, prefix)))
        prompts = self.prefill.run([prompt for _, prompt in taken])
        for index, (request, _) in enumerate(taken):
            self.ready.extend((request, sample, prompts, index) for sample in range(len(request.seeds)))

    def _begin(self, group: _Group, free: Sequence[int]) -> None:
        """Put the samples that are ready, of one prefill buffer, into free slots."""
        prompts, began = self.ready[0][2], []
        for slot in free:
            if not self.ready or self.ready[0][2] is not prompts:
                break
            request, sample, _, index = self.ready.popleft()
            group.rows.begin(slot, request, sample)
            began.append((slot, self.arm_index[request.arm], request.prompt_ids, request.seeds[sample], index))
        slots, arms, ids, seeds, which = zip(*began, strict=True)
        self._queue(group, np.array(slots), group.decoder.start(slots, arms, ids, seeds, which, prompts))

    def _queue(self, group: _Group, slots: np.ndarray, tokens: Tensor) -> None:
        group.pending.append((slots, group.rows.serial[slots], fetch(tokens)))

    def _read(self, group: _Group, ahead: int) -> Iterator[Completion]:
        """Read the tokens that have arrived, except of the last `ahead` calls."""
        while len(group.pending) > ahead:
            slots, serials, tokens = group.pending.popleft()
            yield from group.rows.take(slots, serials, tokens.read().numpy())
