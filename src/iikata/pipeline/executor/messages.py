"""What head and workers say to one another: plain values and bytes, so that they need no disk in common."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from iikata.config import Experiment
from iikata.core.records import Arm, Cell, Probe, Score
from iikata.data import Dataset
from iikata.pipeline.machine import Machine
from iikata.templates import Template

Key = tuple[Cell, str, int]
"""A cell, a probe's id, a sample."""


@dataclass(frozen=True)
class Inputs:
    """What a worker is given once. The model it finds by itself: by its hub id, or by a path that each node has."""

    experiment: Experiment
    templates: Mapping[str, Template]
    data: Dataset
    probes: Sequence[Probe]
    files: Mapping[str, bytes]
    """Adapters from elsewhere, which the base is made ready for, by their paths in the run folder."""
    threads: int
    """Of the processor, as the run's signature says: on CPU rounding follows them."""


@dataclass(frozen=True)
class About:
    """A worker that is ready."""

    machine: Machine
    node: str
    label: str
    """The device's place on its node, such as `GPU 0`."""
    weights: str
    """The fingerprint of the model's files."""
    software: Mapping[str, Any]
    free: int
    """Bytes of the device's memory that the loaded model left; 0 on CPU."""

    @property
    def called(self) -> str:
        return f"{self.node} {self.label}"


@dataclass(frozen=True)
class Order:
    """A part of a stage for one worker: all that it needs beside the inputs."""

    stage: str
    arms: tuple[Arm, ...]
    files: Mapping[str, bytes]
    """Of the run folder, by their paths in it."""
    tokens: int = 0
    """That the stage trains on each device in all: whether compiling pays."""
    keys: tuple[Key, ...] = ()
    """The answers to give."""
    cells: tuple[Cell, ...] = ()
    """The cells to score."""


@dataclass
class Job:
    """What the head gives out; an order is made when a worker takes it, so that it says what is still to do."""

    name: str
    order: Callable[[], Order]
    seed: int | None = None
    """A seed's arms stay on one device while there is a choice: what hardware does then cancels in their pair."""
    ended: list[str] = field(default_factory=list)
    """The devices that ended while they had it."""


@dataclass(frozen=True)
class Files:
    """An arm's files, in the order in which they are to be written."""

    arm: Arm
    files: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Scored:
    """A cell's scores by metric."""

    cell: Cell
    scores: Mapping[str, list[Score]]


@dataclass(frozen=True)
class Halved:
    """Memory ran out on a worker."""

    stage: str
    to: int
    unit: str


@dataclass(frozen=True)
class Failed:
    """A worker cannot go on, by no fault of its device."""

    message: str


@dataclass(frozen=True)
class Ended:
    """An order is done, or was stopped after its step."""

    peak_bytes: int
    """The most memory that the worker has taken."""
