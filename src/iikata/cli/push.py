"""`iikata push`: shows what would go to the hub, asks, and uploads it."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from iikata.cli.stages import open_pipeline
from iikata.core.errors import IikataError

if TYPE_CHECKING:
    from iikata.pipeline.push import Hub


def push(given: argparse.Namespace) -> int:
    """Export the arm, print what goes up, and upload it once that is agreed to; 1 where it is not."""
    from iikata.pipeline.export import export
    from iikata.pipeline.push import ask_hub, upload

    hub = ask_hub(given.repo)
    with TemporaryDirectory(prefix="iikata-push-") as place:
        folder = Path(place) / "folder"
        made = export(open_pipeline(given).context, given.arm, folder, given.merge, given.base, given.repo)
        print("\n".join(lines(folder, hub, given.private, made.remarks)))
        if not given.yes and not sys.stdin.isatty():
            raise IikataError("nothing was uploaded: there is nobody to ask. If this is right, give --yes.")
        if not given.yes and input("Upload this? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was uploaded")
            return 1
        print(upload(folder, hub, given.private, f"{given.arm}, trained by iikata"))
    return 0


def lines(folder: Path, hub: "Hub", private: bool, remarks: list[str]) -> list[str]:
    """Return what goes up and where, file by file, with the card in full."""
    seen = "private" if (private if hub.private is None else hub.private) else "PUBLIC: everyone can read it"
    there = f"is there, with {len(hub.files)} files" if hub.private is not None else "is made"
    text = [f"to {hub.endpoint}/{hub.repo} as {hub.user}; the repository {there}, {seen}", ""]
    for path in sorted(folder.iterdir()):
        replaced = "  (replaces what is there)" if path.name in hub.files else ""
        text.append(f"{path.stat().st_size:>14,}  {path.name}{replaced}")
    card = (folder / "README.md").read_text(encoding="utf-8")
    return [*text, "", *(f"note: {remark}" for remark in remarks), "README.md:", *(f"  {c}" for c in card.splitlines())]
