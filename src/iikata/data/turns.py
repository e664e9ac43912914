"""A conversation as files hold it, whatever its keys are called: who said what, and what of it can be trained on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.records import Before
from iikata.data.rows import kind_of

Turn = tuple[str, str]
"""Who ("system", "user", "assistant") and what."""
ROLES = {
    **dict.fromkeys(("system", "developer", "context"), "system"),
    **dict.fromkeys(("user", "human", "prompter", "instruction", "question", "人間", "ユーザー"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt", "bing", "bard", "ai", "chatbot"), "assistant"),
    **dict.fromkeys(("agent", "output", "response", "answer", "アシスタント", "システム"), "assistant"),
    **dict.fromkeys(("tool", "function", "function_call", "function_response", "observation", "ipython"), "tool"),
    **dict.fromkeys(("tool_call", "tool_response", "tools"), "tool"),
}
WHO, WHAT = ("role", "from", "speaker", "name"), ("content", "value", "text", "parts")
PAIRS = (("human", "assistant"), ("user", "assistant"), ("human", "gpt"), ("question", "answer"))
"""Keys of an object that holds a question and its answer."""
COLUMNS = ("messages", "conversations", "conversation", "turns", "dialog", "dialogue", "contents", "data")
MEDIA = ("image", "audio", "video", "file", "document")


CALLS = ("tool_calls", "function_call")
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Keys of what an assistant thought, where that is not in its answer."""
WEIGHTS = ("0", "0.0", "1", "1.0", "true", "false", "", "none", "nan")


class UntrainableError(Exception):
    """Why a list of turns is no conversation to train on; such rows are left out and counted by it."""


class UnreadError(Exception):
    """Why a row is not read ("tool calls", "images") and what to do; such rows are counted."""

    def __init__(self, held: str, fix: str = "Only text is read. Take these rows out.") -> None:
        super().__init__(held)
        self.held, self.fix = held, fix


def is_conversation(value: Any, name: str = "") -> bool:
    """Return whether the value is a list of turns; one of bare texts by the column's `name`."""
    turns = isinstance(value, list) and bool(value)
    return turns and (is_turn(value[0]) or (name in COLUMNS and name != "turns" and isinstance(value[0], str)))


def is_turn(value: Any) -> bool:
    """Return whether the value is who and what, or a question with its answer."""
    if not isinstance(value, Mapping):
        return False
    return bool(value.keys() & set(WHO) and value.keys() & {*WHAT, *CALLS}) or _pair(value) is not None


def read_turns(value: Sequence[Any], what: str) -> list[Turn]:
    """Return the turns. Raises UnreadError where one is more than text, IikataError (calling it `what`) for no turn."""
    found: list[Turn] = []
    for number, turn in enumerate(value, start=1):
        if isinstance(turn, str):  # question, answer, question, ...
            found.append((("user", "assistant")[len(found) % 2], turn))
        elif (pair := _pair(turn)) is not None:
            found += [(who, _text(turn[key], what)) for who, key in zip(("user", "assistant"), pair, strict=True)]
        else:
            found.append(_turn(turn, f"{what}, turn {number}"))
    return found


def _pair(turn: Any) -> tuple[str, str] | None:
    keys = turn.keys() if isinstance(turn, Mapping) else ()
    return next((pair for pair in PAIRS if set(pair) <= set(keys)), None)


def _turn(turn: Any, what: str) -> Turn:
    keys: Mapping[str, Any] = turn if isinstance(turn, Mapping) else {}
    who, said = (next((key for key in names if key in keys), None) for names in (WHO, WHAT))
    role = _role(keys)
    if role == "tool" or any(keys.get(key) for key in CALLS):
        raise UnreadError("tool calls")
    if who is None or said is None:
        raise IikataError(
            f'{what}: {kind_of(turn)} was seen; a turn is {{"role": ..., "content": ...}} or {{"from", "value"}}.'
        )
    if role is None:
        raise IikataError(
            f"{what}: {who} {str(turn[who])[:40]!r} is unknown; system, user (human) and assistant (gpt) are read."
        )
    if role == "assistant" and (apart := next((key for key in THOUGHTS if turn.get(key)), None)):
        fix = "They would not be trained. Write them into the answer, as <think>...</think>, or take the field out."
        raise UnreadError(f'thoughts apart from their answer ("{apart}")', fix)
    return role, _text(turn[said], what)


def marked(value: Sequence[Any]) -> tuple[int, ...]:
    """Return which answers, counted from 0, are marked as not to be trained: weight 0, train false.

    Raises UnreadError for a weight between: an answer is in the loss or not.
    """
    turns = [turn for turn in value if isinstance(turn, Mapping)]
    answers = [turn for turn in turns if _pair(turn) or _role(turn) == "assistant"]
    marks = [[str(turn.get(key)).strip().lower() for key in ("weight", "train")] for turn in answers]  # some write text
    if other := next((weight for weight, _ in marks if weight not in WEIGHTS), None):
        fix = "An answer is trained (1) or not (0). Write one of these, or take the field out."
        raise UnreadError(f"an answer of weight {other:.20}", fix)
    return tuple(n for n, own in enumerate(marks) if {"0", "0.0", "false"} & {*own})


