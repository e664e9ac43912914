"""What adapter_config.json says of an adapter, as PEFT writes it; only what plain LoRA knows is allowed."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from iikata.core.errors import IikataError
from iikata.core.io import read_json, shown

CONFIG = "adapter_config.json"
MOST_BYTES = 1 << 22
HARMLESS = {
    "auto_mapping", "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out", "inference_mode",
    "layers_pattern", "layers_to_transform", "megatron_core", "peft_version", "qalora_group_size", "runtime_config",
    "task_type",
}  # fmt: skip
"""Settings, beside AdapterConfig's, that leave the tensors' meaning as it is: which layers have an adapter is seen in
their names, and only Conv1D layers, which no adapter is put on, turn their weights."""
PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Values of init_lora_weights that leave the base's weights as they are."""
AGAIN = "Copy the file again from where the adapter comes, or train the arm again."
MERGE = (
    "iikata reads plain LoRA only. Merge it where you trust it (in peft: PeftModel.from_pretrained(model, FOLDER)"
    ".merge_and_unload().save_pretrained(DEST)) and give DEST as the model."
)
Text = Annotated[str | None, Field(default=None, description="a text or null is allowed")]


class AdapterConfig(BaseModel):
    """The settings of a plain LoRA adapter, by PEFT's names; a description says what is allowed.

    PEFT's own LoraConfig takes values of any type, so that it could not say which one is wrong.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    target_modules: (
        Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | Literal["all-linear"]
    ) = Field(description="the list of the modules' names is allowed; write a pattern so")
    r: int = Field(ge=1, description="a whole number from 1 on is allowed, the rank of the weights")
    lora_alpha: float = Field(gt=0, allow_inf_nan=False, description="a number above 0 is allowed")
    lora_dropout: float = Field(default=0.0, ge=0, lt=1, description="a share from 0 to below 1 is allowed")
    use_rslora: bool = Field(default=False, description="true or false is allowed")
    base_model_name_or_path: Text
    revision: Text


def read_config(folder: Path) -> AdapterConfig:
    """Return what the folder's adapter_config.json says. Raises IikataError with the file and the key."""
    path = folder / CONFIG
    if not path.is_file():
        what = "not a file" if path.exists() else "no such file"
        raise IikataError(f"{path}: {what}, so {folder} holds no adapter. PEFT's save_pretrained writes it.")
    values = read_json(path, dict[str, Any], AGAIN, MOST_BYTES)
    if odd := [key for key, value in values.items() if not _is_plain(key, value)]:
        raise IikataError(f'{path}: "{odd[0]}" is {shown(values[odd[0]])}. {MERGE}')
    try:
        return AdapterConfig.model_validate(values)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        seen = f"is {shown(values[key])}" if key in values else "is missing"
        allowed = AdapterConfig.model_fields[key].description
        raise IikataError(f'{path}: not an adapter configuration: "{key}" {seen}; {allowed}. {AGAIN}') from None


def _is_plain(key: str, value: Any) -> bool:
    """Return whether plain LoRA has the setting; one that only another PEFT knows must be off."""
    if key == "init_lora_weights":
        return value in PLAIN_STARTS
    return key in HARMLESS or key in AdapterConfig.model_fields or not value or value == _defaults().get(key)


@cache
def _defaults() -> dict[str, Any]:
    from peft import LoraConfig

    return {**LoraConfig().to_dict(), "peft_type": "LORA"}
