"""Open the base: on one device, or laid over as few GPUs as hold it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iikata.config import Experiment
from iikata.core.errors import IikataError
from iikata.pipeline import signature
from iikata.pipeline.events import OnEvent, Told, Warned

if TYPE_CHECKING:
    import torch

    from iikata.model.base import Base

ALONE, SHARED = 0.85, 0.75
"""Of a GPU's memory, what weights may take: on one GPU, and on each of several, which hold several arms' buffers."""


def devices_of(experiment: Experiment, folder: Path) -> "list[torch.device]":
    """Return where the base's layers are to lie. Raises IikataError where model.stages asks for what is not there."""
    import torch

    from iikata.model.load import choose_device, choose_dtype

    model = experiment.model
    here = torch.device("cpu") if experiment.devices == "cpu" else choose_device()
    count = torch.cuda.device_count() if here.type == "cuda" else 0
    if model.stages != "auto":
        if here.type == "cuda" and model.stages > count:
            raise IikataError(
                f"{experiment.at('model', 'stages')}model.stages: {model.stages} is asked for, and of GPUs this "
                f"machine has {count}. Give at most {count}, or auto."
            )
        several = here.type == "cuda" and model.stages > 1
        return [torch.device("cuda", index) if several else here for index in range(model.stages)]
    if count < 2 or experiment.devices != "auto" or model.quantize != "none" or model.compute != "dtype":
        return [here]
    return few_that_hold(folder, choose_dtype(model.dtype, here))


def few_that_hold(folder: Path, dtype: "torch.dtype") -> "list[torch.device]":
    """Return as few of this machine's devices as hold the base. Raises IikataError where all are too few."""
    import torch

    from iikata.model.load import choose_device

    count = torch.cuda.device_count() if (here := choose_device()).type == "cuda" else 0
    weights = weight_bytes(folder, dtype) if count > 1 else 0
    if count < 2 or weights <= ALONE * torch.cuda.get_device_properties(0).total_memory:
        return [here]
    free = [torch.cuda.mem_get_info(index)[0] for index in range(count)]
    return [torch.device("cuda", index) for index in range(fewest(weights, free))]


def fewest(weights: int, free: Sequence[int]) -> int:
    """Return over how many GPUs with `free` bytes each the weights go. Raises IikataError where all are too few."""
    for count in range(2, len(free) + 1):
        if weights <= SHARED * count * min(free[:count]):
            return count
    raise IikataError(
        f"the base's weights take {weights / 1e9:.0f} GB, and the {len(free)} GPUs of this machine have "
        f"{min(free) / 1e9:.0f} GB free each, of which {SHARED:.0%} may be weights. Use more GPUs, free them, hold the "
        "base in fewer bits (model.quantize: 4bit), or take a smaller one."
    )


def weight_bytes(folder: Path, dtype: "torch.dtype") -> int:
    """Return the bytes of a model's weights as they are loaded; reads the files' headers alone."""
    from safetensors import safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                total += math.prod(file.get_slice(name).get_shape())
    return total * dtype.itemsize


def open_base(
    experiment: Experiment, folder: Path, trusted: bool, signed: str, devices: "Sequence[torch.device]", emit: OnEvent
) -> "Base":
    """Load the frozen model whose files are `signed`, onto its devices."""
    from iikata.model.load import load

    model, (device, *more) = experiment.model, devices
    loaded = load(folder, model.dtype, model.quantize, device, model.compute, trusted, signed, devices if more else ())
    if (seen := signature.model_fingerprint(folder, trusted)) != signed:
        raise IikataError(
            f"{folder}: the files changed (weights {signed} -> {seen}) after they were signed and before they were "
            "loaded. Wait until all of them are in place and run the same command again."
        )
    if model.compute == "fp8":
        emit(Warned(f"model.compute: fp8 changes the base's logits by a share of {loaded.rounding:.2g}"))
    if more:
        stages = loaded.laid_over.stages if loaded.laid_over else ()
        parts = ", ".join(f"{one.start} to {one.stop - 1} on {one.device}" for one in stages)
        told = f"the base is laid over {len(stages)} devices, layers {parts}; arms follow one another through them"
        emit(Told(told))
    return loaded
