"""A decoding step in pieces, one a device, each on a GPU one CUDA graph.

Asking for a step kernel by kernel takes longer than the kernels do. A base on one device has one piece. Pieces of
several groups of rows follow one another: a device does them in the order in which they were asked for, and waits by
itself for what comes from the one before.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from iikata.model.adapters.multi_lora import MultiLora
from iikata.model.attention.static_cache import StaticKVCache
from iikata.model.base import Base
from iikata.model.graphs import recorded
from iikata.model.stages import on


class Piece:
    """What one device does of a step. It reads and writes fixed places, so that it can be recorded."""

    def __init__(self, device: torch.device, work: Callable[[], Tensor | None], given: Tensor | None = None) -> None:
        self.device, self.work = device, work
        self.given = given
        """Where the piece before puts what it gives; None where there is none."""
        self.graph: torch.cuda.CUDAGraph | None = None
        self.out: Tensor | None = None

    def __call__(self) -> Tensor | None:
        """Do it; return what the next piece is given."""
        if self.graph is None:
            self.out = self.work()
        else:
            self.graph.replay()
        return self.out

    def record(self) -> None:
        """Record it as a graph. Raises RuntimeError as `recorded` does."""

        def run() -> None:
            self.out = self.work()

        with on(self.device):
            self.graph = recorded(run, self.device)


def cut(
    base: Base, multi_lora: MultiLora | None, slots: StaticKVCache, ids: Tensor, arm_index: dict[torch.device, Tensor],
    draw: Callable[[Tensor], None],
) -> list[Piece]:  # fmt: skip
    """Return a step of R rows as pieces, one a stage: ids [R], each row's arm [R] on every device.

    `draw` takes the last hidden states [R, D] and writes the next ids.
    """
    laid_over, adapters = base.laid_over, base.adapters
    assert laid_over is not None
    pieces = []
    for number, stage in enumerate(laid_over.stages):
        row: tuple[int, ...] = (1, len(ids))
        row, kind = (row, ids.dtype) if stage.first else ((*row, base.config.get_text_config().hidden_size), base.dtype)
        given = torch.zeros(row, dtype=kind, device=stage.device)

        def work(number=number, stage=stage, given=given) -> Tensor | None:  # type: ignore[no-untyped-def]
            if adapters is not None:
                adapters.set_adapter_per_token(multi_lora, arm_index[stage.device], number)
            out = stage.run(given, slots.counters[stage.device][None], slots)
            if stage.device != base.device:
                slots.advance(stage.device)
            if not stage.last:
                return out
            draw(out[0])
            return None

        pieces.append(Piece(stage.device, work, given))
    return pieces
