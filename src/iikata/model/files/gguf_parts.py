"""Account for all that a .gguf file holds of a model: transformers drops what it has no name for without a word."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from iikata.core.errors import IikataError

ROPE_FACTORS = "rope_freqs.weight"
SETTINGS = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "vocab_size": "vocab_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
"""A setting of the file -> the same of transformers' config."""
NO_MATTER = {"context_length", "tensor_data_layout", "rope.scaling.finetuned"}
OTHER = "The logits would not be the model's own. Give the model's own folder instead of this file."
PUBLISHED = (1.0, 4.0, 8192.0)
"""low_freq_factor, high_freq_factor and original_max_position_embeddings of Llama 3.1, 3.2 and 3.3."""
CLOSE = 1e-4


def refuse_unused(path: Path, kind: str, names: set[str], model: Any, info: Mapping[str, Any]) -> None:
    """Raise IikataError for a tensor of the file that `model` has not got, or one of the model that the file lacks.

    `kind` is the file's architecture.
    """
    from transformers import modeling_gguf_pytorch_utils as reader

    if lacking := sorted(info["missing_keys"]):
        seen = f"the file lacks {len(lacking)} tensors of the model, the first is {lacking[0]}"
        raise IikataError(f"{path}: {seen}. {OTHER}")
    processor = reader.TENSOR_PROCESSORS.get(kind, reader.TensorProcessor)(config=model.config.to_dict())
    used = {ROPE_FACTORS, *reader.get_gguf_hf_weights_map(model, processor)}
    if more := sorted(name for name in names - used if name.removesuffix(".weight") not in used):
        raise IikataError(
            f"{path}: transformers uses {len(names) - len(more)} of the file's {len(names)} tensors; the first that it "
            f"drops is {more[0]}. {OTHER}"
        )


def refuse_unread(path: Path, fields: Mapping[str, Any], config: Any) -> None:
    """Raise IikataError for a setting of the model that transformers did not read, or read as another value."""
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    kind = fields["general.architecture"]
    read: Mapping[str, Any] = GGUF_CONFIG_MAPPING.get(kind, {})  # type: ignore[assignment]
    own = {key.removeprefix(f"{kind}."): value for key, value in fields.items() if key.startswith(f"{kind}.")}
    for key, value in own.items():
        seen = _seen(config, key)
        unset = value in (0, "none") or (key == "attention.sliding_window" and value >= own.get("context_length", 0))
        if unset or key in NO_MATTER or (not seen and read.get(key)):
            continue
        if not any(np.allclose(one, value, rtol=1e-5) for one in seen):
            raise IikataError(
                f"{path}: {kind}.{key}: {value} was seen, and transformers makes {seen or 'nothing'} of it. {OTHER}"
            )


def _seen(config: Any, key: str) -> list[Any]:
    """Return what the config has under the name of a setting of the file."""
    ropes = getattr(config, "rope_parameters", None) or {}
    ropes = [ropes] if "rope_theta" in ropes else list(ropes.values())  # Gemma 3 has one a kind of layer
    if key == "rope.freq_base":
        return [rope["rope_theta"] for rope in ropes]
    if key == "rope.dimension_count":
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return [int(width * rope.get("partial_rotary_factor", 1)) for rope in ropes]
    value = getattr(config, SETTINGS.get(key, ""), None)
    return [] if value is None else [value]


def rope_parameters(path: Path, factors: np.ndarray, config: Any) -> dict[str, Any]:
    """Return transformers' "llama3" parameters that divide the rotary frequencies by these factors.

    Raises IikataError where none do.
    """
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    plain = dict(config.rope_parameters)
    base = 1 / plain["rope_theta"] ** (np.arange(len(factors)) / len(factors))
    largest = float(factors.max())
    for low, high, length in (PUBLISHED, *_fitted(factors, base)):
        tried = {"rope_type": "llama3", "rope_theta": plain["rope_theta"], "factor": largest, "low_freq_factor": low}
        tried |= {"high_freq_factor": high, "original_max_position_embeddings": round(length)}
        config.rope_parameters = tried
        made, scale = ROPE_INIT_FUNCTIONS["llama3"](config, None)
        if scale == 1 and made.shape == base.shape and np.allclose(made.numpy() * factors / base, 1, atol=CLOSE):
            return tried
    raise IikataError(f"{path}: {ROPE_FACTORS}: no rotary scaling of transformers has these factors. {OTHER}")


def _fitted(factors: np.ndarray, base: np.ndarray) -> list[tuple[float, float, float]]:
    """Return the parameters that the factors between 1 and the largest follow from; low_freq_factor is 1 by choice."""
    largest = factors.max()
    between = (factors > 1 + CLOSE) & (factors < largest - CLOSE)
    if between.sum() < 2:
        return []
    # 1 / factor = (1 - s) / largest + s, with s = (length / wavelength - low) / (high - low)
    smooth = (1 / factors[between] - 1 / largest) / (1 - 1 / largest)
    slope, start = np.polyfit(base[between] / (2 * np.pi), smooth, 1)
    return [(1.0, 1 - 1 / start, -slope / start)] if start < 0 else []
