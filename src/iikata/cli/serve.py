"""`iikata serve`: the local page of one or two runs."""

import argparse
import sys
from pathlib import Path


def serve(given: argparse.Namespace) -> None:
    """Serve until Ctrl-C; print the address first."""

    def tell(address: str) -> None:
        print(address, flush=True)
        print("Ctrl-C ends the page; ratings are kept in the run folder.", file=sys.stderr)

    from iikata.serve import serve as serve_page

    folders = [Path(run) for run in (given.run, given.other) if run]
    serve_page(folders, given.port, tell)
