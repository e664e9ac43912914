"""Whose answer is it that a server gave: the arm's, the untuned base's, or neither's?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from iikata import tokenize
from iikata.core.records import Before
from iikata.pipeline.greedy import Speakers
from iikata.pipeline.openai_server import Reply

if TYPE_CHECKING:
    from iikata.generate import Completion

TIE = 0.3
"""Nats. Kernels and 16-bit rounding may turn the order of two tokens this near (a logit of 20 has steps of 0.125 in
bfloat16); a departure from the likeliest token by more is another model's."""
FOLLOWED = 48
"""Tokens behind the first near tie that are looked at."""
NEAR = 0.5
"""By its log-probabilities a server is nearer to one model where the distance is less than this share of the other."""


@dataclass(frozen=True)
class Expected:
    """A probe: its prompt under the arm's template, and what arm and base (None) answer."""

    asked: tuple[str, str, Before]
    prompt: tuple[int, ...]
    own: "dict[str | None, Completion]"


@dataclass(frozen=True)
class Attribution:
    """What one answer of the server says."""

    by: str
    """"arm" or "base": whose answer it is; "both" where these answer alike; "neither"."""
    prompt_tokens: tuple[int | None, int]
    """As the server counts, and as the arm was trained to be prompted."""
    runs_on: bool
    """It is the arm's answer, and goes on where the arm ends."""
    distances: tuple[float, float] | None
    """Mean distance of its log-probabilities to the arm's and to the base's, in nats."""
    asked: tuple[str, str, Before]
    answers: dict[str, str]
    """The server's, the arm's, the base's."""


class Attributor:
    """Holds a server's answers against those of an arm and the base."""

    def __init__(self, speakers: Speakers) -> None:
        self.speakers, self.arm = speakers, speakers.arm
        self.template, self.tokenizer = speakers.template, speakers.ctx.tokenizer

    def tells_apart(self, one: Expected) -> bool:
        """Return whether arm and base answer this probe differently."""
        return self._plain(self._text(one.own[self.arm].ids)) != self._plain(self._text(one.own[None].ids))

    def attribute(self, one: Expected, reply: Reply) -> Attribution:
        """Return whose answer it is, by its text and, where both answer alike, by its log-probabilities."""
        distances, answers = self._distances(one, reply), {who: self._text(own.ids) for who, own in one.own.items()}
        whose = self._is(self.arm, one, reply), self._is(None, one, reply)
        by = {(True, False): "arm", (False, True): "base", (True, True): "both"}.get(whose, "neither")
        if by == "both" and distances:
            to_arm, to_base = distances
            by = "arm" if to_arm < NEAR * to_base else "base" if to_base < NEAR * to_arm else "both"
        answered = {"server": reply.text, "arm": answers[self.arm], "base": answers[None]}
        own, said = self._plain(answers[self.arm]), self._plain(reply.text)
        runs_on = one.own[self.arm].finish == "stop" and len(said) > len(own) > 0 and said.startswith(own)
        return Attribution(by, (reply.prompt_tokens, len(one.prompt)), runs_on, distances, one.asked, answered)

    def _is(self, who: str | None, one: Expected, reply: Reply) -> bool:
        """Return whether the answer is this speaker's, or leaves it at near ties alone."""
        own, text = one.own[who], self._text(one.own[who].ids)
        if self._plain(reply.text) == self._plain(text):
            return True
        said = text[: len(text) - len(text.lstrip())] + reply.text.rstrip("\ufffd").lstrip()  # many servers strip it
        same = max(n for n in range(len(own.ids) + 1) if said.startswith(self._text(own.ids[:n])))
        if same == len(own.ids) and own.finish == "length":
            return True
        if said == self._text(own.ids[:same]):
            near, _ = self._near(who, one.prompt, own.ids[:same])
            return bool(set(near) & tokenize.stop_ids(self.template, self.tokenizer))
        return self._follows(who, one.prompt, own.ids[:same], said)

    def _near(self, who: str | None, prompt: Sequence[int], ids: Sequence[int]) -> tuple[list[int], int]:
        """Return the tokens that may follow for all that rounding can turn, and the likeliest."""
        likely = self.speakers.next_token(who, prompt, ids)
        return (likely > likely.max() - TIE).nonzero()[:, 0].tolist(), int(likely.argmax())

    def _follows(self, who: str | None, prompt: Sequence[int], ids: Sequence[int], said: str) -> bool:
        """Return whether each token that was said behind `ids` is near the likeliest, given those before it.

        At one near tie alone any model might have turned off: what it then says tells whose words they are.
        """
        ways, seen, most = [tuple(ids)], {self._text(ids)}, len(ids) + FOLLOWED
        while ways:
            before = self._text(ids := ways.pop())
            if said == before or len(ids) == most:
                return True
            near, likeliest = self._near(who, prompt, ids)
            # A server tells no tokens, and one text may be written in several: any near one that the text goes on with.
            for token in near:
                found = self._text([*ids, token])
                if said.startswith(found) and found not in seen:
                    ways.append((*ids, token))
                    seen.add(found)
            if (
                likeliest not in self._unwritten.values() and self._text([*ids, likeliest]) == before
            ):  # half a character
                ways.append((*ids, likeliest))
        return False

    def _distances(self, one: Expected, reply: Reply) -> tuple[float, float] | None:
        """Return how far the server's log-probabilities are from each speaker's, on an answer of one of them."""
        for who in (self.arm, None):
            ids = one.own[who].ids
            whole = len(reply.logprobs) - len(ids) in (0, 1)  # with the end token or without
            if ids and whole and self._plain(reply.text) == self._plain(self._text(ids)):
                own = (self.speakers.logprobs(speaker, one.prompt, ids) for speaker in (self.arm, None))
                pairs = (zip(reply.logprobs, logprobs, strict=False) for logprobs in own)
                to_arm, to_base = (sum(abs(a - b) for a, b in both) / len(ids) for both in pairs)
                return to_arm, to_base
        return None

    @cached_property
    def _unwritten(self) -> dict[str, int]:
        """Text -> id of the tokens that servers leave out of an answer."""
        unknown = self.tokenizer.unk_id
        more = {} if unknown is None else {self.tokenizer.token(unknown): unknown}
        return {**self.tokenizer.special_tokens, **more}

    def _text(self, ids: Sequence[int]) -> str:
        """Return the answer as servers write it: special tokens left out, half a character too."""
        unwritten = set(self._unwritten.values())
        return self.tokenizer.whole_text([id for id in ids if id not in unwritten])

    def _plain(self, text: str) -> str:
        """Return the answer without what servers write or leave out as they like: white space, tokens without text."""
        for literal in (*self._unwritten, "\ufffd"):
            text = text.replace(literal, "")
        return "".join(self.template.answer(text).split())
