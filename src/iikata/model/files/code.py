"""Models that bring Python code of their own: run only where the experiment names the model as trusted."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError, first_line

NO_INTERFACE = "its attention does not go through transformers' attention interface, so that samples cannot be packed"
OTHER_HEAD = re.compile("Classification|QuestionAnswering|MultipleChoice|Reward|Regression")
OWN = re.compile(r"\w+\.\w+")
"""`file.Class` beside config.json; transformers would take `owner/name--file.Class` from another model, unasked."""


def refuse_untrusted(path: Path, config: Mapping[str, Any], base: str, trusted: bool) -> None:
    """Raise IikataError where `config`, read from `path`, needs code that may not run."""
    for key, value in _settings(config):
        if key.endswith("implementation") and "/" in value:
            raise IikataError(
                f'{path}: {key}: "{value}" was seen, compiled code that transformers would fetch from the hub; nothing '
                "from a stranger is run. Remove the key."
            )
    if not (parts := config.get("auto_map")):
        return
    if not isinstance(parts, dict):
        raise IikataError(f"{path}: auto_map: an object is needed, saw {type(parts).__name__}. Remove or mend it.")
    if not trusted:
        _refuse(path, config.get("model_type"), base)
        return
    for part in ("AutoConfig", "AutoModelForCausalLM"):
        if part in parts and not OWN.fullmatch(str(parts[part])):
            raise IikataError(
                f'{path}: auto_map.{part}: "{parts[part]}" was seen; a class of a file in this folder (file.Class) is '
                "allowed. Trust in one model is none in another: if you trust that file, copy it here and name it so."
            )


def _settings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text below `value` with the last key on the way to it that says what it is for."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _settings(below, key if key.endswith("implementation") else name)
    elif isinstance(value, list):
        for below in value:
            yield from _settings(below, key)
    elif isinstance(value, str):
        yield key, value


def _refuse(path: Path, kind: Any, base: str) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return  # transformers' own class is loaded, and the model's own code is never run
    raise IikataError(
        f'{path}: auto_map: this model ("{kind}") needs Python code of its own, and nothing from a stranger is run. '
        f"Read its *.py files; if you trust them, name the model a second time: model.trust_remote_code: {base} "
        f'(--set "model.trust_remote_code={base}").'
    )


def refuse_other_heads(folder: Path, config: Any) -> None:
    """Raise IikataError for a classifier's weights, which would load with a tied head as a language model's."""
    named = getattr(config, "architectures", None) or []
    if named and all(OTHER_HEAD.search(str(name)) for name in named):
        raise unsupported(folder, config, "it gives scores or classes, no next token")


def configuration(folder: Path, trusted: bool = False) -> Any:
    """Return the model's configuration as transformers reads it. Raises IikataError where it cannot."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trusted)
        config.get_text_config()
    except Exception as error:  # untrusted values make transformers' classes raise anything
        raise refusal(folder, error) from None
    return config


def unsupported(folder: Path, config: Any, reason: str) -> IikataError:
    """Return what to raise for a complete model, but of an architecture that is not computed here."""
    named = ", ".join(getattr(config, "architectures", None) or []) or type(config).__name__
    return IikataError(
        f"{folder}: architecture {named} ({config.model_type}) is not supported: {reason}. "
        "docs/models.md lists those that are."
    )


def refusal(folder: Path, error: Exception, config: Any = None) -> IikataError:
    """Return what to raise where transformers cannot make a model of the folder's files."""
    from iikata.model.attention.registry import NAME  # and with it torch, which naming a model's folder does without

    said = first_line(error).rstrip(".")
    if isinstance(error, KeyError) and error.args == (NAME,):
        return unsupported(folder, config, NO_INTERFACE)
    if "Unrecognized configuration class" in said and config is not None:
        return unsupported(folder, config, "transformers' loader of text models, AutoModelForCausalLM, has none for it")
    if isinstance(error, ImportError):
        return IikataError(f"{folder}: the model cannot be loaded: {said}. Install what is named there.")
    if "ignore_mismatched_sizes" in said:  # transformers' advice to its own callers
        said = "tensors of the weights have another shape than config.json says"
    if type(error).__name__ == "SafetensorError":
        return IikataError(f"{folder}: a .safetensors file is cut or damaged: {said}. Fetch the model again.")
    return IikataError(
        f"{folder}: the model cannot be loaded: {said}. Compare its config.json with the published one, or fetch the "
        "model again."
    )


def made_by_own_code(config: Any) -> bool:
    """Return whether a configuration's class came with the model, which only a trusted model's can."""
    return type(config).__module__.startswith("transformers_modules.")
