"""The report: one HTML page and its Markdown twin, from records to files; it computes nothing."""

from pathlib import Path

from iikata.core.io import write_text
from iikata.report.data import ReportData, TemplateCard

__all__ = ["ReportData", "TemplateCard", "write"]


def write(data: ReportData, folder: Path) -> list[Path]:
    """Write index.html, report.md, report.zenn.md and plots/*.svg into `folder`; return their paths.

    Each file is replaced in one step, so that a kill leaves the old one or the new one.
    """
    from iikata.report.pages import pages  # jinja2 is not needed to name the records.

    written = {folder / name: text for name, text in pages(data).items()}
    for path, text in written.items():
        write_text(path, text)
    return list(written)
