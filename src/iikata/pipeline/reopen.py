"""Open an adapter to answer with or to hand on: as it was trained, and not without effect."""

from pathlib import Path
from typing import TYPE_CHECKING

from iikata.core.errors import IikataError
from iikata.core.io import sha256_of
from iikata.pipeline.context import RunContext
from iikata.run_folder import read_object

if TYPE_CHECKING:
    from iikata.model.adapters.flat import LoraShape, Weights


def whole_adapter(ctx: RunContext, folder: Path) -> "tuple[Weights, LoraShape]":
    """Return the adapter in `folder`. Raises IikataError where it is not what was trained, or dead."""
    from iikata.model.adapters import adapter_file

    path, lora = folder / adapter_file.WEIGHTS, ctx.experiment.train.lora
    weights, shape = adapter_file.read(folder)
    trained = _trained(folder)
    if trained and sha256_of(path) != trained:
        raise IikataError(f"{path}: other bytes than were trained (damaged or edited). iikata run trains it anew.")
    if (shape.r, shape.alpha) != (lora.r, lora.alpha):
        raise IikataError(
            f'{folder / adapter_file.CONFIG}: "r" {shape.r} and "lora_alpha" {shape.alpha:g}, where the experiment '
            f"has train.lora.r {lora.r} and train.lora.alpha {lora.alpha}. Put back what the arm was trained with."
        )
    if not any(bool(tensor.any()) for name, tensor in weights.items() if name.endswith("lora_B")):
        raise IikataError(
            f"{path}: every lora_B is zero, so the adapter would answer exactly as the untuned base does. "
            "Copy it again from where it comes, or train the arm again."
        )
    return weights, shape


def _trained(folder: Path) -> str:
    """Return the sha256 of the weights as they were trained, "" where nobody kept it."""
    from iikata.model.adapters.adapter_file import WEIGHTS

    files = read_object(folder / "DONE").get("files")
    return str(files.get(WEIGHTS, "")) if isinstance(files, dict) else ""
