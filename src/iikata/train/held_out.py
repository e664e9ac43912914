"""The mean loss over rows that no step saw, as transformers' Trainer evaluates."""

from collections.abc import Sequence

import torch

from iikata.core.records import Encoded
from iikata.model.attention.varlen import Limits
from iikata.model.base import Base
from iikata.model.buffers import Part, split
from iikata.model.loss import token_losses


def mean_loss(base: Base, arm: str | None, rows: Sequence[Encoded], buffer_tokens: int) -> float:
    """Return the nats a loss token of `rows` under an arm, or under the base alone."""
    longest = max(len(row.input_ids) for row in rows)
    limits, total, count = Limits.over(longest, max(buffer_tokens, longest), 0), 0.0, 0
    for part in split(rows, (), buffer_tokens):
        with torch.inference_mode():
            base.set_adapter(arm)
            buffer = base.pack([Part(part, ())], limits)
            hidden = base.hidden(buffer.input_ids, buffer.positions, buffer.layout).squeeze(0)
            losses = token_losses(hidden.index_select(0, buffer.loss_positions), buffer.targets, base.head)
        own = losses[buffer.sample_index >= 0].double()
        total, count = total + float(own.sum()), count + len(own)
    return total / count
