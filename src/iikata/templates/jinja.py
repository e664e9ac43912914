"""Jinja chat templates, rendered as transformers renders them, but on one fixed day."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.records import NOTHING, Before
from iikata.templates.child import CHILD, Refusal
from iikata.templates.template import SENTINELS, Template

DATE = "2024-07-26"
"""What `strftime_now` gives, as a prompt must not change with the day; the one that Llama 3.2's template falls back to
is 26 Jul 2024 as well."""
TOOLS = frozenset({"tools", "functions"})
CHANGE = "Change the template there, leave out the row, or choose another template."
FOR_TOOLS = "it is for calls of tools alone, and a row has no tools"

THOUGHTS = re.compile(r"\s*<think>.*</think>", re.DOTALL)
"""An answer that brings its own thoughts."""
CLOSED = ("</think>", "<channel|>", "[/THINK]")
"""What ends an empty block of thoughts in a prompt, which asks for an answer without them."""


@dataclass(frozen=True)
class JinjaTemplate(Template):
    """A chat template: the row's instruction and input are the last user message, its output the assistant's."""

    chat_template: str = ""
    special_tokens: Mapping[str, str] | None = field(default=None, hash=False)
    """The texts of `bos_token`, `eos_token`, ... as far as the template may write them; None: not known yet."""
    date: str | None = None
    """The day that the template is told if it asks (`strftime_now`), as "2024-07-26"; None where it does not."""

    kind = "jinja"
    needed = ("chat_template",)

    def __post_init__(self) -> None:
        if self.date is None and "strftime_now" in self.chat_template:
            object.__setattr__(self, "date", DATE)

    def prompt_of(self, instruction: str, input: str, before: Before = NOTHING) -> str:
        return self._rendered(messages(instruction, input, before), [None])[0]

    def answer_of(self, instruction: str, input: str, output: str, before: Before = NOTHING) -> tuple[str, str, str]:
        return self.texts_of(instruction, input, [output], before)[1][0]

    def texts_of(
        self, instruction: str, input: str, outputs: Sequence[str], before: Before = NOTHING
    ) -> tuple[str, list[tuple[str, str, str]]]:
        prompt, *finished = self._rendered(messages(instruction, input, before), [None, *outputs])
        mapped = self._mapped(prompt)

        def answer(output: str, full: str) -> tuple[str, str, str]:
            # Mistral's templates write the system message into the last user message, while that is not answered.
            found = self._answer(mapped, self._mapped(full), output, final=not before.system)
            return found or self.answer_of(instruction, input, output, replace(before, system=""))

        return prompt, [answer(*one) for one in zip(outputs, finished, strict=True)]

    def _answer(self, prompt: str, full: str, output: str, final: bool) -> tuple[str, str, str] | None:
        """Return what `answer_of` does, of a finished conversation; None, unless `final`, where its prompt is another.

        What precedes an answer is the row's own matter: a template that writes an empty think block before other
        answers writes none before one that brings its own.
        """
        after = self.ending
        body = full.removesuffix(after) if full.endswith(after) else ""
        as_it_is = [self._mapped(text) for text in (output, output.rstrip(), output.lstrip(), output.strip())]
        answer = next((text for text in as_it_is if body.endswith(text)), None)
        if answer is not None:
            front = body[: len(body) - len(answer)]
            if front.startswith(prompt):
                return front[len(prompt) :], answer, after
            begun = prompt.removeprefix(front) if prompt.startswith(front) else ""
            if begun and answer.startswith(begun):  # the prompt opens the block in which this answer thinks
                return "", answer.removeprefix(begun), after
            if begun.rstrip().endswith(CLOSED) and not THOUGHTS.match(output):
                return "", answer, after
        # Many templates drop or trim the thoughts of a finished turn. The model must write them, so they are trained.
        if THOUGHTS.match(output) and not prompt.rstrip().endswith(CLOSED):
            opened = prompt[prompt.rindex("<think>") :] if prompt.rstrip().endswith("<think>") else ""
            return "", self._mapped(output).removeprefix(opened), after
        if not final and answer is not None:
            return None
        raise self._refusal(prompt, full, output, answer is None)

    def _refusal(self, prompt: str, full: str, output: str, changed: bool) -> IikataError:
        same = next((i for i in range(len(prompt)) if full[: i + 1] != prompt[: i + 1]), len(prompt))
        if changed:
            what = f"changes the answer: {output[:60]!r} became {full[same:][:60]!r}"
            return IikataError(f'template "{self.name}" {what}. Choose a template that writes the answer as it is.')
        return IikataError(
            f'template "{self.name}": a finished conversation does not begin with its own prompt, so what is '
            "trained would not be what is prompted (templates that open a thinking block do this). After "
            f"{prompt[:same][-30:]!r} the prompt has {prompt[same:][:30]!r}, the conversation "
            f"{full[same:][:30]!r}. Choose another template, or rows that bring the thoughts which the prompt asks for."
        )

    @cached_property
    def ending(self) -> str:
        instruction, _, answer = SENTINELS
        return self._finished(instruction, answer).partition(answer)[2]

    def _finished(self, instruction: str, output: str) -> str:
        return self._mapped(self._rendered(messages(instruction, ""), [output])[0])

    def with_special_tokens(self, special_tokens: Mapping[str, str]) -> "JinjaTemplate":
        """Return the template with the tokenizer's special tokens, those that it can write."""
        used = {key: text for key, text in special_tokens.items() if key in self.variables}
        return replace(self, special_tokens=used)

    def _rendered(self, messages: list[dict[str, str]], outputs: Sequence[str | None]) -> list[str]:
        """Return what the template writes for `messages` and each output behind them; None asks for the prompt."""
        unknown = sorted(name for name in self.variables if name.endswith("_token"))
        if self.special_tokens is None and unknown:
            raise IikataError(
                f'template "{self.name}" writes {unknown[0]}, which only a tokenizer knows. '
                "Name it in an experiment, whose model has one."
            )
        try:
            return self._asked(messages, outputs, self._parts)
        except Refusal as refusal:
            reason = FOR_TOOLS if not refusal.ended and self._is_for_tools(messages) else refusal.reason
            raise IikataError(
                f'template "{self.name}", line {refusal.line}, refuses a row: {reason}. {CHANGE}'
                if refusal.line
                else f'template "{self.name}" refuses a row: {reason}. {CHANGE}'
            ) from None

    def _asked(
        self, messages: list[dict[str, Any]], outputs: Sequence[str | None], parts: Sequence[str] = (), **more: Any
    ) -> list[str]:
        """Return the same, with the text of the roles in `parts` in lists of parts; raises Refusal."""
        names = {"tools": None, "documents": None, **more, **(self.special_tokens or {})}
        said = [[] if output is None else [{"role": "assistant", "content": output}] for output in outputs]
        asked = {"messages": _in_parts(messages, parts), "behind": [_in_parts(last, parts) for last in said]}
        written = CHILD.ask(text=self.chat_template, names=names, date=self.date or DATE, **asked)
        return list(map(str, written["texts"]))

    def _is_for_tools(self, messages: list[dict[str, Any]]) -> bool:
        try:
            return bool(self.variables & TOOLS) and any(self._asked(messages, [None], tools=[], functions=[]))
        except Refusal:
            return False

    @cached_property
    def _parts(self) -> tuple[str, ...]:
        """The roles whose text reaches the template in a list of parts alone, as with models that also see."""
        user, _, answer = SENTINELS

        def reached(roles: tuple[str, ...]) -> bool:
            try:
                (text,) = self._asked([{"role": "user", "content": user}], [answer], roles)
            except Refusal as refusal:
                if refusal.ended:
                    raise
                return False
            return user in text and answer in text

        return next(filter(reached, ((), ("user", "assistant"), ("user",), ("assistant",))), ())

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names that the template reads, `bos_token` and the like among them."""
        return opened(self.chat_template, f'template "{self.name}", line ')


def _in_parts(messages: list[dict[str, Any]], roles: Sequence[str]) -> list[dict[str, Any]]:
    like_a_user = {"system": "user"}
    return [
        each | {"content": [{"type": "text", "text": each["content"]}]}
        if like_a_user.get(each["role"], each["role"]) in roles
        else each
        for each in messages
    ]


def opened(text: str, where: str) -> frozenset[str]:
    """Return the names that a template reads; raises IikataError (`where` and line) where it is no template."""
    try:
        return _names(text)
    except Refusal as refusal:
        raise IikataError(f"{where}{refusal.line or 1}: {refusal.reason}. Correct it there.") from None


@lru_cache(maxsize=32)  # a template is often copied, with its special tokens
def _names(text: str) -> frozenset[str]:
    return frozenset(CHILD.ask(text=text)["names"])


def native(chat_template: str, special_tokens: Mapping[str, str]) -> JinjaTemplate:
    """Return the model's own chat template; `special_tokens`: `bos_token`, `eos_token`, ... -> text."""
    return read_jinja(Path("native"), chat_template, special_tokens)


