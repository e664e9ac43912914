"""Two finished runs side by side on one page; both are read as they are, and it lies in the first one's report."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from iikata.core.errors import IikataError
from iikata.core.io import write_text
from iikata.pipeline.context import RunContext
from iikata.pipeline.stages.report import report_data
from iikata.report import ReportData


def beside(first: RunContext, second: RunContext) -> Path:
    """Write report/beside_NAME.html of the first run, NAME being the second one's folder, and return its path.

    Raises IikataError where a run is not compared or has no report yet, and where both are the same.
    """
    from iikata.report.beside import RunSide  # jinja2 is not needed to parse a command
    from iikata.report.beside import beside as page

    folders = [ctx.store.path.resolve() for ctx in (first, second)]
    if folders[0] == folders[1]:
        raise IikataError(f"{second.store.path}: the same run twice. Give two run folders: iikata report RUN RUN2.")
    data, folder = [report_data(ctx) for ctx in (first, second)], first.store.report.resolve()
    homes = [quote(Path(os.path.relpath(_home(ctx), folder)).as_posix()) for ctx in (first, second)]
    sides = [RunSide(*one) for one in zip(data, _labels(data, folders), homes, strict=True)]
    path = first.store.report / f"beside_{folders[1].name}.html"
    with first.store.locked():
        write_text(path, page(*sides))
    return path


def _home(ctx: RunContext) -> Path:
    path = ctx.store.report / "index.html"
    if not path.is_file():
        raise IikataError(f"{path}: no such file, and numbers lead there. First: iikata report {ctx.store.path}")
    return path.resolve()


def _labels(data: Sequence[ReportData], folders: Sequence[Path]) -> list[str]:
    """Return what the runs are called: their experiments' names, their folders' where those are the same."""
    for names in ([one.name for one in data], [folder.name for folder in folders]):
        if names[0] != names[1]:
            return names
    return [str(folder) for folder in folders]
