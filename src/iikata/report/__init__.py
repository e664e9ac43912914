"""The report: one HTML page, its Markdown twins and pictures, from records to files; it computes nothing."""

from collections.abc import Callable, Mapping
from pathlib import Path

from iikata.core.io import write_bytes, write_text
from iikata.report.data import ReportData, TemplateCard

__all__ = ["ReportData", "TemplateCard", "write"]


def write(data: ReportData, folder: Path, tell: Callable[[str], None] = lambda text: None) -> list[Path]:
    """Write index.html, report.md, report.zenn.md, plots and cards into `folder`; return their paths.

    Each file is replaced in one step, so that a kill leaves the old one or the new one. A picture that this machine
    cannot draw as a PNG is left out, and `tell` hears why.
    """
    from iikata.report.pages import pages  # jinja2 is not needed to name the records.

    written = {folder / name: text for name, text in pages(data).items()}
    for path, text in written.items():
        write_text(path, text)
    return [*written, *_drawn({path: text for path, text in written.items() if path.suffix == ".svg"}, tell)]


def _drawn(pictures: Mapping[Path, str], tell: Callable[[str], None]) -> list[Path]:
    """Draw each SVG as a PNG beside it; an old PNG that cannot be drawn again goes."""
    from iikata.report.picture import lacking, png

    found, left_out = [], dict[str, list[str]]()
    for path, text in pictures.items():
        own = path.with_suffix(".png")
        if why := lacking(text):
            own.unlink(missing_ok=True)
            left_out.setdefault(why, []).append(own.name)
            continue
        # A card has the size that sites show; a plot is sharp on a fine screen too.
        write_bytes(own, png(text, 1 if own.stem.startswith("card") else 2))
        found.append(own)
    for why, names in left_out.items():
        tell(f"report: without {', '.join(names)}: {why}. Then: iikata report RUN")
    return found
