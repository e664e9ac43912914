"""The frozen base model: loaded once, never changed, read by every arm."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iikata.errors import IikataError
from iikata.model.attention import NAME, Layout, register
from iikata.model.lora import Adapters, LoraShape, resolve_targets


@dataclass
class Base:
    """A frozen model on its device. B batch, T tokens, D width, V vocabulary."""

    model: Any
    folder: Path
    device: torch.device
    dtype: torch.dtype
    adapters: Adapters | None = None

    @property
    def config(self) -> Any:
        return self.model.config

    def hidden(self, input_ids: Tensor, positions: Tensor, layout: Layout) -> Tensor:
        """Run the decoder: ids and positions [B, T] -> last hidden states [B, T, D]."""
        decoder = self.model.base_model
        out = decoder(input_ids=input_ids, position_ids=positions, use_cache=False, layout=layout)
        return out.last_hidden_state

    def logits(self, hidden: Tensor) -> Tensor:
        """Run the frozen head: [..., D] -> [..., V] in float32 (float64 for a float64 model)."""
        logits = self.model.get_output_embeddings()(hidden)
        logits = logits.float() if logits.dtype != torch.float64 else logits
        cap = getattr(self.config, "final_logit_softcapping", None)
        return torch.tanh(logits / cap) * cap if cap else logits

    def adapt(self, r: int, alpha: float, dropout: float, target_modules: str | Iterable[str]) -> Adapters:
        """Put empty adapter slots on the model; `target_modules` as in the experiment."""
        targets = resolve_targets(target_modules, self.config.model_type, self.model)
        self.adapters = Adapters(self.model, LoraShape(r, alpha, dropout, targets))
        return self.adapters

    def speak(self, arm: str | None, generator: torch.Generator | None = None) -> None:
        """Answer as `arm` from now on; None is the untuned base."""
        if self.adapters is not None:
            self.adapters.speak(arm, generator)
        elif arm is not None:
            raise KeyError(arm)


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


def load(folder: Path, dtype: str = "auto", quantize: str = "none", device: torch.device | None = None) -> Base:
    """Load the model in `folder`, frozen, with iikata's attention. Safetensors only, no remote code."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    register()
    logging.disable_progress_bar()
    device = device or choose_device()
    kind = choose_dtype(dtype, device)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=kind,
            attn_implementation=NAME,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **_quantized(quantize, device),
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise IikataError(f"{folder}: the model cannot be loaded: {str(error).strip().splitlines()[0]}") from None
    # In eval mode the base's own dropout never acts; the adapters' does, keyed by arm.
    model.eval().requires_grad_(False)
    if quantize == "none":
        model.to(device)
    return Base(model, folder, device, kind)


def _quantized(quantize: str, device: torch.device) -> dict[str, Any]:
    if quantize == "none":
        return {}
    try:
        import bitsandbytes  # noqa: F401
        from transformers import BitsAndBytesConfig
    except ImportError:
        raise IikataError(
            f"model.quantize: {quantize} needs the package bitsandbytes: pip install bitsandbytes."
        ) from None
    bits = {"8bit": {"load_in_8bit": True}, "4bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}}[quantize]
    return {"quantization_config": BitsAndBytesConfig(**bits), "device_map": {"": device}}
