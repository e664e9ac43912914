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

from iikata.core.errors import IikataError
from iikata.model.adapters.flat import LoraShape, Weights

ALIGNED = 8
"""Each arm has a multiple of so many columns: products on a GPU want it so, and on CPU a sum over columns may be
taken in several lanes, so that an arm's bits would follow its index."""
LEAST = 16
"""Columns of all arms at least: over fewer, float32 products on CPU round otherwise (measured with MKL)."""


@dataclass(frozen=True)
class MultiLora:
    """The factors of some arms in the model's type: `{module}.lora_A` [n, in], `{module}.lora_B` [out, n]."""

    index: dict[str, int]
    """Arm -> which of the arms it is."""
    width: int
    """Columns an arm."""
    columns: int
    """All arms' columns, n."""
    weights: Weights

    def column_mask(self, arm_index: Tensor) -> Tensor:
        """Return which columns do not count: arm_index [T], -1 for the base -> [T, n] bool."""
        return torch.arange(self.columns, device=arm_index.device) // self.width != arm_index[:, None]


def width(r: int) -> int:
    """Return the columns that an arm of rank `r` has."""
    return ALIGNED * math.ceil(r / ALIGNED)


def join(
    arms: Sequence[str], weights: Sequence[Weights], shapes: Sequence[LoraShape], common: LoraShape, kind: torch.dtype
) -> MultiLora:
    """Join the arms' weights. Raises IikataError where one is not finite in `kind`.

    A product of zero and infinity would be a NaN in every other arm's tokens. An arm whose scale is another than the
    common one has the rest of it in its B; an arm that leaves a module as it is has zeros there.
    """
    own = max(width(shape.r) for shape in shapes)
    idle = max(0, LEAST - own * len(arms))
    joined: Weights = {}
    sizes = {name: (tensor.shape, tensor.device) for one in weights for name, tensor in one.items()}
    for name, (size, device) in sizes.items():
        is_a = name.endswith("lora_A")
        parts = []
        for one, shape in zip(weights, shapes, strict=True):
            part = one[name].detach() if name in one else torch.zeros(size, device=device)
            if not is_a and shape.scale != common.scale:
                part = part * (shape.scale / common.scale)
            parts.append(_widened(part.to(kind), own - part.shape[0 if is_a else 1], is_a))
        joined[name] = _widened(torch.cat(parts, dim=0 if is_a else 1), idle, is_a).contiguous()
    _refuse_infinite(arms, weights, kind)
    return MultiLora({arm: index for index, arm in enumerate(arms)}, own, own * len(arms) + idle, joined)


def _widened(x: Tensor, more: int, is_a: bool) -> Tensor:
    return pad(x, (0, 0, 0, more) if is_a else (0, more))


def _refuse_infinite(arms: Sequence[str], weights: Sequence[Weights], kind: torch.dtype) -> None:
    for arm, one in zip(arms, weights, strict=True):
        by_device: dict[torch.device, list[Tensor]] = {}
        for x in one.values():
            by_device.setdefault(x.device, []).append(x.to(kind).isfinite().all())
        # Asked once a device, not for every tensor: a GPU would be waited for each time.
        if not all(bool(torch.stack(found).all()) for found in by_device.values()):
            fix = "Take it out, or give model.dtype: float32."
            raise IikataError(f"adapter {arm}: it holds numbers that are not finite in {kind}. {fix}")