def _role(turn: Mapping[str, Any]) -> str | None:
    """Return whose a turn is, None where that is not said, or not known."""
    who = next((key for key in WHO if key in turn), None)
    return ROLES.get(str(turn[who]).strip().lower()) if who else None


def content(value: Any, what: str) -> str:
    """Return the text of a message, or of what it says alone."""
    keys = value if isinstance(value, Mapping) else {}
    return _text(next((keys[key] for key in WHAT if key in keys and key != "text"), value), what)


def _text(content: Any, what: str) -> str:
    """Return a turn's text, that of all its parts where it is a list of them."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, int | float) and not isinstance(content, bool):
        return str(content)
    parts = content if isinstance(content, list) else [content]
    return "".join(_part(part, what) for part in parts)


def _part(part: Any, what: str) -> str:
    if isinstance(part, str):
        return part
    keys: Mapping[str, Any] = part if isinstance(part, Mapping) else {}
    kind = str(keys.get("type", "text")) if keys else ""
    if kind in ("text", "input_text", "output_text") and isinstance(keys.get("text"), str):
        return str(keys["text"])
    for medium in MEDIA:
        if medium in kind or any(medium in str(key) for key in keys):
            raise UnreadError(f"{medium}s" if medium != "audio" else medium)
    if "tool" in kind:
        raise UnreadError("tool calls")
    raise IikataError(f'{what}: {kind_of(part)} was seen in its content; text, or parts {{"type": "text"}}, are read.')


def split(turns: Sequence[Turn]) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the system messages in front and the (question, answer) pairs behind them, one at least.

    What follows the last answer is not there any more (`unanswered` tells of it). Raises UntrainableError where user
    and assistant do not take turns.
    """
    start = next((n for n, (who, _) in enumerate(turns) if who != "system"), len(turns))
    talk = list(turns[start:])
    while talk and talk[-1][0] == "user":
        talk.pop()
    roles = [who for who, _ in talk]
    if not roles:
        raise UntrainableError("nobody answers")
    if "system" in roles:
        raise UntrainableError("a system message stands in the middle")
    if roles[0] == "assistant":
        raise UntrainableError("the assistant speaks first")
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise UntrainableError("one side speaks twice in a row")
    texts = [text for _, text in talk]
    return [text for _, text in turns[:start]], list(zip(texts[::2], texts[1::2], strict=True))


def with_system(before: Before, system: str | None, source: str) -> Before:
    """Return what was said as data.system wants it: "drop" leaves its system message out, "refuse" is an error."""
    if not before.system or system not in ("drop", "refuse"):
        return before
    if system == "refuse":
        raise IikataError(f"{source}: a system message, and data.system is refuse. Take it out, or drop them.")
    return replace(before, system="")


def joined(systems: Sequence[str]) -> str:
    """Return several system messages as the one that templates know of."""
    return "\n\n".join(systems)


def open_conversation(value: Any, what: str) -> tuple[Before, str]:
    """Return what was said before a conversation's last message, and that message, which must be the user's.

    Raises IikataError, calling it `what`, where it is not.
    """
    try:
        turns = read_turns(value if isinstance(value, list) else [value], what)
        if not unanswered(turns):
            raise UntrainableError("it does not end with a question")
        systems, said = split([*turns, ("assistant", "")])
    except UnreadError as held:
        raise IikataError(f"{what}: it holds {held}; only text is read. Take it out.") from None
    except UntrainableError as why:
        raise IikataError(
            f"{what}: {why}; user and assistant take turns, and the last message is the user's, to be answered."
        ) from None
    return Before(joined(systems), tuple(said[:-1])), said[-1][0]


def unanswered(turns: Sequence[Turn]) -> bool:
    """Return whether the conversation ends with a question."""
    return bool(turns) and turns[-1][0] == "user"


def pairs(history: Any, what: str) -> Iterator[tuple[str, str]]:
    """Yield the (question, answer) pairs of LLaMA-Factory's `history`, [[question, answer], ...]."""
    if isinstance(history, str) and history.strip() in ("", "[]"):
        return
    for pair in history if isinstance(history, list | tuple) else [history] if history else ():
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            seen = f"a list of {len(pair)}" if isinstance(pair, list | tuple) else kind_of(pair)
            raise IikataError(f"{what}: {seen} was seen; history is a list of [question, answer].")
        yield _text(pair[0], what), _text(pair[1], what)
