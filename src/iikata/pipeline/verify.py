"""Does a server really serve this arm, prompted as it was trained? Its answers are held against the arm's own."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import chain
from typing import Any

from iikata import tokenize
from iikata.core.errors import IikataError
from iikata.core.records import Arm, Before
from iikata.pipeline.context import RunContext
from iikata.pipeline.greedy import Speakers
from iikata.pipeline.openai_server import OpenAiServer, Reply
from iikata.pipeline.served_answer import Attribution, Attributor, Expected
from iikata.pipeline.stages.train import finished_arm
from iikata.templates import TEMPLATES, Template, messages, read_saved

PROBES, TOKENS = 4, 32
OFF = 0.3
"""Nats, mean: same answers with log-probabilities this far off are told (a quantized or rounded copy)."""


def verify(ctx: RunContext, arm_name: str, server: OpenAiServer, probes: int = PROBES) -> dict[str, Any]:
    """Return what each endpoint of the server serves, whether it is the arm, and all answers.

    Raises IikataError where the arm is not trained, the server cannot be asked, or has neither endpoint.
    """
    arm = finished_arm(ctx, arm_name)
    server.reach()  # before a model is loaded, which may take minutes
    gate = _Gate(ctx, arm, server)
    asked = gate.choose(probes)
    told = {
        "completions": gate.told(asked, gate.complete),
        "chat": gate.told([one for one in asked if gate.in_chat(one)], gate.chat),
    }
    if all(found is None for found in told.values()):
        raise IikataError(f"{server.url}: neither /completions nor /chat/completions is there. Does it end as /v1?")
    routes = [gate.route(name, found) for name, found in told.items() if found]
    return {
        "arm": arm.name,
        "template": gate.template.name,
        "endpoint": server.url,
        "model": server.model,
        "tokens": TOKENS,
        "served": bool(routes) and all(route["fine"] for route in routes),
        "routes": routes,
        "not_asked": [name for name, found in told.items() if not found],
    }


class _Gate:
    def __init__(self, ctx: RunContext, arm: Arm, server: OpenAiServer) -> None:
        self.ctx, self.server = ctx, server
        self.template = read_saved(ctx.store.arm(arm) / "template.json")
        self.speakers = Speakers(ctx, arm, self.template)
        self.attributor = Attributor(self.speakers)

    def choose(self, count: int) -> list[Expected]:
        """Return probes that tell the arm from the base first, and of these such as any endpoint can be asked."""
        ctx = self.ctx
        rows = [probe.asked for probe in ctx.probes]
        rows += [row.asked for row in chain(ctx.data.validation, ctx.data.train)]
        rows = list(dict.fromkeys(rows))[: 2 * count]
        prompts = [self._prompt(self.template, row) for row in rows]
        own = self.speakers.answers(prompts, TOKENS)
        found = [
            Expected(row, prompt, {who: answers[i] for who, answers in own.items()})
            for i, (row, prompt) in enumerate(zip(rows, prompts, strict=True))
        ]
        return sorted(found, key=lambda one: (not self.attributor.tells_apart(one), not self.in_chat(one)))[:count]

    def _prompt(self, template: Template, row: tuple[str, str, Before]) -> tuple[int, ...]:
        return tuple(tokenize.encode_prompt(template, self.ctx.tokenizer, *row))

    def in_chat(self, one: Expected) -> bool:
        """Return whether a chat message's content alone, which is all that servers pass on, gives this prompt."""
        return self.template.kind != "alpaca" or not one.asked[1].strip()

    def complete(self, one: Expected) -> Reply | None:
        """Return the answer to the rendered prompt; None where the server has no such endpoint."""
        text, tokenizer = self.template.render(*one.asked[:2], before=one.asked[2]).prompt, self.ctx.tokenizer
        bos = tokenizer.named_tokens.get("bos_token") if tokenizer.bos_id is not None else None
        # Servers put it in front of a text themselves.
        return self.server.complete(text.removeprefix(bos or ""), TOKENS, self.template.stop)

    def chat(self, one: Expected) -> Reply | None:
        """Return the answer to its messages; None where the server has no such endpoint."""
        turns = [{key: turn[key] for key in ("role", "content")} for turn in messages(*one.asked)]
        return self.server.chat(turns, TOKENS, self.template.stop)

    def told(self, asked: Iterable[Expected], ask: Callable[[Expected], Reply | None]) -> list[Attribution] | None:
        """Return what the answers say, [] where none can be asked so; None for no such endpoint."""
        found = []
        for one in asked:
            if (reply := ask(one)) is None:
                return None
            found.append(self.attributor.attribute(one, reply))
        return found

    def route(self, name: str, told: Sequence[Attribution]) -> dict[str, Any]:
        """Return what an endpoint serves: "arm", "base", "other", or "untold" where arm and base answer alike."""
        counts = Counter(one.by for one in told)
        serves = "other"
        if not counts["neither"] and not (counts["arm"] and counts["base"]):
            serves = "arm" if counts["arm"] else "base" if counts["base"] else "untold"
        counted = [one for one in told if one.prompt_tokens[0] is not None]
        same = all(seen == own for seen, own in (one.prompt_tokens for one in counted)) if counted else None
        known = [one.distances for one in told if one.distances]
        to_arm, to_base = [sum(column) / len(known) for column in zip(*known, strict=True)] or (None, None)
        return {
            "route": name,
            "serves": serves,
            "fine": serves == "arm" and same is not False and not any(one.runs_on for one in told),
            "answers": dict(counts),
            "same_prompt_tokens": same,
            "looks_like": next(self._looks_like(counted), None) if same is False else None,
            "runs_on": any(one.runs_on for one in told),
            "logprobs": {"to_arm": to_arm, "to_base": to_base, "off": to_arm > OFF} if to_arm is not None else None,
            "probes": [asdict(one) for one in told],
        }

    def _looks_like(self, told: Sequence[Attribution]) -> Iterator[str]:
        """Yield the known templates whose prompts have as many tokens as the server counted."""
        for name in dict.fromkeys((*self.ctx.templates, "native", *TEMPLATES)):
            with suppress(IikataError):  # a model without a chat template; a template that refuses a row
                template = self.ctx.templates.get(name) or self.ctx.load_template(name)
                counts = [len(self._prompt(template, one.asked)) for one in told]
                if counts == [one.prompt_tokens[0] for one in told]:
                    yield name
