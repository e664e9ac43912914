"""Turn one example into tokens and a mask that says exactly where the loss counts."""

from typing import Literal

from iikata.encode.tokenizer import Tokenizer
from iikata.records import Encoded, Example
from iikata.templates import Template


def encode_prompt(template: Template, tokenizer: Tokenizer, instruction: str, input: str = "") -> list[int]:
    """Return a prompt's tokens, the same in training and at inference."""
    return _prompt_ids(tokenizer, template.render(instruction, input).prompt)


def encode(
    example: Example,
    template: Template,
    tokenizer: Tokenizer,
    cutoff_len: int,
    loss_on: Literal["completion", "all"] = "completion",
) -> Encoded:
    """Return the example's tokens: prompt, completion, one end token; the mask is true on the last two.

    With `loss_on="all"` it is true everywhere, BOS too, as in Alpaca-LoRA's `train_on_inputs`. More than
    `cutoff_len` tokens are cut off and `truncated` is set: such a row is shown and counted, never trained on.
    """
    rendered = template.render(example.instruction, example.input, example.output)
    prompt_ids = _prompt_ids(tokenizer, rendered.prompt)
    loss_ids = _completion_ids(tokenizer, rendered.prompt, prompt_ids, rendered.completion)
    loss_ids = [*loss_ids, _end(tokenizer, rendered.end)]
    ids = (*prompt_ids, *loss_ids)
    mask = (loss_on == "all",) * len(prompt_ids) + (True,) * len(loss_ids)
    return Encoded(
        id=example.id,
        prompt=rendered.prompt,
        completion=rendered.completion,
        input_ids=ids[:cutoff_len],
        completion_mask=mask[:cutoff_len],
        truncated=len(ids) > cutoff_len,
    )


def end_id(template: Template, tokenizer: Tokenizer) -> int:
    """Return the token that ends an answer: the special token the template writes after it, else EOS."""
    return _end(tokenizer, template.render("instruction", "", "answer").end)


def _prompt_ids(tokenizer: Tokenizer, text: str, special: bool = True) -> list[int]:
    ids = tokenizer.ids(text, special)
    # Many chat templates write the BOS themselves, and a second one costs quality without a word.
    if tokenizer.bos_id is None or ids[:1] == [tokenizer.bos_id]:
        return ids
    return [tokenizer.bos_id, *ids]


def _completion_ids(tokenizer: Tokenizer, prompt: str, prompt_ids: list[int], completion: str) -> list[int]:
    # An answer may quote a special token's text, which must not end it; the prompt's own are meant.
    quotes = tokenizer.has_special(completion)
    if not (quotes and tokenizer.has_special(prompt)):
        joint = _prompt_ids(tokenizer, prompt + completion, special=not quotes)
        if joint[: len(prompt_ids)] == prompt_ids:
            return joint[len(prompt_ids) :]
    # Here tokens merge across the border, or both texts hold special ones. At inference the model goes on from
    # the prompt's own tokens, so the answer is tokenized apart, as a text that goes on.
    return tokenizer.ids(completion, special=False, start=False)


def _end(tokenizer: Tokenizer, end: str) -> int:
    id = tokenizer.special_at_start(end.lstrip())
    return tokenizer.eos_id if id is None else id
