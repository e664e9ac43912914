"""Convert a .gguf file to a folder of safetensors, once, into the cache."""

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

from iikata.errors import IikataError


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def convert(path: Path, cache: Path) -> Path:
    """Return the cached folder made from `path`; its name carries the file's sha256.

    Weights are de-quantised to bfloat16. Raises IikataError where transformers cannot read the file.
    """
    target = cache / f"{path.stem}-{sha256_of(path)[:16]}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        _write(path, made)
        os.replace(made, target)
    except OSError:
        if not target.is_dir():  # else another process was first
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return target


def _write(path: Path, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    try:
        # The conversion's progress bar ignores transformers' own switch for such bars.
        with contextlib.redirect_stderr(io.StringIO()):
            AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
            loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
            config = AutoConfig.from_pretrained(**source)
    except Exception as error:  # what a damaged file makes of the reader has no class of its own
        raise IikataError(f"{path}: transformers cannot read this .gguf file: {error}") from None
    # A model loaded from GGUF refuses to save itself ("quantized with gguf"): its weights go into a fresh one.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(loaded).__name__]
    fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(folder)
    (folder / "source.json").write_text(json.dumps({"file": path.name, "sha256": sha256_of(path)}))
