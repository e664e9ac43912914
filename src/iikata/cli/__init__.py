"""The command line: one function a verb, errors without a traceback, exit codes 0, 1, 2, 3."""

import os
import sys
from collections.abc import Sequence

from iikata.errors import IikataError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 fine, 1 the input is at fault, 2 wrong usage, 3 internal."""
    from iikata.cli.parser import parser

    # Fork-parallel tokenizers warn at every subprocess; rows are short, one thread is as fast.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    given = parser().parse_args(list(sys.argv[1:] if argv is None else argv))
    try:
        return int(given.verb(given) or 0)
    except IikataError as error:
        print(f"iikata: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("iikata: interrupted; the same command goes on from here.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) went away; that is no fault. Python must not flush into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # Folders that are files, disks that are full, paths nobody may write: the machine's word is the clearest.
        where = f"{error.filename}: " if error.filename else ""
        print(f"iikata: {where}{error.strerror or error}. Nothing that was there before is lost.", file=sys.stderr)
        return 1
    except Exception:
        import traceback

        traceback.print_exc()
        print(
            "iikata: this is a fault of iikata, not of your input; please report it with the lines above.",
            file=sys.stderr,
        )
        return 3
