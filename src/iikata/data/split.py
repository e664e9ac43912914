"""Hold out rows for validation by a hash of their content, so that other rows do not decide; a document's together."""

from collections.abc import Sequence

from iikata.core.records import Example

ALL = 2**64
"""An example's id, or its document's, is a number below this, as good as drawn at random."""


def hold_out_share(examples: Sequence[Example], share: float) -> list[Example]:
    """Return the rows whose hash, or their document's, lies in the first `share` of all hashes.

    Each row is judged alone: adding or taking away rows anywhere moves no other row.
    """
    return [example for example in examples if _number(example) / ALL < share]


def hold_out_count(examples: Sequence[Example], count: int) -> list[Example]:
    """Return `count` rows, in their order in `examples`; `count` must be below len(examples).

    Where the last of them is of a document, the rest of it comes too.

    Candidates are the rows whose hash lies in the first f of all hashes, f being the smallest power of two
    that is at least 1.25 count / len(examples); the first `count` of them are taken. Where they are too few,
    rows of the next power of two fill up, and so on. So appended rows move no other row as long as f stays
    (the rows have not doubled or so) and the candidates suffice; where they did not, appended candidates
    send rows that filled up back to training, and never bring a training row here.
    """
    # f = 2^-halvings with the most halvings for which 2^halvings <= len / (1.25 count), in whole numbers.
    halvings = max(0, (4 * len(examples) // (5 * count)).bit_length() - 1) if count else 0
    bits = 64 - halvings

    first: dict[str, int] = {}

    def order(example: Example) -> tuple[int, int]:
        """Return how often f must be doubled to hold the row, and where its document begins."""
        begins = first.setdefault(_group(example), len(first))
        return max(0, _number(example).bit_length() - bits), begins

    held = {_group(example) for example in sorted(examples, key=order)[:count]}
    return [example for example in examples if _group(example) in held]


def _group(example: Example) -> str:
    return example.cluster or example.id


def _number(example: Example) -> int:
    return int(_group(example), 16)
