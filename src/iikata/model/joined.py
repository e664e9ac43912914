"""Adapters whose tokens mix freely in one call: their factors one below the other, and a mask of whose columns count.

Every token is multiplied with every arm's A; what is not its own arm's is set to zero before B. For the ranks and
numbers of arms that share a call this costs less than fetching each row's own factors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from iikata.errors import IikataError
from iikata.model.stack import Weights

ALIGNED = 8
"""Each arm has a multiple of so many columns: products on a GPU want it so, and on CPU a sum over columns may be
taken in several lanes, so that an arm's bits would follow its place."""
LEAST = 16
"""Columns of all arms at least: over fewer, float32 products on CPU round otherwise (measured with MKL)."""


@dataclass(frozen=True)
class Joined:
    """The factors of some arms in the model's type: `{module}.lora_A` [n, in], `{module}.lora_B` [out, n]."""

    places: dict[str, int]
    """Arm -> which of the arms it is."""
    width: int
    """Columns an arm."""
    columns: int
    """All arms' columns, n."""
    weights: Weights

    def own(self, who: Tensor) -> Tensor:
        """Return whose columns count: who [T], the place of each token's arm or -1 for the base -> [T, n] bool."""
        return torch.arange(self.columns, device=who.device) // self.width == who[:, None]


def join(arms: Sequence[str], weights: Sequence[Weights], r: int, kind: torch.dtype) -> Joined:
    """Join the arms' weights. Raises IikataError where one is not finite in `kind`.

    A product of zero and infinity would be a NaN in every other arm's tokens.
    """
    width = ALIGNED * math.ceil(r / ALIGNED)
    joined: Weights = {}
    for name in weights[0]:
        is_a = name.endswith("lora_A")
        parts = [pad(one[name].detach().to(kind), (0, 0, 0, width - r) if is_a else (0, width - r)) for one in weights]
        for arm, part in zip(arms, parts, strict=True):
            if not bool(part.isfinite().all()):
                raise IikataError(f"adapter {arm}: {name} holds numbers that {kind} has not.")
        whole = torch.cat(parts, dim=0 if is_a else 1)
        idle = max(0, LEAST - width * len(arms))
        joined[name] = pad(whole, (0, 0, 0, idle) if is_a else (0, idle)).contiguous()
    return Joined({arm: place for place, arm in enumerate(arms)}, width, max(LEAST, width * len(arms)), joined)
