"""Read a .gguf file by llama.cpp itself: its tokens of texts, and its greedy answers; a test runs this by itself."""

import json
import sys
from typing import Any


def main() -> None:
    from llama_cpp_py_sync import Llama

    asked = json.loads(sys.stdin.read())
    model = Llama(asked["file"], n_ctx=512, n_threads=1, type_k="f32", type_v="f32", flash_attn_type=0)
    told = {
        "tokens": [model.tokenize(text, add_special=False, parse_special=True) for text in asked["texts"]],
        "answers": [greedy(model, prompt, asked["most"]) for prompt in asked["prompts"]],
    }
    print(json.dumps(told))


def greedy(model: Any, prompt: list[int], most: int) -> dict[str, Any]:
    """Return the likeliest next token, again and again, and all logits after the prompt."""
    lib, ffi, size = model._lib, model._ffi, model.n_vocab
    model._clear_context_state()
    tokens, made, first = prompt, [], []
    for _ in range(most):
        batch = ffi.new("llama_token[]", tokens)
        if lib.llama_decode(model._ctx, lib.llama_batch_get_one(batch, len(tokens))):
            raise RuntimeError("llama_decode failed")
        logits = ffi.unpack(lib.llama_get_logits_ith(model._ctx, -1), size)
        first = first or logits
        made.append(logits.index(max(logits)))
        tokens = [made[-1]]
    return {"ids": made, "logits": first}


if __name__ == "__main__":
    main()
