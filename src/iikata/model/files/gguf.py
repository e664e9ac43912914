"""Convert a .gguf file to a folder of safetensors, once, into the cache."""

import contextlib
import copy
import functools
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from iikata.core.errors import IikataError
from iikata.core.io import sha256_of
from iikata.core.system import link
from iikata.model.files import gguf_parts, gguf_tokenizer
from iikata.model.files.cache import make_once

LONGEST_STEM = 60
"""A file's name may be as long as a folder's, and the folder's name carries a hash too."""
VERSION = 2
"""Of what is written: 2 takes tokens and rotary factors from the file itself."""

TOKENIZER = tuple(f"tokenizer.ggml.{name}" for name in ("merges", "token_type", "scores"))


def convert(path: Path, cache: Path) -> Path:
    """Return the cached folder made from `path`; its name carries the file's sha256.

    Weights are de-quantised to bfloat16. Raises IikataError where transformers cannot read the file.
    """
    sha256 = sha256_of(path)
    return make_once(folder_of(path, sha256, cache), lambda folder: write(path, sha256, folder))


def folder_of(path: Path, sha256: str, cache: Path) -> Path:
    """Return the folder in the cache that belongs to a file of this hash."""
    return cache / f"{path.stem[:LONGEST_STEM]}-{sha256[:16]}-v{VERSION}"


def write(path: Path, sha256: str, folder: Path) -> dict[str, str]:
    """Write config, weights and tokenizer of a .gguf file into `folder`; returns what they came from.

    Raises IikataError where the file holds what the folder would not.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    reader, fields, tensors = _metadata(path)
    with _readable(path, IikataError, OSError):  # metadata may be of other kinds than they are to be
        gguf_tokenizer.write(path, fields, folder)
    with _read_once(reader):
        loaded, info = _load(path, folder / ".alone")
        config = loaded.config
        gguf_parts.refuse_unread(path, fields, config)
        gguf_parts.refuse_unused(path, fields["general.architecture"], set(tensors), loaded, info)
    if (listed := len(fields["tokenizer.ggml.tokens"])) > (rows := len(loaded.get_input_embeddings().weight)):
        raise IikataError(f"{path}: {listed} tokens are listed, but the embedding has {rows} rows. {gguf_parts.OTHER}")
    if gguf_parts.ROPE_FACTORS in tensors:
        config.rope_parameters = gguf_parts.rope_parameters(path, tensors[gguf_parts.ROPE_FACTORS].data, config)
    # A model loaded from GGUF refuses to save itself ("quantized with gguf"): its weights go into a fresh one.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(loaded).__name__]
    for key, name in (("bos", "bos"), ("eos", "eos"), ("padding", "pad")):
        setattr(config, f"{name}_token_id", fields.get(f"tokenizer.ggml.{key}_token_id"))
    with torch.device("meta"):  # no weights are drawn that would only be replaced
        fresh = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    fresh.load_state_dict({name: x.to(torch.bfloat16) for name, x in loaded.state_dict().items()}, assign=True)
    fresh.tie_weights()
    fresh.generation_config.eos_token_id = gguf_tokenizer.end_ids(path, fields)
    try:
        fresh.save_pretrained(folder)
    except Exception as error:  # safetensors raises errors of other classes for a full disk
        raise OSError(str(error)) from None
    return {"file": path.name, "sha256": sha256}


@contextlib.contextmanager
def _read_once(reader: Any) -> Iterator[None]:
    """Let transformers take the reader that is there: it opens the file twice, and makes one table for every module.

    That was 20 of the 25 s that a 135M model took; the lists of a tokenizer that no configuration is made of, one more.
    """
    import gguf

    names, theirs = functools.cache(gguf.get_tensor_name_map), copy.copy(reader)
    theirs.fields = {name: field for name, field in reader.fields.items() if name not in TOKENIZER}
    with (
        mock.patch.object(gguf, "GGUFReader", return_value=theirs),
        mock.patch.object(gguf, "get_tensor_name_map", names),
    ):
        yield


def _metadata(path: Path) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Return a reader of the file, its metadata and its tensors, by their names."""
    import gguf
    import numpy as np

    class Reader(gguf.GGUFReader):
        """Cuts plain arrays out of the file: numpy's own class for files takes three times as long over each."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value.view(np.ndarray) if name == "data" else value)

    with _readable(path):
        reader = Reader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        fields["general.architecture"]
    return reader, fields, {tensor.name: tensor for tensor in reader.tensors}


def _load(path: Path, alone: Path) -> tuple[Any, dict[str, Any]]:
    import torch
    from transformers import AutoModelForCausalLM

    alone.mkdir()  # transformers also reads config.json and tokenizer files that happen to lie beside a .gguf file
    link(alone / path.name, path.absolute())
    # The conversion's progress bar ignores transformers' own switch for such bars.
    with _readable(path), contextlib.redirect_stderr(io.StringIO()):
        opened: Any = AutoModelForCausalLM.from_pretrained(
            str(alone), gguf_file=path.name, dtype=torch.float32, output_loading_info=True
        )
    shutil.rmtree(alone)
    return opened


@contextlib.contextmanager
def _readable(path: Path, *passing: type[Exception]) -> Iterator[None]:
    """Raise IikataError for whatever a damaged file makes its readers raise, except errors that are `passing`."""
    try:
        yield
    except passing:
        raise
    except Exception as error:
        why = str(error).rstrip(".")
        raise IikataError(f"{path}: transformers cannot read this .gguf file: {why}. {gguf_parts.OTHER}") from None
