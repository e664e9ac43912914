"""Fetch a model from the hub once, and hold what came against the hub's own hashes."""

import errno
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from iikata.core.errors import IikataError, first_line
from iikata.core.io import read_json, sha256_of, write_text
from iikata.model.files.cache import cache_folder

FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
"""Never *.bin: nothing untrusted is unpickled."""
CODE = "*.py"
"""Fetched only where the experiment trusts this very model."""
HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""What the hub's cache calls a file: its git sha1, or the sha256 of a large one."""
VERIFIED = "verified.json"
"""In the cache: size and time of every file whose hash was found right, so that gigabytes are read once."""
NOT_STORED = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS}


def download(base: str, revision: str | None, trusted: bool = False) -> Path:
    """Return the folder of the model with the hub id `base`, its files checked; `trusted`: with its Python files.

    Raises IikataError where it cannot be had or stored, or where a file is not the hub's.
    """
    from huggingface_hub import snapshot_download

    patterns = [*FILES, CODE] if trusted else list(FILES)
    fetch = partial(snapshot_download, base, revision=revision, allow_patterns=patterns)
    try:
        folder = Path(fetch())
    except Exception as error:  # the hub raises a dozen kinds: offline, gated, unknown id, revision, disk
        cached = _fetched_before(fetch)
        if cached is None:
            raise _refusal(base, revision, error) from None
        print(f"iikata: {base}: as it was fetched before; the hub: {first_line(error)}", file=sys.stderr)
        folder = cached
    verify(folder, patterns)
    return folder


def _fetched_before(fetch: Callable[..., str]) -> Path | None:
    # The hub's client looks there itself where it cannot connect, but not where the answer is cut off or is an error.
    try:
        folder = Path(fetch(local_files_only=True))
    except Exception:
        return None
    return folder if (folder / "config.json").is_file() and list(folder.glob("*.safetensors")) else None


def _refusal(base: str, revision: str | None, error: Exception) -> IikataError:
    at = f" at revision {revision}" if revision else ""
    if isinstance(error, OSError) and error.errno in NOT_STORED:
        return IikataError(
            f'model.base "{base}"{at} could not be stored ({first_line(error)}). '
            "Make room, or set HF_HOME to a folder that has room and can be written."
        )
    return IikataError(
        f'model.base "{base}"{at} could not be had from the hub ({first_line(error)}). '
        "Check the id and the network and run the same command again: files that came whole are kept. "
        "Offline, copy the model to this machine and give its folder: model.base: ./path/to/folder "
        "(iikata finetune: --base_model=./path/to/folder)."
    )


def verify(folder: Path, patterns: Sequence[str] = FILES) -> None:
    """Compare the files of a snapshot with the hashes that the hub's cache calls them by; each file once.

    Says which files carry no hash. Raises IikataError for the first file that is another.
    """
    known = _known()
    right, unchecked = dict(known), []
    for path in _files(folder, patterns):
        name = os.path.basename(os.readlink(path)) if path.is_symlink() else ""
        blob, state = str(path.resolve()), [path.stat().st_size, path.stat().st_mtime_ns]
        if not HASH.fullmatch(name):
            unchecked.append(path.name)
        elif known.get(blob) != state:
            _compare(path, blob, name)
            right[blob] = state
    if unchecked:
        print(
            f"iikata: {folder}: {', '.join(unchecked)}: copies, not links to files that are called by the hub's hash, "
            "so there is nothing to check them against.",
            file=sys.stderr,
        )
    if right != known:
        _remember(right)


def _files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    from huggingface_hub.utils import filter_repo_objects

    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [folder / name for name in filter_repo_objects(found, allow_patterns=list(patterns))]


def _compare(path: Path, blob: str, name: str) -> None:
    from huggingface_hub.utils.sha import git_hash

    seen = sha256_of(path) if len(name) == 64 else git_hash(path.read_bytes())  # the hub keeps only small files so
    if seen != name:
        raise IikataError(
            f"{path}: its {'sha256' if len(name) == 64 else 'git sha1'} is {seen}, the hub's is {name}: it was damaged "
            f"or changed, on the way or on this disk. Not used. Delete {blob} and run the same command again."
        )


def _known() -> dict[str, list[int]]:
    with suppress(IikataError):
        return read_json(cache_folder() / VERIFIED, dict[str, list[int]], "")
    return {}


def _remember(right: dict[str, list[int]]) -> None:
    there = {blob: state for blob, state in right.items() if os.path.exists(blob)}
    with suppress(IikataError):  # a cache that cannot be written: they are hashed at the next start again
        write_text(cache_folder() / VERIFIED, json.dumps(there))
