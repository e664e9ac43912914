"""`iikata study`: publish finished runs' scores, and redo their statistics from them; no model is opened."""

import argparse
from pathlib import Path

from iikata.cli.terminal import language
from iikata.core.errors import IikataError

SHOWN = 20


def study(given: argparse.Namespace) -> None:
    """Publish runs into a folder, or hold what it holds against its scores; IikataError where they disagree."""
    from iikata.pipeline.publishing import RESULT, differences, publish, redone
    from iikata.run_folder import read_json, write_json
    from iikata.stats.short import first_lines

    folder = Path(given.folder)
    if given.of:
        publish(folder, [Path(run) for run in given.of])
    now = redone(folder)
    if given.write:
        write_json(folder / RESULT, now)
    then = read_json(folder / RESULT)
    if found := list(differences(now, then)):
        told = "\n".join(found[:SHOWN])
        raise IikataError(
            f"{folder / RESULT}: {len(found)} values are not what the scores give now (place: now, there):\n{told}"
        )
    told_in = language(given.lang)
    print(*first_lines(now["verdict"], told_in), sep="\n")
    print(f"{folder}: {len(now['comparisons']):,} comparisons, each as it was published")
