"""What was read: training rows, validation rows, and counts of what was left out."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from iikata.core.records import Example
from iikata.data.columns import Unused

LEFT_OUT = ("duplicates", "empty", "unencodable", "overlap", "irregular", "unanswered", "marked", "systems")
"""Why rows are left out, or a part of them, or are told of."""


@dataclass(frozen=True)
class LeftOut:
    """Rows that were left out for one reason."""

    rows: int
    examples: tuple[str, ...]
    """Places (`file:line`) of the first five."""


@dataclass(frozen=True)
class Counts:
    """What became of the rows that were read, those of a validation file included."""

    rows: int
    train: int
    validation: int
    without_input: int
    """Examples kept that have no input."""
    duplicates: LeftOut
    """The same instruction, input and output as a row before; the first is kept."""
    empty: LeftOut
    """No output, or neither instruction nor input."""
    unencodable: LeftOut
    """Text that UTF-8 cannot hold (a lone surrogate)."""
    overlap: LeftOut
    """Training rows that are in the validation file too; kept there only."""
    irregular: LeftOut
    """Conversations that are none to train on: `Dataset.irregular` says why."""
    unanswered: LeftOut
    """Conversations that end with a question, which is left out; the turns before are kept."""
    marked: LeftOut
    """Conversations with an answer that is marked as not to be trained (weight 0), and one that is not; kept."""
    systems: LeftOut
    """Conversations with several system messages, which are joined."""


@dataclass(frozen=True)
class Dataset:
    """Examples to train on and to measure by; no content is in both, or twice."""

    train: list[Example]
    validation: list[Example]
    counts: Counts
    read_as: tuple[str, ...] = ()
    """A line for each file: the shape of its rows, their number, turns and system messages."""
    unused: tuple[Unused, ...] = ()
    """Columns with text that nothing uses."""
    levels: Mapping[tuple[str, ...], list[Example]] = field(default_factory=dict)
    """The training rows of each set of files that some variant is trained on."""
    irregular: Mapping[str, LeftOut] = field(default_factory=dict)
    """Conversations that are none to train on, by why ("the assistant speaks first")."""

    @property
    def clusters(self) -> dict[str, str]:
        """Return held-out row -> what it is counted with: its document, or itself where it is the only one of it."""
        sizes = Counter(row.cluster for row in self.validation)
        return {row.id: row.cluster if row.cluster and sizes[row.cluster] > 1 else row.id for row in self.validation}

    def of(self, specs: tuple[str, ...]) -> list[Example]:
        """Return the training rows of one set of files."""
        return self.levels.get(specs, self.train)
