"""The adapters that the engine cannot hold: each is a model of its own, made when it speaks, one at a time."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from iikata.config import Experiment
from iikata.core.records import Arm
from iikata.pipeline.elsewhere import refuse_unmergeable, stored_of
from iikata.run_folder import RunFolder

if TYPE_CHECKING:
    from iikata.model.base import Base


class Copies:
    """The base with one such adapter merged in, beside the base itself: the last that was asked for is kept."""

    def __init__(self, experiment: Experiment, place: Path, weights: str, base: "Callable[[], Base]") -> None:
        self._experiment, self._place, self._weights, self._base = experiment, place, weights, base
        self._held: tuple[Path, Base] | None = None

    def of(self, adapter: Path) -> "Base":
        """Return the base with the adapter in this folder merged in. Raises IikataError where that is not exact."""
        from iikata.model.adapters.merged import merged_base

        if self._held is None or self._held[0] != adapter:
            self._held = None  # before the next is made, so that there is one at a time
            base = self._base()
            refuse_unmergeable(self._experiment, len(base.devices))
            self._held = adapter, merged_base(self._place, adapter, base.device, self._weights)
        return self._held[1]

    def drop(self) -> None:
        self._held = None


def make_ready(experiment: Experiment, store: RunFolder, base: "Base", apart: Collection[Arm]) -> None:
    """Put slots on the base for all arms but those `apart`. Raises IikataError for an adapter that does not fit."""
    from iikata.model.adapters.lora import linears_of

    lora, shapes = experiment.train.lora, {}
    for arm in (arm for arm in experiment.arms() if arm not in apart):
        if (recipe := experiment.recipes[str(arm.variant)]).adapters:
            stored = stored_of(experiment, store, arm)
            stored.refuse_misfit(name for name, _ in linears_of(base.model))
            shapes[arm.name] = stored.same_shape()[1]
        else:
            shapes[arm.name] = base.lora_shape(**dict(recipe.train.lora))
    adapters = base.adapt(lora.r, lora.alpha, lora.dropout, lora.target_modules, shapes.values())
    adapters.shapes = shapes
