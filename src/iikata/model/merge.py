"""Merge an adapter into its base's weights, and prove that the logits stayed."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iikata.errors import IikataError

TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""||merged - adapter|| / ||adapter|| over the next-token logits; half formats round each merged weight once."""


def merge(base: Path, adapter: Path, dest: Path, prompts: Sequence[Sequence[int]], trusted: bool = False) -> float:
    """Write the base in `base` with the PEFT adapter in `adapter` merged in, in the base's own number format.

    Code that comes with the base runs only where it is `trusted`. Returns how far the logits after `prompts` (token
    ids) moved, both computed in float32. Raises IikataError beyond TOLERANCE.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype="auto", use_safetensors=True, local_files_only=True, trust_remote_code=trusted
    )
    kind = model.dtype
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks the model by a name that transformers renamed
        tuned: Any = PeftModel.from_pretrained(_cast(model, torch.float32), str(adapter)).eval()
    before = _logits(tuned, prompts)
    merged = _cast(_cast(tuned.merge_and_unload(), kind), torch.float32)
    moved = float((_logits(merged, prompts) - before).norm() / before.norm())
    if not moved <= TOLERANCE[kind]:
        raise IikataError(
            f"{adapter}: merged in {kind}, its logits move by {moved:.2g} of their size, more than {TOLERANCE[kind]}. "
            "Export the adapter itself, without --merge."
        )
    _cast(merged, kind).save_pretrained(dest)
    return moved


def _cast(model: Any, kind: torch.dtype) -> Any:
    # Parameters only: rotary frequencies are buffers in float32, and rounding them would move every position.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(kind)
    return model


def _logits(model: Any, prompts: Sequence[Sequence[int]]) -> Tensor:
    with torch.inference_mode():
        return torch.stack([model(input_ids=torch.tensor([list(ids)])).logits[0, -1].float() for ids in prompts])
