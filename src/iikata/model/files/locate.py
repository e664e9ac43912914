"""Turn the model's name in the experiment into a local folder of safetensors, config and tokenizer."""

import os
import re
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError
from iikata.core.files import near_file
from iikata.core.io import read_json
from iikata.model.files import code, gguf, hub, smollm2
from iikata.model.files.cache import cache_folder

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
AGAIN = "Fetch or copy this file again."
MOST_LAYERS = 1000
"""Published models have up to some 130."""
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def locate(base: str, revision: str | None = None, folder: Path = Path(), trusted: bool = False) -> Path:
    """Return the folder that holds the model called `base`, fetching or converting it once.

    `base` is "smollm2", a path (relative to `folder`) to a folder or a .gguf file, or a hub id; `trusted` says that
    its own Python code may run. Raises IikataError where it cannot be had or needs code, with what to do.
    """
    if base == "smollm2":
        return smollm2.fetch(cache_folder())
    path = folder / os.path.expanduser(base)
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise IikataError(f'model.base "{base}": no such file{near_file(path)}. Give a .gguf file, or a folder.')
        return gguf.convert(path, cache_folder())
    if path.is_dir():
        return _checked(path, base, trusted)
    if base.startswith((".", "/", "~")) or not HUB_ID.fullmatch(base):
        raise IikataError(
            f'model.base "{base}" is neither a folder nor a .gguf file here{near_file(path)}, nor a hub id '
            '(owner/name). Give the path where it lies now; the embedded model is "smollm2".'
        )
    return _checked(hub.download(base, revision, trusted), base, trusted)


def hub_name(base: str, folder: Path) -> tuple[str | None, str | None]:
    """Return the hub id and the commit of the model that `base` located in `folder`; None for what cannot be known."""
    if base == "smollm2":
        return smollm2.HUB_ID, None
    if folder.parent.name == "snapshots":  # the hub's cache: models--OWNER--NAME/snapshots/COMMIT
        return folder.parent.parent.name.removeprefix("models--").replace("--", "/", 1), folder.name
    named = str(read_json(folder / "config.json", dict[str, Any], AGAIN).get("_name_or_path", ""))
    return (named if HUB_ID.fullmatch(named) and not Path(named).exists() else None), None


def _checked(folder: Path, base: str, trusted: bool) -> Path:
    if not (folder / "config.json").is_file():
        fix = "Give the folder that holds config.json, the tokenizer and the .safetensors files."
        raise IikataError(f'model.base "{base}": {folder} has no config.json, so it is no model\'s folder. {fix}')
    config = read_json(folder / "config.json", dict[str, Any], AGAIN)
    if not list(folder.glob("*.safetensors")):
        found = ", ".join(sorted(file.name for file in folder.glob("*.bin"))) or "no weights"
        raise IikataError(
            f"{folder}: no .safetensors file (found {found}). Pickled weights can run code and are not loaded. "
            "Convert them once where you trust them: "
            f"AutoModelForCausalLM.from_pretrained({str(folder)!r}).save_pretrained(DEST)."
        )
    if (folder / "adapter_config.json").is_file():
        raise IikataError(
            f"{folder / 'adapter_config.json'}: an adapter lies in the model's folder, and transformers would load "
            "both. A base is one set of weights: copy the folder without its adapter_* files and give the copy."
        )
    _check_names(folder, config)
    _check_depth(folder, config)
    code.refuse_untrusted(folder / "config.json", config, base, trusted)
    return folder


def _check_names(folder: Path, config: dict[str, Any]) -> None:
    """Raise IikataError where a file names weights that are not there, or that are no safetensors of this folder."""
    named, path = config.get("transformers_weights", WEIGHTS), folder / INDEX
    if named not in (WEIGHTS, INDEX):
        raise IikataError(
            f'{folder / "config.json"}: transformers_weights: "{named}" was seen; {WEIGHTS} and {INDEX} are loaded. '
            "Remove the key, or rename the file."
        )
    if not path.is_file() or (folder / WEIGHTS).is_file():
        return
    listed = read_json(path, dict[str, Any], AGAIN).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise IikataError(f"{path}: no weight_map, so which file holds which weights is not known. Fetch it again.")
    for name in sorted({str(name) for name in listed.values()}):
        if not name.endswith(".safetensors") or Path(name).name != name:
            raise IikataError(f'{path}: weight_map: "{name}" is no .safetensors file of this folder. Not loaded.')
        if not (folder / name).is_file():
            raise IikataError(f"{path}: weight_map: {name} is not in the folder. Fetch or copy all files of the model.")


def _check_depth(folder: Path, config: dict[str, Any]) -> None:
    """Raise IikataError for more layers than a model has: transformers would build them one by one, for hours."""
    for part in (config, *(part for part in config.values() if isinstance(part, dict))):
        for key in ("num_hidden_layers", "n_layer", "num_layers"):
            if isinstance(part.get(key), int) and part[key] > MOST_LAYERS:
                raise IikataError(
                    f"{folder / 'config.json'}: {key}: {part[key]} was seen; up to {MOST_LAYERS} layers are allowed. "
                    f"{AGAIN}"
                )
