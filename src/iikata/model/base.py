"""The frozen base model: loaded once, never changed, read by every arm."""

import ctypes
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iikata.core.errors import IikataError
from iikata.model import fp8, rotary
from iikata.model.adapters.flat import LoraShape
from iikata.model.adapters.lora import Adapters, resolve_targets
from iikata.model.attention.registry import NAME, Layout, laid_out, register
from iikata.model.attention.varlen import Limits
from iikata.model.buffers import Buffer, Part, pack
from iikata.model.files.code import configuration, refusal, refuse_other_heads
from iikata.model.fit import hold, refuse_misfits
from iikata.model.layers import Runner, decoder_layers, decoder_of, run_layers, vary
from iikata.model.loss import Head, head_of

MOST_ROUNDING = 0.3
"""Share by which 8-bit products may change the logits of a stand-in text."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Options of glibc's mallopt(3)."""


@dataclass
class Base:
    """A frozen model on its device. B batch, T tokens, D width, V vocabulary."""

    model: Any
    folder: Path
    device: torch.device
    dtype: torch.dtype
    adapters: Adapters | None = None
    runners: list[Runner] = field(default_factory=list)
    """What runs the decoder layers where flash kernels do the attention; empty elsewhere."""
    rounding: float = 0.0
    """Share by which products in 8 bits changed the logits of a stand-in text."""
    longest: int | None = None
    """Tokens of the longest sample whose logits are transformers'; None for no end."""

    @cached_property
    def decoder(self) -> Any:
        """What turns tokens into last hidden states."""
        return decoder_of(self.model)

    @property
    def config(self) -> Any:
        return self.model.config

    @property
    def kv_bytes_a_token(self) -> int:
        """Bytes that one token's keys and values take over all layers."""
        layers = layer_configs(self.config)
        heads = (getattr(one, "num_key_value_heads", None) or one.num_attention_heads for one in layers)
        return 2 * self.dtype.itemsize * sum(n * head_width(one) for n, one in zip(heads, layers, strict=True))

    def hidden(self, input_ids: Tensor, positions: Tensor, layout: Layout | None = None) -> Tensor:
        """Run the decoder: ids and positions [B, T] -> last hidden states [B, T, D]; no layout is plain causal."""
        # Compiled layers must find the layout among their inputs.
        given = {"layout": layout} if self.runners else {}
        with laid_out(layout):
            out = self.decoder(input_ids=input_ids, position_ids=positions, use_cache=False, **given)
        return out.last_hidden_state

    def refuse_beyond(self, tokens: int, what: str) -> None:
        """Raise IikataError for more tokens than this model is computed exactly for."""
        if self.longest is not None and tokens > self.longest:
            raise IikataError(
                f"{what} has {tokens:,} tokens. Beyond {self.longest:,}, {self.config.model_type} as config.json "
                "describes it attends in another way (a window, a chunk, rotary frequencies that follow the length) "
                "or has learned no positions, which is not supported. Use shorter ones: train.cutoff_len, "
                "generate.max_new_tokens."
            )

    def pack(self, parts: Sequence[Part], limits: Limits, bucketed: bool = False) -> Buffer:
        """Pack the parts into one buffer, laid out for the attention that this device has."""
        self.refuse_beyond(max((len(s.input_ids) for part in parts for s in part.samples), default=0), "a row")
        if not self.runners:
            return pack(parts, self.device, bucketed=bucketed)
        window = getattr(self.config.get_text_config(), "sliding_window", None)
        if window and window < limits.longest:
            # A window that ends inside a sample counts from each query, which shared keys cannot follow.
            parts = [replace(part, prefixes=()) for part in parts]
        buffer = pack(parts, self.device, limits, bucketed)
        if self.runners[0].compile:
            vary(buffer)
        return buffer

    @property
    def head(self) -> Head:
        """The frozen head."""
        return head_of(self.model)

    def logits(self, hidden: Tensor) -> Tensor:
        """Run the frozen head: [..., D] -> [..., V] in float32 (float64 for a float64 model)."""
        return self.head.logits(hidden)

    def run_layers(self, compiled: bool, checkpointed: bool = False) -> None:
        """Say how packed buffers run through the layers; without flash kernels this changes nothing."""
        for runner in self.runners:
            runner.compile, runner.checkpoint = compiled, checkpointed

    def adapt(self, r: int, alpha: float, dropout: float, target_modules: str | Iterable[str]) -> Adapters:
        """Put empty adapter slots on the model; `target_modules` as in the experiment."""
        targets = resolve_targets(target_modules, self.config.model_type, self.model)
        self.adapters = Adapters(self.model, LoraShape(r, alpha, dropout, targets))
        return self.adapters

    def set_adapter(self, arm: str | None) -> None:
        """Answer as `arm` from now on, without dropout; None is the untuned base."""
        if self.adapters is not None:
            self.adapters.set_adapter(arm)
        elif arm is not None:
            raise KeyError(arm)


def keep_freed_memory() -> None:
    """Tell glibc to keep large freed blocks: on CPU every step asks for the same sizes again.

    Given back to the system, their pages must be zeroed anew; kept, training and decoding take a sixth less time.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            libc.mallopt(option, 1 << 30)


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
) -> Base:
    """Load the model in `folder`, frozen, with iikata's attention. Safetensors only; own code only where `trusted`.

    Its logits are held against transformers'; what was found is kept where `weights` name the files' contents.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    register()
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # its tables of weights that do not fit are told below, in a line
    device = device or choose_device()
    if device.type == "cpu" and sys.platform == "linux":
        keep_freed_memory()
    kind = choose_dtype(dtype, device)
    refuse_unmet(device, kind, quantize, compute)
    config = configuration(folder, trusted)
    refuse_other_heads(folder, config)
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
            **_quantized(quantize, device),
        )
    except IikataError:
        raise
    except Exception as error:  # what a stranger's files make of transformers has no class of its own
        raise refusal(folder, error, config) from None
    model, found = opened
    refuse_misfits(model, folder, found)
    # In eval mode the base's own dropout never acts; the adapters' does, keyed by arm.
    model.eval().requires_grad_(False)
    if quantize == "none":
        model.to(device)
    base = ready(Base(model, folder, device, kind), weights)
    if compute == "fp8":
        _round_to_fp8(base)
    return base


def _round_to_fp8(base: Base) -> None:
    """Make the layers' products in 8 bits and note what that changes; refuse a model it changes beyond rounding."""
    ids = torch.arange(64, device=base.device)[None] % base.config.get_text_config().vocab_size
    positions = torch.arange(64, device=base.device)[None]
    with torch.no_grad():
        wanted = base.logits(base.hidden(ids, positions))
        fp8.install(decoder_layers(base.model))
        base.rounding = float((base.logits(base.hidden(ids, positions)) - wanted).norm() / wanted.norm())
    if not base.rounding < MOST_ROUNDING:
        raise IikataError(
            f"{base.folder}: model.compute: fp8 changes this model's logits by a share of {base.rounding:.2g}, "
            "more than rounding. Leave model.compute out."
        )


def ready(base: Base, weights: str | None = None) -> Base:
    """Give a loaded, frozen model the attention that its device has, and refuse one that gives other logits so."""
    if _flashes(base):
        rotary.install(base.model)
        base.runners = run_layers(base.model)
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


def layer_configs(config: Any) -> list[Any]:
    """Return what each layer's attention follows from; Gemma 4's have heads of two widths."""
    text = config.get_text_config()
    found = getattr(text, "per_layer_config", None) or [text] * text.num_hidden_layers
    return list(found.values() if isinstance(found, dict) else found)


def head_width(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


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
