"""What an arm and the untuned base answer greedily by iikata's own engine, and how likely each finds a text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from iikata.core.records import Arm
from iikata.pipeline.context import RunContext
from iikata.pipeline.gates import whole_adapter
from iikata.pipeline.prompts import request
from iikata.templates import Template

if TYPE_CHECKING:
    from torch import Tensor

    from iikata.generate import Completion

ROWS = 16
PREFILL_TOKENS = 64


class Speakers:
    """One arm, its adapter reopened from disk, and the base."""

    def __init__(self, ctx: RunContext, arm: Arm, template: Template) -> None:
        self.ctx, self.arm, self.template = ctx, arm.name, template
        stored = whole_adapter(ctx.store.arm(arm), ctx.lora_of(arm.name), ctx.language)
        if arm not in ctx.merged:
            ctx.adapters.load(arm.name, stored.same_shape()[0])
        self._speakers = {arm.name: ctx.speaker(arm), None: (ctx.base, None)}

    def answers(self, prompts: Sequence[tuple[int, ...]], tokens: int) -> "dict[str | None, list[Completion]]":
        """Return the arm's greedy answer to each prompt, and under None the base's; of at most `tokens` tokens."""
        from iikata.generate import Sampling, Shapes, generate

        shapes = Shapes(min(ROWS, len(prompts)), max(map(len, prompts)) + tokens, PREFILL_TOKENS)
        found: dict[Any, Completion] = {}
        for who, (base, adapter) in self._speakers.items():
            asked = enumerate(prompts)
            requests = [request(self.template, self.ctx.tokenizer, ids, [(who, i)], [0], adapter) for i, ids in asked]
            replies = generate(base, [adapter] if adapter else [], requests, Sampling(temperature=0), tokens, shapes)
            found |= {reply.key: reply for reply in replies}
        return {who: [found[who, i] for i in range(len(prompts))] for who in (self.arm, None)}

    def logprobs(self, who: str | None, prompt: Sequence[int], ids: Sequence[int]) -> list[float]:
        """Return the log-probability of each of `ids` after the prompt and those before it, in nats."""
        found = self._logits(who, [*prompt, *ids])[len(prompt) - 1 : -1].log_softmax(-1)
        return [row[id].item() for row, id in zip(found, ids, strict=True)]

    def next_token(self, who: str | None, prompt: Sequence[int], ids: Sequence[int]) -> "Tensor":
        """Return the log-probability of every token [V] that may follow."""
        return self._logits(who, [*prompt, *ids])[-1].log_softmax(-1)

    def _logits(self, who: str | None, ids: Sequence[int]) -> "Tensor":
        import torch

        base, adapter = self._speakers[who]
        base.set_adapter(adapter)
        with torch.inference_mode():
            tokens = torch.tensor([list(ids)], device=base.device)
            hidden = base.hidden(tokens, torch.arange(tokens.shape[1], device=base.device)[None])
            return base.logits(hidden[0])
