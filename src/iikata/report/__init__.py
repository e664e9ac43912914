"""The report: one HTML page and its Markdown twin, from records to files; it computes nothing."""

import os
from pathlib import Path

from iikata.report.material import Material, TemplateCard

__all__ = ["Material", "TemplateCard", "write"]


def write(material: Material, folder: Path) -> list[Path]:
    """Write index.html, report.md, report.zenn.md and plots/*.svg into `folder`; return their paths.

    Each file is replaced whole, so that a kill leaves the old one or the new one.
    """
    from iikata.report.pages import pages  # jinja2 is not needed to name the records.

    return [_replace(folder / name, text) for name, text in pages(material).items()]


def _replace(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)
    return path
