"""Load a model, give it the attention that its device has, and refuse one that gives other logits so."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from iikata.core.errors import IikataError
from iikata.core.system import keep_freed_memory
from iikata.model import fp8, rotary
from iikata.model.attention.registry import NAME, register
from iikata.model.base import Base, head_width, layer_configs
from iikata.model.files.code import configuration, refusal, refuse_other_heads
from iikata.model.fit import hold, refuse_misfits
from iikata.model.layers import decoder_layers, run_layers
from iikata.model.stages import LaidOver, device_map

MOST_ROUNDING = 0.3
"""Share by which 8-bit products may change the logits of a stand-in text."""


def choose_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def choose_dtype(asked: str, device: torch.device) -> torch.dtype:
    """Resolve `model.dtype`: auto is bfloat16 where the device computes in it, else float16 on CUDA, float32."""
    if asked != "auto":
        return getattr(torch, asked)
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.bfloat16 if fast else torch.float32


def load(
    folder: Path,
    dtype: str = "auto",
    quantize: str = "none",
    device: torch.device | None = None,
    compute: str = "dtype",
    trusted: bool = False,
    weights: str | None = None,
    devices: Sequence[torch.device] = (),
) -> Base:
    """Load the model in `folder`, frozen, with iikata's attention. Safetensors only; own code only where `trusted`.

    Over several `devices`, each tensor goes straight to its own. The logits are held against transformers'; what was
    found is kept where `weights` name the files' contents.
    """
    register()
    device = devices[-1] if devices else device or choose_device()
    if device.type == "cpu":
        keep_freed_memory()
    kind = choose_dtype(dtype, device)
    if len(devices) > 1 and (quantize != "none" or compute != "dtype"):
        raise IikataError("a base on several devices goes without model.quantize and model.compute: leave them out.")
    refuse_unmet(device, kind, quantize, compute)
    config = configuration(folder, trusted)
    refuse_other_heads(folder, config)
    model = _opened(folder, config, kind, trusted, quantize, devices or [device])
    if quantize == "none" and len(devices) < 2:
        model.to(device)
    base = ready(Base(model, folder, device, kind), weights, devices)
    if compute == "fp8":
        _round_to_fp8(base)
    return base


def _opened(
    folder: Path, config: Any, kind: torch.dtype, trusted: bool, quantize: str, devices: Sequence[torch.device]
) -> Any:
    """Return the frozen model as transformers opens it. Raises IikataError where the files do not fit it."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # its tables of weights that do not fit are told below, in a line
    try:
        opened: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            output_loading_info=True,
            dtype=kind,
            attn_implementation=NAME,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=trusted,
            **_quantized(quantize, devices[-1]),
            **_placed(config, kind, devices),
        )
    except IikataError:
        raise
    except Exception as error:  # untrusted files make transformers raise anything
        raise refusal(folder, error, config) from None
    model, found = opened
    refuse_misfits(model, folder, found)
    for layer in model.modules():
        # On processors with AVX512-BF16 bitsandbytes would pack 4 bits for a product through which no gradient flows.
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    # In eval mode the base's own dropout never acts; the adapters' does, keyed by arm.
    return model.eval().requires_grad_(False)


def _round_to_fp8(base: Base) -> None:
    """Make the layers' products in 8 bits, note the share of a token's logits that changes, refuse beyond rounding."""
    # From all over the vocabulary: its first tokens are special ones, which no text has in a row.
    last = base.config.get_text_config().vocab_size - 1
    ids = torch.linspace(0, last, 64, device=base.device).long()[None]
    positions = torch.arange(64, device=base.device)[None]
    with torch.no_grad():
        wanted = base.logits(base.hidden(ids, positions))
        fp8.install(decoder_layers(base.model))
        change = base.logits(base.hidden(ids, positions)) - wanted
    base.rounding = float((change.norm(dim=-1) / wanted.norm(dim=-1)).median())
    if not base.rounding < MOST_ROUNDING:
        raise IikataError(
            f"{base.folder}: model.compute: fp8 changes this model's logits by a share of {base.rounding:.2g}, "
            "more than rounding. Leave model.compute out."
        )


def _placed(config: Any, kind: torch.dtype, devices: Sequence[torch.device]) -> dict[str, Any]:
    if len(devices) < 2:
        return {}
    from iikata.model.memory import without_weights

    return {"device_map": device_map(without_weights(config, kind), devices)}


def ready(base: Base, weights: str | None = None, devices: Sequence[torch.device] = ()) -> Base:
    """Give a loaded, frozen model the attention that its device has, and refuse one that gives other logits so.

    `devices`: where its parts lie already, if they are several.
    """
    if len(devices) > 1:
        if hasattr(base.model, "hf_device_map"):
            from accelerate.hooks import remove_hook_from_submodules

            remove_hook_from_submodules(base.model)  # transformers' own way from device to device
        base.laid_over = LaidOver(base.model, devices)
    if _flashes(base):
        rotary.install(base.model)
        base.runners = run_layers(base.model)
    for stage in base.laid_over.stages if base.laid_over else ():
        stage.flash = bool(base.runners)
    base.longest = hold(base, weights)
    return base


def refuse_unmet(device: torch.device, dtype: torch.dtype, quantize: str, compute: str) -> None:
    """Raise IikataError where this machine lacks what a setting needs; the doctor asks before anything is loaded."""
    able = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)
    if compute == "fp8" and (not able or dtype != torch.bfloat16 or quantize != "none"):
        raise IikataError(
            "model.compute: fp8 needs a GPU from Ada or Hopper on, bfloat16 and no model.quantize; "
            f"saw {device.type}, {str(dtype).removeprefix('torch.')}, {quantize}. Leave model.compute out."
        )
    if quantize != "none" and find_spec("bitsandbytes") is None:
        raise IikataError(f"model.quantize: {quantize} needs the package bitsandbytes: pip install bitsandbytes.")


def _flashes(base: Base) -> bool:
    """Return whether flash kernels can do this model's attention: from Ampere on, in 16 bits, plain scores."""
    if base.device.type != "cuda" or base.dtype not in (torch.bfloat16, torch.float16):
        return False
    config = base.config.get_text_config()
    width = max(map(head_width, layer_configs(config)))
    # A squashed score, values of another width than keys, a score that leads nowhere.
    odd = getattr(config, "attn_logit_softcapping", None) or getattr(config, "v_head_dim", None)
    odd = odd or any("sink" in name for name, _ in base.model.named_parameters())
    return torch.cuda.get_device_capability(base.device) >= (8, 0) and width % 8 == 0 and width <= 256 and not odd


def _quantized(quantize: str, device: torch.device) -> dict[str, Any]:
    if quantize == "none":
        return {}
    from transformers import BitsAndBytesConfig

    kinds: dict[str, dict[str, Any]] = {
        "8bit": {"load_in_8bit": True},
        "4bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    }
    return {"quantization_config": BitsAndBytesConfig(**kinds[quantize]), "device_map": {"": device}}
