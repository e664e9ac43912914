"""What adapter_config.json says of an adapter, as PEFT writes it; what plain LoRA does not know is refused."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iikata.disk import parse_json
from iikata.errors import IikataError

CONFIG = "adapter_config.json"
MOST_BYTES = 1 << 22
OTHER_KINDS = (
    "use_rslora",
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "target_parameters",
    "trainable_token_indices",
    "layer_replication",
    "lora_bias",
    "arrow_config",
    "kasa_config",
    "alora_invocation_tokens",
)
"""Settings of PEFT that change what the tensors mean."""
PLAIN_STARTS = ("gaussian", "orthogonal", "eva")
"""Values of init_lora_weights, beside true and false, that leave the base's weights as they are."""
MERGE = (
    "iikata reads plain LoRA only. Merge it where you trust it (in peft: PeftModel.from_pretrained(model, FOLDER)"
    ".merge_and_unload().save_pretrained(DEST)) and give DEST as the model."
)


@dataclass(frozen=True)
class AdapterConfig:
    """The settings of a plain LoRA adapter."""

    r: int
    alpha: float
    dropout: float
    target_modules: tuple[str, ...]
    """Empty for "all-linear": the weights say which."""
    base: str
    """Hub id or path; "" where the file names none."""
    revision: str | None


def read_config(folder: Path) -> AdapterConfig:
    """Return what the folder's adapter_config.json says. Raises IikataError with the file and the key."""
    path = folder / CONFIG
    values = _content(path)
    _refuse_other_kinds(path, values)
    names: Any = values.get("target_modules")
    listed = isinstance(names, list) and bool(names) and all(isinstance(name, str) and name for name in names)
    if not listed and names != "all-linear":
        what = "a pattern" if isinstance(names, str) else "it"
        raise _fault(path, values, "target_modules", f"the list of the modules' names is allowed; write {what} so")
    r: Any = values.get("r")
    alpha: Any = values.get("lora_alpha")
    dropout: Any = values.get("lora_dropout") or 0.0
    if type(r) is not int or r < 1:
        raise _fault(path, values, "r", "a whole number from 1 on is allowed, the rank of the weights")
    if not _is_number(alpha) or alpha <= 0:
        raise _fault(path, values, "lora_alpha", "a number above 0 is allowed")
    if not _is_number(dropout) or not 0 <= dropout < 1:
        raise _fault(path, values, "lora_dropout", "a share from 0 to below 1 is allowed")
    for key in ("base_model_name_or_path", "revision"):
        if not isinstance(values.get(key), str | None):
            raise _fault(path, values, key, "a text or null is allowed")
    base, revision = values.get("base_model_name_or_path") or "", values.get("revision") or None
    return AdapterConfig(r, float(alpha), float(dropout), tuple(names) if listed else (), base, revision)


def _content(path: Path) -> dict[str, Any]:
    if not path.is_file():
        what = "not a file" if path.exists() else "no such file"
        raise IikataError(f"{path}: {what}, so {path.parent} holds no adapter. PEFT's save_pretrained writes it.")
    if path.stat().st_size > MOST_BYTES:
        raise IikataError(f"{path}: not an adapter configuration: longer than {MOST_BYTES:,} bytes. {_AGAIN}")
    try:
        values = parse_json(path.read_bytes())
    except ValueError as error:
        raise IikataError(f"{path}: not an adapter configuration: not JSON ({error}). {_AGAIN}") from None
    if not isinstance(values, dict):
        raise IikataError(f"{path}: not an adapter configuration: expected an object, saw {_shown(values)}. {_AGAIN}")
    return values


def _refuse_other_kinds(path: Path, values: dict[str, Any]) -> None:
    if (kind := values.get("peft_type", "LORA")) != "LORA":
        raise IikataError(f'{path}: "peft_type" is {_shown(kind)}. {MERGE}')
    start = values.get("init_lora_weights", True)
    odd = [key for key in OTHER_KINDS if values.get(key)]
    odd += ["bias"] if values.get("bias", "none") not in ("none", None) else []
    odd += ["init_lora_weights"] if not isinstance(start, bool | None) and start not in PLAIN_STARTS else []
    if odd:
        raise IikataError(f'{path}: "{odd[0]}" is {_shown(values[odd[0]])}. {MERGE}')


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e30 and math.isfinite(value)


def _fault(path: Path, values: dict[str, Any], key: str, allowed: str) -> IikataError:
    seen = f"is {_shown(values[key])}" if key in values else "is missing"
    return IikataError(f'{path}: not an adapter configuration: "{key}" {seen}; {allowed}. {_AGAIN}')


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


_AGAIN = "Copy the file again from where the adapter comes, or train the arm again."
