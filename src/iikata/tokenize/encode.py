"""Turn one example into tokens and a mask that says exactly where the loss counts."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain, groupby, islice
from typing import Literal

from iikata.core.encoded import Encoded, Rendered, Role
from iikata.core.records import NOTHING, Before, Example
from iikata.templates import Template
from iikata.tokenize.tokenizer import Tokenizer

AT_ONCE = 32
"""Conversations that are tokenized together; each turn is a text of all that was said before it."""
STAND_INS = (("Why?", "0"), ("色は何", "Z"))


LossOn = Literal["completion", "last", "all"]


def encode_prompt(
    template: Template, tokenizer: Tokenizer, instruction: str, input: str = "", before: Before = NOTHING
) -> list[int]:
    """Return a prompt's tokens, the same in training and at inference."""
    return _prompt_ids(tokenizer, template.render(instruction, input, before=before).prompt)


def encode(
    example: Example,
    template: Template,
    tokenizer: Tokenizer,
    cutoff_len: int,
    loss_on: LossOn = "completion",
    cut_at_turn: bool = False,
) -> Encoded:
    """Return the example's tokens: prompt, completion, one end token; the mask is true on the last two.

    Of a conversation it is true on every earlier answer, too, but for those that stand otherwise in the whole one than
    when they were the last (there the model would learn what it is never prompted to say) and those that their file
    marks as not to be trained. With `loss_on="last"` it is true on the last answer alone; with "all" everywhere, BOS
    too, as in Alpaca-LoRA's `train_on_inputs`. More than `cutoff_len` tokens are cut off and `truncated` is set: such
    a row is shown and counted, never trained on. With `cut_at_turn` a conversation ends before the first answer that
    does not fit, where any does.
    """
    (encoded,) = encode_all([example], template, tokenizer, cutoff_len, loss_on, cut_at_turn)
    return encoded


def encode_all(
    examples: Sequence[Example],
    template: Template,
    tokenizer: Tokenizer,
    cutoff_len: int,
    loss_on: LossOn = "completion",
    cut_at_turn: bool = False,
) -> Iterator[Encoded]:
    """Yield what `encode` returns of each example; their tokens are worked out on every core."""
    every = cut_at_turn or loss_on != "last"
    for encoded in _last([e.turns() if every else [e] for e in examples], template, tokenizer, cutoff_len):
        fitting = _fitting(encoded) if cut_at_turn else encoded
        whole = fitting[-1] if loss_on == "last" else _whole(fitting)[0]
        yield replace(whole, completion_mask=(True,) * len(whole.input_ids)) if loss_on == "all" else whole


def _fitting(turns: list[Encoded]) -> list[Encoded]:
    """Return the turns up to the last that fits; all of them where none does."""
    fit = next((n for n in range(len(turns), 0, -1) if not turns[n - 1].truncated), 0)
    return [*turns[: fit - 1], replace(turns[fit - 1], cut=len(turns) - fit)] if fit else turns


def encode_turns(
    examples: Iterable[Example], template: Template, tokenizer: Tokenizer, cutoff_len: int
) -> Iterator[tuple[list[Encoded], list[Encoded]]]:
    """Yield each conversation up to each of its answers, and the fewest of these whose masks hold every answer once.

    The first of the latter is what `encode` returns; behind it are those whose answers it leaves out.
    """
    for turns in _last((example.turns() for example in examples), template, tokenizer, cutoff_len):
        yield turns, _whole(turns)


def _whole(turns: list[Encoded]) -> list[Encoded]:
    *earlier, whole = turns
    if not earlier:
        return turns
    roles, mask, apart = list(whole.roles), list(whole.completion_mask), []
    for turn in earlier:
        n = len(turn.input_ids)
        if turn.truncated or whole.input_ids[:n] != turn.input_ids:
            apart.append(turn)
            continue
        for at in range(n):
            if turn.completion_mask[at]:
                roles[at], mask[at] = turn.roles[at], True
    straddles = any(turn.straddles for turn in turns)
    made = replace(whole, roles=tuple(roles), completion_mask=tuple(mask), straddles=straddles, apart=len(apart))
    return [made, *apart]


def _last(
    conversations: Iterable[Iterable[Example]], template: Template, tokenizer: Tokenizer, cutoff_len: int
) -> Iterator[list[Encoded]]:
    """Yield each conversation's turns, of which the mask is true on the last answer and what ends it."""
    left = iter(conversations)
    while some := [list(one) for one in islice(left, AT_ONCE)]:
        encoded = _together([turn for turns in some for turn in turns], template, tokenizer, cutoff_len)
        for turns in some:
            yield list(islice(encoded, len(turns)))


def _together(turns: Sequence[Example], template: Template, tokenizer: Tokenizer, cutoff_len: int) -> Iterator[Encoded]:
    """Yield each turn's tokens; of those that ask the same, one behind the other, the prompt is read once."""
    rows: list[tuple[str, _Prompt, Rendered, str, int]] = []
    for (instruction, input, before), some in groupby(turns, key=lambda turn: turn.asked):
        same = list(some)
        rendered = template.renders(instruction, input, [turn.output for turn in same], before)
        prompt = _Prompt(tokenizer, rendered[0].prompt)
        rows += [
            (turn.id, prompt, text, *_end(template, tokenizer, text.end))
            for turn, text in zip(same, rendered, strict=True)
        ]
    asked = ((prompt.text, True) for _, prompt, *_ in rows)
    joint = ((prompt.tail + text.completion + behind, prompt.start) for _, prompt, text, behind, _ in rows)
    tokenizer.ahead(dict.fromkeys(chain(asked, joint)))
    for row in rows:
        yield _encoded(*row, cutoff_len)


