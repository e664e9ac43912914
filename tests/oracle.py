"""The same arithmetic by plain transformers, peft and torch, one sample at a time: what iikata is held against."""

import warnings
from collections.abc import Sequence
from functools import partial
from math import log
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from iikata.core.encoded import Encoded
from iikata.core.records import Example
from iikata.model.adapters import adapter_file
from iikata.model.base import Base
from iikata.tokenize import encode


def plain(folder: Path, dtype: str = "float32") -> Any:
    """Return transformers' own model. Its SDPA attention knows no softcap, so Gemma 2 is eager."""
    from transformers import AutoConfig, AutoModelForCausalLM

    attention = "eager" if AutoConfig.from_pretrained(folder).model_type == "gemma2" else "sdpa"
    kind = getattr(torch, dtype)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=kind, attn_implementation=attention).eval()
    return exact_norms(model)


def exact_norms(model: Any) -> Any:
    """Keep a float64 model in float64: the RMS norms of Llama, Qwen and Gemma round to float32 on their way."""

    def exact(norm: Any, x: Tensor) -> Tensor:
        eps = norm.eps if hasattr(norm, "eps") else norm.variance_epsilon
        weight = 1 + norm.weight if "Gemma" in type(norm).__name__ else norm.weight
        return weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)

    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and module.weight.dtype == torch.float64:
            module.forward = partial(exact, module)
    return model


def with_adapter(folder: Path, adapter: Path, dtype: str = "float32") -> Any:
    """Return peft's model of the adapter on disk, its weights trainable."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft calls what transformers has renamed
        return PeftModel.from_pretrained(plain(folder, dtype), adapter, is_trainable=True).eval()


def new_adapter(folder: Path, **settings: Any) -> Any:
    """Return peft's model with a fresh adapter."""
    from peft import LoraConfig, get_peft_model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(plain(folder), LoraConfig(task_type="CAUSAL_LM", **settings)).eval()


def save_adapter(base: Base, arm: str, folder: Path) -> Path:
    """Save an arm of `base` as a run does."""
    assert base.adapters is not None
    adapter_file.save(folder, base.adapters.weights(arm), base.adapters.shape, base="owner/name")
    return folder


def warped(logits: Tensor, ids: Sequence[int], sampling: Any) -> Tensor:
    """Return the probabilities [R, V] that transformers' own warpers leave of logits [R, V] behind these tokens."""
    from transformers import (
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    chain = [
        RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty),
        TemperatureLogitsWarper(sampling.temperature),
        *([TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []),
        *([TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []),
    ]
    for warper in chain:
        logits = warper(torch.tensor([list(ids)] * len(logits)), logits)
    return logits.double().softmax(-1)


def logits(model: Any, sample: Encoded) -> Tensor:
    """Return the logits of every token of a sample, [T, V]."""
    return model(input_ids=torch.tensor([sample.input_ids])).logits[0]


def token_losses(model: Any, sample: Encoded) -> Tensor:
    """Return the losses of the tokens that count, in order."""
    counted = torch.tensor(sample.completion_mask[1:])
    targets = torch.tensor(sample.input_ids[1:])
    return cross_entropy(logits(model, sample)[:-1][counted], targets[counted], reduction="none")


def bits_per_byte(model: Any, tokenizer: Any, template: Any, row: Example) -> float:
    """Return the nll of a held-out row: bits a byte of its answer, without the end token."""
    with torch.no_grad():
        losses = token_losses(model, encode(row, template, tokenizer, 200))[:-1]
    return float(losses.sum()) / log(2) / len(row.output.encode())


def mean_loss(model: Any, samples: Sequence[Encoded]) -> Tensor:
    """Return the mean over all tokens that count, of all samples together."""
    return torch.cat([token_losses(model, sample) for sample in samples]).mean()


def named(model: Any) -> dict[str, Tensor]:
    """Return peft's adapter parameters under iikata's names."""
    found = {}
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            found[name.removeprefix("base_model.model.").removesuffix(".default.weight")] = parameter
    return found


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Return ||a - b|| / ||b||."""
    return float((ours.double() - theirs.double()).norm() / theirs.double().norm())
