"""What adapter_config.json says of an adapter, as PEFT writes it: plain LoRA and rsLoRA, and what is beyond them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from iikata.core.errors import IikataError
from iikata.core.io import read_json, shown

CONFIG = "adapter_config.json"
MOST_BYTES = 1 << 22
ALL_LINEAR = "all-linear"
HARMLESS = {
    "auto_mapping", "ensure_weight_tying", "eva_config", "fan_in_fan_out", "inference_mode", "megatron_core",
    "peft_version", "qalora_group_size", "runtime_config", "task_type",
}  # fmt: skip
"""Settings, beside AdapterConfig's, that leave the tensors' meaning as it is: only Conv1D layers, which no adapter is
put on, turn their weights."""
KINDS = {
    "use_dora": "DoRA, whose update is of full rank",
    "modules_to_save": "modules trained whole",
    "trainable_token_indices": "single tokens trained",
    "bias": "biases trained",
    "lora_bias": "a bias in the adapter",
    "layer_replication": "layers used more than once",
    "target_parameters": "adapters on bare parameters, as of a mixture's experts",
    "alora_invocation_tokens": "an adapter that acts from some token on",
    "peft_type": "another kind of adapter",
    "init_lora_weights": "a start that changes the base's weights too",
}
"""What the settings are called that no other reader of plain LoRA could hold exactly either."""
MERGED = ("use_dora", "modules_to_save", "trainable_token_indices", "bias")
"""Those that peft merges into the base's weights exactly. Not among them: layers used more than once, which it would
merge into twice, and a bias in the adapter, for which most layers have no place."""
DEFAULTS = {"peft_type": "LORA", "bias": "none"}
"""Those of peft that every file holds; to ask peft itself takes seconds."""
PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Values of init_lora_weights that leave the base's weights as they are."""
AGAIN = "Copy the file again from where the adapter comes, or train the arm again."
MERGE = (
    "iikata holds plain LoRA, and what peft merges exactly; not this. Merge it where you trust it (in peft: "
    "PeftModel.from_pretrained(model, FOLDER).merge_and_unload().save_pretrained(DEST)) and give DEST as the model."
)
SLOWEST = 1.0
"""Seconds that a pattern from elsewhere may search one module's name."""
Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Above0 = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str | None, Field(default=None, description="a text or null is allowed")]


@dataclass(frozen=True)
class Beyond:
    """Something that an adapter has and plain LoRA has not."""

    said: str
    exact: bool = True
    """Whether peft merges it exactly."""


class PatternError(IikataError):
    """A pattern in the configuration that cannot be searched with; whoever knows the file says which."""


class AdapterConfig(BaseModel):
    """The settings of a LoRA adapter, by PEFT's names; a description says what is allowed.

    PEFT's own LoraConfig takes values of any type, so that it could not say which one is wrong.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    target_modules: Annotated[list[Name], Field(min_length=1)] | Name = Field(
        description="the list of the modules' names, or one regular expression, is allowed"
    )
    r: int = Field(ge=1, description="a whole number from 1 on is allowed, the rank of the weights")
    lora_alpha: float = Field(gt=0, allow_inf_nan=False, description="a number above 0 is allowed")
    lora_dropout: float = Field(default=0.0, ge=0, lt=1, description="a share from 0 to below 1 is allowed")
    use_rslora: bool = Field(default=False, description="true or false is allowed")
    rank_pattern: dict[str, Count] | None = Field(
        default=None, description='an object of whole numbers from 1 on is allowed, as in {"q_proj": 16}'
    )
    alpha_pattern: dict[str, Above0] | None = Field(
        default=None, description='an object of numbers above 0 is allowed, as in {"q_proj": 32}'
    )
    exclude_modules: list[str] | str | None = Field(
        default=None, description="a list of names, a regular expression or null is allowed"
    )
    layers_to_transform: list[int] | int | None = Field(
        default=None, description="a layer's number, a list of them or null is allowed"
    )
    layers_pattern: list[str] | str | None = Field(
        default=None, description="a name, a list of names or null is allowed"
    )
    base_model_name_or_path: Text
    revision: Text

    def rank_of(self, module: str) -> int:
        return self._of(self.rank_pattern, module, self.r)

    def scale_of(self, module: str) -> float:
        """Return what a module's update is multiplied by: alpha / r, alpha / sqrt(r) for rsLoRA."""
        r = self.rank_of(module)
        return float(self._of(self.alpha_pattern, module, self.lora_alpha)) / (r**0.5 if self.use_rslora else r)

    def _of(self, pattern: Mapping[str, Any] | None, module: str, otherwise: Any) -> Any:
        # The first key that fits counts, as in peft.
        return next((v for key, v in (pattern or {}).items() if _fits(rf"(.*\.)?({key})", module)), otherwise)

    @property
    def names(self) -> list[str]:
        """The targets by name; none where they are a regular expression or all linear layers."""
        return self.target_modules if isinstance(self.target_modules, list) else []

    def layers(self) -> set[int]:
        """Return the layers that have adapters; nothing where that is all of them."""
        given = self.layers_to_transform
        return set() if given is None else {given} if isinstance(given, int) else set(given)

    def targets(self, module: str) -> bool:
        """Return whether the module gets an adapter, by peft's rules; of all-linear, whether it is not excluded."""
        out = self.exclude_modules
        if out and (_fits(out, module) if isinstance(out, str) else any(named(module, name) for name in out)):
            return False
        if isinstance(self.target_modules, str):
            return self.target_modules.lower() == ALL_LINEAR or _fits(self.target_modules, module)
        if module in self.target_modules:
            return True
        return any(named(module, name) for name in self.target_modules) and self._in_its_layers(module)

    def _in_its_layers(self, module: str) -> bool:
        if not (layers := self.layers()):
            return True
        given = self.layers_pattern or [r"[^.]*"]
        patterns = [given] if isinstance(given, str) else given
        found = (_match(rf"(?:^|.*?\.){pattern}\.(\d+)\.", module) for pattern in patterns)
        return any(int(match[1]) in layers for match in found if match)


