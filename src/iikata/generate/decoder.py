"""The rows in flight on the device: one call is one more token for every row, on a GPU as one CUDA graph a device."""

from collections.abc import Sequence

import torch
from torch import Tensor

from iikata.generate.pieces import Piece, cut
from iikata.generate.prefill import Hidden, Prefilled
from iikata.generate.sampling import Sampling, draws, pick
from iikata.model.adapters.multi_lora import MultiLora
from iikata.model.attention.static_cache import StaticKVCache
from iikata.model.base import Base
from iikata.model.buffers import Ids, to_device
from iikata.model.graphs import warn_unrecorded
from iikata.model.links import Sent

WARM_UP = 3
"""Steps before a graph is recorded: kernels are compiled and tuned, and libraries take their space, in these."""

FIRST = 64
"""Rows whose first tokens are drawn at once."""


class Decoder:
    """State of R rows; idle rows compute too, and nobody reads them."""

    def __init__(
        self, base: Base, multi_lora: MultiLora | None, hidden: Hidden, sampling: Sampling, rows: int, length: int,
        max_new_tokens: int,
    ) -> None:  # fmt: skip
        self.base, self.hidden, self.sampling, self.new = base, hidden, sampling, max_new_tokens
        device = base.device
        self.slots = StaticKVCache(rows, length, device, carry=base.carry)
        self.ids = torch.zeros(rows, dtype=torch.long, device=device)
        """[R] each row's newest token."""
        self.arm_index = torch.full((rows,), -1, device=device)
        """[R] each row's arm, -1 for the base."""
        self.arm_index_on = {device: self.arm_index.to(device) for device in base.devices}
        self.arm_index_on[device] = self.arm_index
        # One number more than tokens: on a GPU a row goes on for a step before anybody sees that it has ended.
        self.uniform = torch.zeros(rows, max_new_tokens + 1, dtype=torch.float64, device=device)
        self.drawn = torch.zeros(rows, 1, dtype=torch.long, device=device)
        """[R, 1] how many of its numbers each row has used."""
        vocabulary = base.config.get_text_config().vocab_size if sampling.repetition_penalty != 1 else 0
        self.seen = torch.zeros(rows, vocabulary, dtype=torch.bool, device=device)
        """[R, V] tokens so far; V = 0 where no penalty asks for them."""
        self.pieces = [Piece(device, self._whole)]
        if base.laid_over:
            self.pieces = cut(base, multi_lora, self.slots, self.ids, self.arm_index_on, self._draw)
        self.given: Sent | None = None
        """The newest tokens on their way to the first of several pieces."""
        self.recordable = device.type == "cuda"

    def start(
        self, rows: Sequence[int], arm_index: Sequence[int], ids: Sequence[Ids], seeds: Sequence[int],
        which: Sequence[int], prompts: Prefilled,
    ) -> Tensor:  # fmt: skip
        """Begin rows, the i-th with prompt `ids[i]` of arm `arm_index[i]`, prompt `which[i]` of `prompts`.

        Return their first tokens [n].
        """
        device = self.base.device
        slots, own = to_device(rows, device), to_device(which, device)
        self.slots.fill(slots, prompts.keys, prompts.values, prompts.token_index[own])
        self.arm_index[slots] = to_device(arm_index, device)
        for where, there in self.arm_index_on.items():
            if where != device:
                there.copy_(self.base.carry(self.arm_index, where))
        numbers = torch.stack([draws(seed, self.new + 1) for seed in seeds])
        numbers = numbers.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else numbers
        self.uniform[slots] = numbers
        self.drawn[slots] = 1
        if self.seen.shape[1]:
            self.seen[slots] = False
            tokens = [token for prompt in ids for token in prompt]
            self.seen[
                to_device([row for row, p in zip(rows, ids, strict=True) for _ in p], device), to_device(tokens, device)
            ] = True
        few = zip(own.split(FIRST), numbers[:, 0].split(FIRST), slots.split(FIRST), strict=True)
        # A few at a time: scores of all rows at once would take as much memory again as a step does.
        first = torch.cat([pick(prompts.logits[o], n, self.seen[a], self.sampling) for o, n, a in few])
        if self.seen.shape[1]:
            self.seen[slots, first] = True
        self.ids[slots] = first
        self.given = self._sent(self.ids, 0)
        return first

    def step(self) -> Tensor:
        """Decode one token a row; return them [R], to be read before the next step."""
        if self.recordable:
            self._record()
        self._step()
        return self.ids

    def _step(self) -> None:
        given = self.given
        for number, piece in enumerate(self.pieces):
            if piece.given is not None and given is not None:
                piece.given.copy_(given.take())
            out = piece()
            # Sent at once: a copy waits for all that its device was asked for by then, other groups' pieces too.
            given = self._sent(self.ids if out is None else out, (number + 1) % len(self.pieces))
        self.given = given

    def _sent(self, x: Tensor, piece: int) -> Sent | None:
        laid_over = self.base.laid_over
        return laid_over.links.send(x, self.pieces[piece].device) if laid_over else None

    def _whole(self) -> None:
        self._draw(self.hidden(self.ids[None], self.slots.used[None], self.arm_index, self.slots))

    def _draw(self, hidden: Tensor) -> None:
        """Draw the next tokens from the last hidden states [R, D]."""
        numbers = self.uniform.gather(1, self.drawn).squeeze(1)
        tokens = pick(self.base.logits(hidden), numbers, self.seen, self.sampling)
        if self.seen.shape[1]:
            self.seen.scatter_(1, tokens[:, None], True)
        self.ids.copy_(tokens)
        self.slots.advance(self.slots.used.device)
        self.drawn.add_(1).clamp_(max=self.new)

    def _record(self) -> None:
        """Record a step's pieces as graphs."""
        self.recordable = False
        state = [self.ids, self.drawn, self.seen, *self.slots.counters.values()]
        before = [x.clone() for x in state]
        for _ in range(WARM_UP):
            self._step()
        for device in self.base.devices:
            torch.cuda.synchronize(device)
        try:
            for piece in self.pieces:
                piece.record()
        except RuntimeError as error:
            for piece in self.pieces:
                piece.graph = None
            warn_unrecorded("decoding", error)
        # Slots were written behind what they hold, where the next step writes again.
        for x, was in zip(state, before, strict=True):
            x.copy_(was)
        self.given = self._sent(self.ids, 0)
