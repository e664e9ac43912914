"""Build tiny random model folders, one a family: config, weights and a tokenizer that these tests train."""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from iikata.core.encoded import Encoded
from iikata.model.base import Base
from iikata.model.load import load
from tokenizer_folders import byte_bpe, sp_nfkc

VOCAB = 768
"""More than either tokenizer has, as in many published models."""

Tokenizer = Callable[[Path], Path]


def llama(folder: Path, tokenizer: Tokenizer = byte_bpe) -> Path:
    """Llama with grouped queries: four query heads over two key heads."""
    from transformers import LlamaConfig

    return write(folder, LlamaConfig(**shape(num_key_value_heads=2)), tokenizer)


def neox_sequential(folder: Path, tokenizer: Tokenizer = sp_nfkc) -> Path:
    """GPT-NeoX as rinna's 3.6B: attention before the MLP, rotary over the whole head, SentencePiece."""
    return _neox(folder, tokenizer, parallel=False, rotary=1.0)


def neox_parallel(folder: Path, tokenizer: Tokenizer = byte_bpe) -> Path:
    """GPT-NeoX as Pythia: attention beside the MLP, rotary over a quarter of the head."""
    return _neox(folder, tokenizer, parallel=True, rotary=0.25)


def qwen2(folder: Path, tokenizer: Tokenizer = byte_bpe) -> Path:
    """Qwen2: biased q, k, v and a tied head."""
    from transformers import Qwen2Config

    return write(folder, Qwen2Config(**shape(num_key_value_heads=2, tie_word_embeddings=True)), tokenizer)


def gemma(folder: Path, tokenizer: Tokenizer = byte_bpe) -> Path:
    """Gemma: scaled embeddings, heads wider than the model's share, one key head, a tied head."""
    from transformers import GemmaConfig

    return write(folder, GemmaConfig(**shape(num_key_value_heads=1, head_dim=16)), tokenizer)


def gemma2(folder: Path, tokenizer: Tokenizer = byte_bpe) -> Path:
    """Gemma 2: squashed scores and logits, every other layer sees a window of 6 tokens."""
    from transformers import Gemma2Config

    made = shape(num_key_value_heads=2, head_dim=8, query_pre_attn_scalar=8, sliding_window=6)
    return write(folder, Gemma2Config(**made, attn_logit_softcapping=5.0, final_logit_softcapping=6.0), tokenizer)


def gemma3(folder: Path, tokenizer: Tokenizer = byte_bpe) -> Path:
    """Gemma 3, text only: a layer that sees 6 tokens and one that sees all, each with its own rotary base."""
    from transformers import Gemma3TextConfig

    made = shape(num_key_value_heads=2, head_dim=8, query_pre_attn_scalar=8, sliding_window=6)
    return write(folder, Gemma3TextConfig(**made, layer_types=["sliding_attention", "full_attention"]), tokenizer)


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "llama": llama,
    "neox_sequential": neox_sequential,
    "neox_parallel": neox_parallel,
    "qwen2": qwen2,
    "gemma": gemma,
    "gemma2": gemma2,
    "gemma3": gemma3,
}


def _neox(folder: Path, tokenizer: Tokenizer, parallel: bool, rotary: float) -> Path:
    from transformers import GPTNeoXConfig

    made = shape(use_parallel_residual=parallel, tie_word_embeddings=False)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": rotary}
    return write(folder, GPTNeoXConfig(**made, rope_parameters=rope), tokenizer)


def shape(**more: Any) -> dict[str, Any]:
    """Return the settings that all families share, two layers of width 32, with `more` over them."""
    common = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
    }
    return common | more


def write(folder: Path, config: Any, tokenizer: Tokenizer) -> Path:
    """Write a random model of this configuration, and its tokenizer."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        # Published initialisations are so small that a wrong mask or bias would hardly show in the logits.
        with torch.no_grad():
            for parameter in model.parameters():
                spread = 0.2 if parameter.dim() > 1 else 0.1
                parameter.add_(torch.randn_like(parameter), alpha=spread)
    model.save_pretrained(folder)
    return tokenizer(folder)


HELD: dict[tuple[Any, ...], int | None] = {}


def opened(folder: Path, dtype: str = "float32", devices: Sequence[torch.device] = ()) -> Base:
    """Load the base in a folder that stays as it is; only the first time its logits are held against transformers'."""
    key = folder, dtype, len(devices)
    with pytest.MonkeyPatch.context() as patch:
        if key in HELD:
            patch.setattr("iikata.model.load.hold", lambda base, weights: HELD[key])
        base = load(folder, dtype, devices=devices)
    HELD[key] = base.longest
    return base


def sample(ids: Sequence[int], answer: int, id: str = "") -> Encoded:
    """Return a sample of these tokens; the loss counts from token number `answer`."""
    mask = tuple(index >= answer for index in range(len(ids)))
    return Encoded(id=id, prompt="", completion="", input_ids=tuple(ids), completion_mask=mask)


def samples(count: int, seed: int = 0, prefix: Sequence[int] = (), longest: int = 12) -> list[Encoded]:
    """Return random samples of different lengths that all begin with `prefix`."""
    random = Random(seed)
    made = []
    for number in range(count):
        prompt = [*prefix, *random.choices(range(4, VOCAB), k=random.randint(1, longest // 2))]
        answer = [*random.choices(range(4, VOCAB), k=random.randint(0, longest // 2)), 2]
        made.append(sample(prompt + answer, len(prompt), f"{seed}.{number}"))
    return made


def with_arms(loaded: Any, *arms: str, r: int = 4, alpha: float = 16) -> Any:
    """Put arms that act, each seeded by its place, on a base."""
    adapters = loaded.adapt(r, alpha, 0.0, "all-linear")
    for seed, arm in enumerate(arms):
        adapters.initialise(arm, seed)
        stir(adapters.weights(arm), seed)
    return loaded


def one_bad(loaded: Any, rows: Sequence[Encoded]) -> list[Encoded]:
    """Return the rows, one of them replaced by one whose loss is not finite on this base from now on."""
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[767] = torch.inf
    return [sample([5, 767, 8, 2], 2) if i == 3 else row for i, row in enumerate(rows)]


def stir(weights: dict[str, torch.Tensor], seed: int = 0) -> None:
    """Give an arm's B, zero at first, random values, so that its adapter acts and A has a gradient."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in weights.items():
            if name.endswith("lora_B"):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
