"""What an example becomes under a template: segments of text with their roles, then tokens and a mask."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["prompt", "written", "answer", "end"]
"""Who a text or a token belongs to: what the model is given; what the template writes inside that which the model must
produce (an empty think block, a blank before the answer); the row's own answer; what ends it."""


@dataclass(frozen=True)
class Segment:
    """A piece of one example's text under one template."""

    text: str
    role: Role


@dataclass(frozen=True)
class Rendered:
    """One example as text under one template: segments in their order, none of them empty."""

    segments: tuple[Segment, ...]

    @property
    def prompt(self) -> str:
        return self.of("prompt")

    @property
    def completion(self) -> str:
        """What the model must produce, without its end; empty where only a prompt was asked for."""
        return self.of("written", "answer")

    @property
    def end(self) -> str:
        """What the template writes after an answer; "" means the tokenizer's own end token."""
        return self.of("end")

    def of(self, *roles: Role) -> str:
        """Return the text of these roles."""
        return "".join(segment.text for segment in self.segments if segment.role in roles)


@dataclass(frozen=True)
class Encoded:
    """One example as tokens under one template."""

    id: str
    prompt: str
    completion: str
    input_ids: tuple[int, ...]
    """Prompt tokens, completion tokens, one end token; cut at cutoff_len where `truncated`."""
    completion_mask: tuple[bool, ...]
    """True where the loss counts (`loss_on: completion`): the completion's tokens and its end token."""
    truncated: bool = False
    """Longer than cutoff_len: shown and counted, never trained on."""
    answer: str = ""
    """The row's own answer, as the completion holds it."""
    roles: tuple[Role, ...] = ()
    """Each token's; one that holds text of both template and answer is the answer's."""
    straddles: bool = False
    """Some token does."""
    apart: int = 0
    """Earlier answers that stand otherwise in the whole conversation than when they were the last: not in the loss."""
    cut: int = 0
    """Answers at its end that do not fit into cutoff_len and were cut off with their questions."""
