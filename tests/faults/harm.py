"""Ways to break a model's or an adapter's folder."""

import json
import os
from collections.abc import Callable
from pathlib import Path

Harm = Callable[[Path], object]


def raw(name: str, content: bytes) -> Harm:
    return lambda folder: (folder / name).write_bytes(content)


def cut(name: str, keep: int) -> Harm:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep])


def change(name: str, **changes: object) -> Harm:
    """Change a JSON file's values; `a__b` is b within a, and a change to ... takes the key away."""

    def harm(folder: Path) -> None:
        path = folder / name
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        for key, value in changes.items():
            *parts, last = key.split("__")
            place = found
            for part in parts:
                place = place[part]
            place[last] = value
        found = {key: value for key, value in found.items() if value is not ...}
        path.write_text(json.dumps(found), encoding="utf-8")

    return harm


def in_its_place(name: str) -> Harm:
    """A folder where the file was."""

    def harm(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return harm


def hole(name: str) -> Harm:
    """A sparse file of 64 GB, which holds nothing."""

    def harm(folder: Path) -> None:
        (folder / name).write_bytes(b"")
        os.truncate(folder / name, 1 << 36)

    return harm