def named(module: str, target: str) -> bool:
    """Return whether a target names a module, as peft says: by its full name, or by its last parts."""
    return module == target or module.endswith(f".{target}")


def _fits(pattern: str, module: str) -> bool:
    return _match(pattern, module, "fullmatch") is not None


def _match(pattern: str, module: str, how: str = "match") -> Any:
    """Return what the pattern finds in a module's name; one from elsewhere could search for hours."""
    import regex

    try:
        return getattr(regex, how)(pattern, module, timeout=SLOWEST)
    except (regex.error, TimeoutError, RecursionError, OverflowError) as error:
        why = "it takes too long" if isinstance(error, TimeoutError) else str(error)
        raise PatternError(f"the pattern {pattern[:80]!r} cannot be used: {why}. {MERGE}") from None


def read_config(folder: Path, beyond: list[Beyond] | None = None) -> AdapterConfig:
    """Return what the folder's adapter_config.json says. Raises IikataError with the file and the key.

    What plain LoRA does not know is added to `beyond`, where that is given, and an error where it is not.
    """
    path = folder / CONFIG
    if not path.is_file():
        what = "not a file" if path.exists() else "no such file"
        within = sorted(str(found.parent) for found in folder.glob(f"*/*/{CONFIG}"))  # a run keeps its arms so
        fix = f"Give one that does, as {within[0]}." if within else "PEFT's save_pretrained writes it."
        raise IikataError(f"{path}: {what}, so {folder} holds no adapter. {fix}")
    values = read_json(path, dict[str, Any], AGAIN, MOST_BYTES)
    for key in [key for key, value in values.items() if not _is_plain(key, value)]:
        said = f'the setting "{key}" is {shown(values[key])}'
        if key in KINDS:
            said = f'the setting "{key}" is {shown(values[key])} ({KINDS[key]})'
        if beyond is None or key == "peft_type":
            raise IikataError(f"{path}: {said}. {MERGE}")
        beyond.append(Beyond(said, key in MERGED))
    try:
        return AdapterConfig.model_validate(values)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        allowed = AdapterConfig.model_fields[key].description
        raise IikataError(
            f'{path}: not an adapter configuration: "{key}" is {shown(values[key])}; {allowed}. {AGAIN}'
            if key in values
            else f'{path}: not an adapter configuration: "{key}" is missing; {allowed}. {AGAIN}'
        ) from None


def _is_plain(key: str, value: Any) -> bool:
    """Return whether plain LoRA has the setting; one that only another PEFT knows must be off."""
    if key == "init_lora_weights":
        return value in PLAIN_STARTS
    if key in HARMLESS or key in AdapterConfig.model_fields or not value or value == DEFAULTS.get(key):
        return True
    return bool(value == _defaults().get(key))


@cache
def _defaults() -> dict[str, Any]:
    from peft import LoraConfig

    return {**LoraConfig().to_dict(), "peft_type": "LORA"}
