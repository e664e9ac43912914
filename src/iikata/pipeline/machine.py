"""The device that computes, as a run's signature tells it."""

import platform
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iikata.core.system import peak_memory

if TYPE_CHECKING:
    from iikata.model.base import Base


@dataclass(frozen=True)
class Machine:
    """What adapters and answers follow from beside the software."""

    device: str
    """cpu or cuda."""
    dtype: str
    name: str
    """As `NVIDIA H100 80GB HBM3`."""


def machine_of(base: "Base") -> Machine:
    import torch

    kind = base.device.type
    name = torch.cuda.get_device_name() if kind == "cuda" else f"cpu {platform.machine()}"
    return Machine(kind, str(base.dtype).removeprefix("torch."), name)


def peak_bytes() -> int:
    """Return the most memory that this process has taken, on a GPU of its tensors."""
    torch = sys.modules.get("torch")  # compare and report never import it
    if torch is not None and torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return peak_memory()
