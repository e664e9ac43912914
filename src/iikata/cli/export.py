"""`iikata export`: an arm as a folder that other tools load."""

import argparse
from pathlib import Path

from iikata.cli.stages import open_pipeline


def export(given: argparse.Namespace) -> None:
    """Write the folder, and say what of it is not exact."""
    from iikata.pipeline.export import export as exported

    if (made_by := Path(given.experiment) / "run" / "experiment.yaml").is_file():
        given.experiment = str(made_by.parent)  # what `iikata finetune` wrote
    made = exported(open_pipeline(given).context, given.arm, Path(given.dest), given.merge, given.base)
    for remark in made.remarks:
        print(f"note: {remark}")
    print(given.dest)
