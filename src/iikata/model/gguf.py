"""Convert a .gguf file to a folder of safetensors, once, into the cache."""

import contextlib
import io
import shutil
from pathlib import Path
from typing import Any

from iikata.disk import sha256_of
from iikata.errors import IikataError
from iikata.model.cache import make_once

LONGEST_STEM = 60
"""A file's name may be as long as a folder's, and the folder's name carries a hash too."""


def convert(path: Path, cache: Path) -> Path:
    """Return the cached folder made from `path`; its name carries the file's sha256.

    Weights are de-quantised to bfloat16. Raises IikataError where transformers cannot read the file.
    """
    sha256 = sha256_of(path)
    return make_once(folder_of(path, sha256, cache), lambda folder: write(path, sha256, folder))


def folder_of(path: Path, sha256: str, cache: Path) -> Path:
    """Return the folder in the cache that belongs to a file of this hash."""
    return cache / f"{path.stem[:LONGEST_STEM]}-{sha256[:16]}"


def write(path: Path, sha256: str, folder: Path) -> dict[str, str]:
    """Write config, weights and tokenizer of a .gguf file into `folder`; returns what they came from."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer, loaded, config = _read(path, folder / ".alone")
    # A model loaded from GGUF refuses to save itself ("quantized with gguf"): its weights go into a fresh one.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(loaded).__name__]
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    fresh.load_state_dict(loaded.state_dict())
    try:
        tokenizer.save_pretrained(folder)
        fresh.save_pretrained(folder)
    except Exception as error:  # tokenizers and safetensors have kinds of their own for a full disk
        raise OSError(str(error)) from None
    return {"file": path.name, "sha256": sha256}


def _read(path: Path, alone: Path) -> tuple[Any, Any, Any]:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    _stand_alone(path, alone)
    source = {"pretrained_model_name_or_path": str(alone), "gguf_file": path.name}
    try:
        # The conversion's progress bar ignores transformers' own switch for such bars.
        with contextlib.redirect_stderr(io.StringIO()):
            tokenizer = AutoTokenizer.from_pretrained(**source)
            loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
            config = AutoConfig.from_pretrained(**source)
    except Exception as error:  # what a damaged file makes of the reader has no class of its own
        raise IikataError(f"{path}: transformers cannot read this .gguf file: {error}") from None
    shutil.rmtree(alone)
    return tokenizer, loaded, config


def _stand_alone(path: Path, folder: Path) -> None:
    # transformers also reads config.json and tokenizer files that happen to lie beside a .gguf file.
    folder.mkdir()
    try:
        (folder / path.name).symlink_to(path.absolute())
    except OSError:  # Windows lets few users make links
        shutil.copyfile(path, folder / path.name)
