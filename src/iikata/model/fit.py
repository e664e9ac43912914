"""Refuse a loaded model whose files are not of one model, or whose logits would not be transformers'."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from iikata.errors import IikataError
from iikata.model.attention import NAME
from iikata.model.packed import Group, Packed
from iikata.model.varlen import Limits, lay_out

if TYPE_CHECKING:
    from iikata.model.base import Base

_UNSUPPORTED = "this architecture is not supported (tested: Llama, Qwen, Gemma, GPT-NeoX)"


def refuse_misfits(model: Any, folder: Path, found: dict[str, Any]) -> None:
    """Raise IikataError where config.json and weights are not of one model; transformers makes up what is not there."""
    cure = "Config and weights are not of one model: fetch it again, whole."
    if lacking := sorted(found["missing_keys"]):
        raise IikataError(
            f"{folder}: the weights lack {len(lacking)} tensors of the model, the first is {lacking[0]}. {cure}"
        )
    layers = tuple(name + "." for name, part in model.named_modules() if isinstance(part, torch.nn.ModuleList))
    if more := sorted(name for name in found["unexpected_keys"] if name.startswith(layers)):
        raise IikataError(
            f"{folder}: the weights hold {len(more)} tensors of layers that config.json does not name, the first is "
            f"{more[0]}. {cure}"
        )


def refuse_unsupported(base: "Base") -> None:
    """Raise IikataError where two packed samples' logits are not those that transformers gives for each alone.

    That happens without a word where a model ignores a foreign attention (Bloom), carries a state instead (Mamba) or
    scales its logits (Granite, Cohere).
    """
    parts = ((0, 5), (5, 12))
    ids = torch.arange(12, device=base.device)[None] % base.config.get_text_config().vocab_size
    positions = torch.cat([torch.arange(b - a, device=base.device) for a, b in parts])[None]
    try:
        with torch.inference_mode():
            groups = (Group((0, 0), parts),)
            flat = (
                lay_out(groups, 12, Limits(7, 12, 1), base.device) if base.runners else Packed(groups, 12, base.device)
            )
            own = base.logits(base.hidden(ids, positions, flat))[0]
            base.model.set_attn_implementation("eager")
            wanted = torch.cat([base.model(input_ids=ids[:, a:b], use_cache=False).logits[0] for a, b in parts])
            base.model.set_attn_implementation(NAME)
        distance = float((own - wanted).norm() / wanted.norm())
    except Exception as error:  # of a foreign architecture, or of a model's own code
        raise IikataError(f"{base.folder}: {_UNSUPPORTED} ({type(error).__name__}: {error}).") from None
    # Rounding is far below this, and what is to be caught is of the order of 1.
    if not distance < 0.1:
        raise IikataError(
            f"{base.folder}: {_UNSUPPORTED}: logits of {base.config.model_type} differ from transformers' by a share "
            f"of {distance:.2g}."
        )
