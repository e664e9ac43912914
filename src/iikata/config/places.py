"""Tell what is a local file from what is a name: of a template, a model, a data set."""

import os
import re
from pathlib import Path, PurePath

SUFFIXES = {
    "data": (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet"),
    "template": (".json", ".jinja", ".jinja2", ".j2"),
    "model": (".gguf",),
}
"""How the files of each kind end. A name that ends so is a path, whether the file is there or not."""


def is_path(spec: str, kind: str) -> bool:
    """Say whether `spec` is written as a path; `owner/name` is not, since hub ids look like that."""
    return spec.startswith(("/", "./", "../", "~")) or spec.lower().endswith(SUFFIXES[kind])


def absolute_path(spec: str, folder: Path) -> Path:
    """Return the path that `spec` means, counted from `folder`; `~` is the user's home."""
    return (folder / os.path.expanduser(spec)).absolute()


def local_path(spec: str, folder: Path, kind: str) -> Path | None:
    """Return the absolute path that `spec` means, or None where it is a name or a hub id.

    `kind` is "data", "template" or "model". A path counts from `folder`. What exists there wins over a hub
    id of the same spelling. A template may leave its suffix out, and one without a slash is looked for in templates/;
    where there is none, it is a name, as the model "smollm2" always is.
    """
    if kind == "template" and not is_path(spec, kind) and spec != "native":
        name = spec if "/" in spec else f"templates/{spec}"
        paths = (absolute_path(name + suffix, folder) for suffix in SUFFIXES["template"])
        return next((path for path in paths if os.path.isfile(path)), None)
    path = absolute_path(spec, folder)
    a_name = kind == "template" or (kind == "model" and spec == "smollm2")
    return path if is_path(spec, kind) or (not a_name and os.path.exists(path)) else None


def shown_name(spec: str, folder: Path, kind: str) -> str:
    """Return what a model or a data set is called where others read it: no way to a file of this machine."""
    path = local_path(spec, folder, kind)
    return path.name if path else spec


def template_name(spec: str) -> str:
    """Return what a template is called: its name, a file's stem, the last part of `package.module:name`."""
    if is_path(spec, "template") or "/" in spec or "\\" in spec:
        return PurePath(spec.replace("\\", "/")).stem
    return spec.rpartition(":")[2]


def lm_eval_task(spec: str, folder: Path) -> tuple[str, int | None] | None:
    """Return the task that probes are the documents of, and how many of them; None where `spec` is a file of probes.

    `lm_eval:NAME`, `lm_eval:NAME:200` for the first 200; a name that ends in .yaml is a path.
    """
    found = re.fullmatch(r"lm_eval:(.+?)(?::([1-9][0-9]{0,8}))?", spec)
    if not found:
        return None
    name = found[1]
    path = str(absolute_path(name, folder)) if name.endswith((".yaml", ".yml")) else name
    return path, int(found[2]) if found[2] else None
