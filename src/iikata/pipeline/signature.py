"""What a run is made of, as hashes: additions extend a run, edits are refused by name."""

import hashlib
import json
import os
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from iikata.config import FIXED
from iikata.core.errors import IikataError
from iikata.core.io import read_json
from iikata.core.records import NOTHING, Example, Probe, plain

PACKAGES = ("iikata", "torch", "transformers", "peft", "tokenizers", "sentencepiece", "numpy", "scipy")
FROZEN = ("model", "data", "train")
"""Parts in which nothing may change between two calls on one run folder: adapters follow from them."""
SIGNED = (*FROZEN, "templates", "generate", "probes", "variants", "software")
FREE = {"train": set(FIXED), "generate": {"samples"}}
"""Settings that may change while a run grows."""
LATER = {"too_long": "leave_out"}
"""Settings that came later, with what runs before had: only another value is signed, so these stay valid."""
SAMPLED_BYTES = 1 << 16


def digest(value: Any) -> str:
    """Return 16 hex digits of the sha256 of a value's canonical JSON."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def model_fingerprint(folder: Path, trusted: bool = False) -> str:
    """Return a hash of the model's configuration and of 64 places in each weights file; `trusted`: of its code too.

    Whole files would take a minute a run at 7B; a fine-tune changes every place.
    """
    hashed = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        hashed.update(f"{path.name}:{size}".encode())
        with path.open("rb") as file:
            for place in range(64):
                file.seek(place * size // 64)
                hashed.update(file.read(SAMPLED_BYTES))
    for path in sorted(folder.rglob("*.py")) if trusted else ():
        content = path.read_bytes()
        hashed.update(f"{path.relative_to(folder).as_posix()}:{len(content)}".encode() + content)
    return hashed.hexdigest()[:16]


def rows_hash(rows: Sequence[Example], clusters: Mapping[str, str] | None = None) -> str:
    """Return a hash of the rows' contents, in order, of their marks, and of which of them belong together."""
    ids = [row.id for row in rows]
    together = [[id, (clusters or {}).get(id, id)] for id in ids]
    content = ids if all(id == cluster for id, cluster in together) else together
    marked = {row.id: row.marked for row in rows if row.marked}
    return digest([content, marked] if marked else content)


def settled(part: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a part that may not change."""
    left_out = LATER.items()
    return {key: value for key, value in settings.items() if key not in FREE[part] and (key, value) not in left_out}


def probe_hashes(probes: Sequence[Probe]) -> dict[str, str]:
    # So that runs signed before there were these stay valid.
    later = {"before": NOTHING, "choices": (), "answer": None, "sampled": True}
    told = (
        {key: value for key, value in plain(probe).items() if key not in later or getattr(probe, key) != later[key]}
        for probe in probes
    )
    return {one["id"]: digest(one) for one in told}


def software(device: str, threads: int) -> dict[str, Any]:
    """Return versions and machine: recorded and warned of where they change, never refused."""
    found: dict[str, Any] = dict.fromkeys(PACKAGES, "not installed")
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return {**found, "python": platform.python_version(), "device": device, "threads": threads, "cpus": os.cpu_count()}


def read_signature(path: Path) -> dict[str, Any] | None:
    """Return what was signed, None where nothing was. Raises IikataError where the file does not say it."""
    if not path.exists():
        return None
    fix = (
        "Put it back from a copy; or delete it to have the folder signed as it is now: what was edited before could "
        "then not be noticed."
    )
    found = read_json(path, dict[str, Any], fix)
    if all(isinstance(found.get(part), dict) for part in SIGNED) and found.get("declared"):
        return found
    raise IikataError(f"{path}: this does not say what the run was made with. {fix}")


def extend(
    stored: Mapping[str, Any] | None, now: Mapping[str, Any], where: str, untrained: Collection[str] = ()
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Return the signature to store, warnings, and what changed of that which answers alone follow from.

    `untrained` are the templates that no arm was trained on. Raises IikataError naming all else that was edited.
    """
    if stored is None:
        return dict(now), [], []
    if os.path.isabs(now["model"].get("base", "")) and stored["model"]["weights"] == now["model"]["weights"]:
        # The copy in the run folder has a relative path as an absolute one; the same files are the same model.
        base = {key: value for key, value in stored["model"].items() if key in ("base", "trust_remote_code")}
        now = {**now, "model": {**now["model"], **base}}
    faults = [fault for part in FROZEN for fault in _changes(part, stored[part], now[part])]
    was, new = stored["templates"], now["templates"]
    edited = [name for name in sorted(was.keys() & new.keys()) if was[name] != new[name]]
    faults += _changes("templates", was, new, (name for name in edited if name not in untrained))
    had, has = stored["variants"], now["variants"]
    faults += _changes("variants", had, has, had.keys() & has.keys())
    if faults:
        raise IikataError(
            f"{where}: this run was made with something else: {'; '.join(faults)}. "
            "Undo the change, or start another run with --out DIR."
        )
    software = _changes("software", stored["software"], now["software"])
    asked = [f"template {name} edited" for name in edited] + _changes("generate", stored["generate"], now["generate"])
    before, probes = stored["probes"], now["probes"]  # one that was added changes no answer that is there
    asked += [f"probe {id} edited" for id in before if id in probes and before[id] != probes[id]]
    asked += [f"probe {id} removed" for id in before if id not in probes]
    return (
        {**now, "templates": {**was, **new}, "variants": had | has},
        [f"{change}; bytes may differ from the earlier ones" for change in software],
        asked,
    )


def _changes(
    part: str, stored: Mapping[str, Any], now: Mapping[str, Any], keys: Iterable[str] | None = None
) -> list[str]:
    """Return what of these keys differs, of all where none are given."""
    found = []
    for key in sorted(stored.keys() | now.keys() if keys is None else keys):
        was, new = stored.get(key), now.get(key)
        if isinstance(was, Mapping) and isinstance(new, Mapping):
            found += _changes(f"{part}.{key}", was, new)
        elif was != new:
            found.append(f"{part}.{key} changed ({_short(was)} -> {_short(new)})")
    return found


def listed(changes: Sequence[str], most: int = 8) -> str:
    """Return the changes as one text, the first of many."""
    more = f"; and {len(changes) - most} more" if len(changes) > most else ""
    return "; ".join(changes[:most]) + more


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:24] + "..."
