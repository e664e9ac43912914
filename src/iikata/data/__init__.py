"""Rows from files or the hub, as training and validation examples; probes."""

from iikata.data.columns import ALSO_CALLED, TRANSCRIPT, Unused
from iikata.data.dataset import Dataset, LeftOut
from iikata.data.examples import NULLS
from iikata.data.probes import read_probes, read_task_probes
from iikata.data.read import read
from iikata.data.turns import open_conversation

__all__ = [
    "ALSO_CALLED",
    "NULLS",
    "TRANSCRIPT",
    "Dataset",
    "LeftOut",
    "Unused",
    "open_conversation",
    "read",
    "read_probes",
    "read_task_probes",
]
