"""The adapter's shape, as the user declares it."""

from typing import Annotated, Any

from pydantic import Field, model_validator

from iikata.config.kinds import Count, Modules, Settings

OTHER_LORA = {
    "use_dora": "DoRA",
    "init_lora_weights": "another start, as PiSSA's",
    "loraplus_lr_ratio": "LoRA+",
    "rank_pattern": "a rank for each module",
    "alpha_pattern": "a scale for each module",
    "modules_to_save": "modules trained whole",
}
"""PEFT's names of what is not trained here."""


class LoraSettings(Settings):
    """The adapter's shape."""

    r: Count = 8
    """Rank."""
    alpha: Count = 16
    """The update is scaled by alpha / r."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs that are dropped in training."""
    target_modules: Modules = "auto"
    """Modules that get an adapter: auto (what PEFT takes for the architecture), all-linear, or names."""
    use_rslora: bool = False
    """Scale the update by alpha / sqrt(r) (rsLoRA), so that a higher rank does not learn less."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, values: Any) -> Any:
        for name, kind in OTHER_LORA.items():
            if isinstance(values, dict) and name in values:
                raise ValueError(f"plain LoRA and rsLoRA are trained, and {name} asks for {kind}")
        return values