class _Prompt:
    """A prompt, and what follows on it: read from the prompt's last cut, since all before that stays as it is."""

    def __init__(self, tokenizer: Tokenizer, text: str) -> None:
        self.tokenizer, self.text = tokenizer, text
        at, self.start = tokenizer.cut(text)
        self.tail = text[at:]

    @cached_property
    def ids(self) -> list[int]:
        return _prompt_ids(self.tokenizer, self.text)

    @cached_property
    def _tail_ids(self) -> list[int]:
        return self.tokenizer.ids(self.tail, start=self.start)

    def then(self, text: str, special: bool) -> list[int]:
        """Return the tokens of a text behind the prompt."""
        if special or not self.tokenizer.has_special(self.text):
            joint, known = self.tokenizer.ids(self.tail + text, special, self.start), self._tail_ids
            if joint[: len(known)] == known:
                return joint[len(known) :]
        # Here tokens merge across the border, or both texts hold special ones. At inference the model goes on from
        # the prompt's own tokens, so the answer is tokenized apart, as a text that goes on.
        return self.tokenizer.ids(text, special, start=False)


def _encoded(id: str, prompt: _Prompt, rendered: Rendered, behind: str, end: int, cutoff_len: int) -> Encoded:
    ids, start, stop, straddles = _completion(prompt, rendered, behind)
    lengths: list[tuple[Role, int]] = [("prompt", len(prompt.ids)), ("written", start), ("answer", stop - start)]
    lengths += [("written", len(ids) - stop), ("end", 1)]
    roles: tuple[Role, ...] = sum(((role,) * length for role, length in lengths), ())
    mask = (False,) * len(prompt.ids) + (True,) * (len(roles) - len(prompt.ids))
    return Encoded(
        id=id,
        prompt=prompt.text,
        completion=rendered.completion + behind,
        input_ids=(*prompt.ids, *ids, end)[:cutoff_len],
        completion_mask=mask[:cutoff_len],
        truncated=len(roles) > cutoff_len,
        answer=rendered.of("answer"),
        roles=roles[:cutoff_len],
        straddles=straddles,
    )


def prefixes(template: Template, tokenizer: Tokenizer) -> list[tuple[int, ...]]:
    """Return the tokens that prompts begin with, one tuple for prompts without an input and one for those with.

    Found from two stand-in rows, so they depend on the template alone and never on which rows or probes there are.
    A prompt that does not begin with one of them (its first word merged into the template) just shares nothing.
    """
    found = []
    for with_input in (False, True):
        first, second = (
            encode_prompt(template, tokenizer, instruction, input if with_input else "")
            for instruction, input in STAND_INS
        )
        same = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
        if same:
            found.append(tuple(first[:same]))
    return list(dict.fromkeys(found))


def writes(template: Template, tokenizer: Tokenizer) -> bool:
    """Return whether the template makes the model write more than the answer and its end token."""
    return bool(template.around[0] or _end(template, tokenizer, template.ending)[0])


def end_id(template: Template, tokenizer: Tokenizer) -> int:
    """Return the token that ends an answer: the one that the template writes behind it, else EOS."""
    return _end(template, tokenizer, template.ending)[1]


def stop_ids(template: Template, tokenizer: Tokenizer) -> frozenset[int]:
    """Return the tokens at which every arm stops answering: the template's end and all that the model declares."""
    return tokenizer.end_ids | {end_id(template, tokenizer)}


def _prompt_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    ids = tokenizer.ids(text)
    # Many chat templates write the BOS themselves, and a second one costs quality without a word.
    if tokenizer.bos_id is None or ids[:1] == [tokenizer.bos_id]:
        return ids
    return [tokenizer.bos_id, *ids]


def _completion(prompt: _Prompt, rendered: Rendered, behind: str) -> tuple[list[int], int, int, bool]:
    """Return the tokens behind the prompt's, where the answer's own start and stop, and whether one straddles that."""
    tokenizer = prompt.tokenizer
    before, answer = rendered.of("written"), rendered.of("answer")
    # An answer may quote a special token's text, which must not end it; the template's own are meant.
    quotes = tokenizer.has_special(answer)
    if quotes and tokenizer.has_special(before):
        first, own = tokenizer.ids(before, start=False), tokenizer.ids(answer, special=False, start=False)
        return [*first, *own, *tokenizer.ids(behind, start=False)], len(first), len(first) + len(own), False
    ids = prompt.then(before + answer + behind, special=not quotes)
    lead = prompt.then(before, special=not quotes) if before else []
    tail = tokenizer.ids(behind, start=False) if behind else []
    start = _alike(lead, ids)
    stop = len(ids) - _alike(tail[::-1], ids[start:][::-1])
    straddles = start < len(lead) or len(ids) - stop < len(tail)
    # Two blanks alone are one token, before a word a blank and a word with one: the first is the template's.
    while lead and answer and tokenizer.text(ids[start + 1 :]).endswith(answer + behind):
        start += 1
    return ids, start, stop, straddles


def _alike(one: list[int], other: list[int]) -> int:
    """Return how many tokens both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _end(template: Template, tokenizer: Tokenizer, after: str) -> tuple[str, int]:
    """Return what is between an answer and its end token, and that token: EOS where the template writes none."""
    # A break may be an added token itself: <NL> is one of rinna's, and dolly_ja_rinna writes it without declaring it.
    breaks = re.match(rf"(\s|<NL>|{re.escape(template.newline or '<NL>')})*", after)
    found = tokenizer.end_in(after, breaks.end() if breaks else 0)
    return ("", tokenizer.eos_id) if found is None else (after[: found[0]], found[1])