def read_jinja(path: Path, text: str, special_tokens: Mapping[str, str] | None = None) -> JinjaTemplate:
    """Return the template of a Jinja file with content `text`; its name is the file's.

    Raises IikataError (file:line) for a syntax error.
    """
    opened(text, f"{path}:")
    template = JinjaTemplate(path.stem, chat_template=text)
    template = replace(template, newline=newline_written(template))
    return template if special_tokens is None else template.with_special_tokens(special_tokens)


def newline_written(template: JinjaTemplate) -> str | None:
    """Return what the template itself makes of a line break in an answer, e.g. `<NL>`; None where it stays."""
    first, second, _ = SENTINELS
    unnamed = dict.fromkeys((name for name in template.variables if name.endswith("_token")), "")
    bare = replace(template, newline=None, special_tokens=unnamed)
    try:
        written = bare._finished("instruction", f"{first}\n{second}")
    except IikataError:
        return None
    between = written.partition(first)[2].partition(second)[0]
    return between if between.strip() else None


def messages(instruction: str, input: str, before: Before = NOTHING) -> list[dict[str, str]]:
    """Return a conversation up to its last user message, as chat templates take it."""
    said = [{"role": "system", "content": before.system}] if before.system else []
    for user, assistant in before.turns:
        said += [user_message(user, ""), {"role": "assistant", "content": assistant}]
    return [*said, user_message(instruction, input)]


def user_message(instruction: str, input: str) -> dict[str, str]:
    """Return a row's user message; its `instruction` and `input` let a chat template choose between two prompts."""
    content = f"{instruction}\n\n{input}" if input.strip() else instruction
    return {"role": "user", "content": content, "instruction": instruction, "input": input}
