"""Turn the model's name in the experiment into a local folder of safetensors, config and tokenizer."""

import json
import os
import re
from pathlib import Path

from iikata.errors import IikataError
from iikata.model import gguf, smollm2

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
"""Never *.bin or *.py: nothing from a stranger is unpickled or run."""


def cache_folder() -> Path:
    """Where downloads and conversions are kept: $IIKATA_CACHE, else ~/.cache/iikata."""
    if "IIKATA_CACHE" in os.environ:
        return Path(os.environ["IIKATA_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "iikata"


def locate(base: str, revision: str | None = None, folder: Path = Path()) -> Path:
    """Return the folder that holds the model called `base`, fetching or converting it once.

    `base` is "smollm2", a path (relative to `folder`) to a folder or a .gguf file, or a hub id.
    Raises IikataError where it cannot be had, with what to do.
    """
    if base == "smollm2":
        return smollm2.fetch(cache_folder())
    path = folder / Path(base).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise IikataError(f"{path}: no such .gguf file.")
        return gguf.convert(path, cache_folder())
    if path.is_dir():
        return _checked(path)
    if base.startswith((".", "/", "~")) or not HUB_ID.fullmatch(base):
        raise IikataError(
            f'model.base "{base}" is neither a folder nor a .gguf file here, nor a hub id (owner/name). '
            'The embedded model is "smollm2".'
        )
    return _checked(_download(base, revision))


def hub_name(base: str, folder: Path) -> tuple[str | None, str | None]:
    """Return the hub id and the commit of the model that `base` located in `folder`; None for what cannot be known."""
    if base == "smollm2":
        return smollm2.HUB_ID, None
    if folder.parent.name == "snapshots":  # the hub's cache: models--OWNER--NAME/snapshots/COMMIT
        return folder.parent.parent.name.removeprefix("models--").replace("--", "/", 1), folder.name
    named = str(json.loads((folder / "config.json").read_text(encoding="utf-8")).get("_name_or_path", ""))
    return (named if HUB_ID.fullmatch(named) and not Path(named).exists() else None), None


def _checked(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise IikataError(f"{folder}: no config.json, so this is not a model folder.")
    if not list(folder.glob("*.safetensors")):
        found = ", ".join(sorted(file.name for file in folder.glob("*.bin"))) or "no weights"
        raise IikataError(
            f"{folder}: no .safetensors file (found {found}). Pickled weights can run code and are not loaded. "
            "Convert them once where you trust them: "
            f"AutoModelForCausalLM.from_pretrained({str(folder)!r}).save_pretrained(DEST)."
        )
    _check_json(folder / "config.json")
    return folder


def _check_json(path: Path) -> None:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise IikataError(f"{path}: not readable as JSON ({error}).") from None


def _download(base: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    at = f" at revision {revision}" if revision else ""
    try:
        return Path(snapshot_download(base, revision=revision, allow_patterns=HUB_FILES))
    except Exception as error:  # the hub raises a dozen kinds: offline, gated, unknown id, revision, disk
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise IikataError(
            f'model.base "{base}"{at} could not be had from the hub ({type(error).__name__}: {first}). '
            "Offline, copy the model to this machine and give its folder: model.base: ./path/to/folder "
            "(iikata finetune: --base_model=./path/to/folder)."
        ) from None
