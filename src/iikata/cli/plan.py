"""`iikata plan`: what there is to do and what it could find, printed before anything is trained."""

import argparse
from pathlib import Path

from iikata.cli.plan_lines import STATED, lines
from iikata.cli.stages import open_pipeline
from iikata.cli.terminal import dumped, language
from iikata.core.errors import IikataError


def plan(given: argparse.Namespace) -> None:
    """Print the plan of an experiment."""
    from iikata.pipeline.plan import in_japanese
    from iikata.pipeline.plan import plan as planned

    stated = {name: value for name in STATED if (value := getattr(given, f"sd_{name}")) is not None}
    if given.price is not None and not 0 < given.price < float("inf"):
        raise IikataError(f"--price {given.price}: the price of an hour of this machine, above 0, is allowed.")
    pilot = Path(given.pilot) if given.pilot else None
    context, told = open_pipeline(given).context, language(given.lang)
    made = planned(context, stated, pilot, given.price)
    if given.json:
        print(dumped(made, indent=1))
    else:
        print(*(getattr(line, told) for line in lines(made, in_japanese(context))), sep="\n")
