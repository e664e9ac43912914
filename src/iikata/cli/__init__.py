"""The command line: one function a verb, errors without a traceback, exit codes 0, 1, 2, 3."""

import atexit
import gc
import os
import shlex
import sys
from collections.abc import Sequence

from iikata.core.errors import IikataError

GOING_ON = ("run", "demo", "encode", "train", "generate", "score", "finetune")
"""Commands that go on where they were stopped; the others start again."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 fine, 1 the input is at fault, 2 wrong usage, 3 internal, 130 and 143 stopped by Ctrl-C and SIGTERM.
    """
    from iikata.cli.terminal import guarded

    # Python looks for cycles among all objects when it ends, which takes seconds once torch is there.
    atexit.register(gc.freeze)
    with guarded():
        return _run(list(sys.argv[1:] if argv is None else argv))


def _run(words: list[str]) -> int:
    from iikata.core import signals

    with signals.install(_tell):
        try:
            return _called(words)
        except KeyboardInterrupt as stopped:
            signals.ignore()
            again = f" To go on: {shlex.join(['iikata', *words])}" if words and words[0] in GOING_ON else ""
            _tell(f"stopped; nothing that was finished is lost.{again}")
            return getattr(stopped, "exit_code", 130)


def _called(words: list[str]) -> int:
    from iikata.cli.parser import parser

    given = parser().parse_args(words)
    try:
        code = int(given.verb(given) or 0)
        sys.stdout.flush()  # here, where a reader that went away is met
        return code
    except IikataError as error:
        _tell(str(error), getattr(given, "lang", None))
        return error.exit_code
    except BrokenPipeError:
        # The reader (head, less) went away; that is no fault. Python must not flush into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # Folders that are files, disks that are full, paths nobody may write: the machine's word is the clearest.
        place, why = error.filename or "while reading, writing or printing", error.strerror or error
        _tell(f"{place}: {why}. Give another place, or make room; what was there before is not lost.")
        return 1
    except Exception as error:
        import traceback

        from iikata.core.registry import FROM_ELSEWHERE

        traceback.print_exc()
        frames = [frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)]
        theirs = next((name for name in reversed(frames) if name in FROM_ELSEWHERE), "")
        others = f" or of what was added to it ({', '.join(sorted(FROM_ELSEWHERE))})" if FROM_ELSEWHERE else ""
        whose = f"of {theirs}, which is no part of iikata" if theirs else f"of iikata{others}"
        _tell(f"this is a fault {whose}, not of your input; please report it with the lines above.")
        return 3


def _tell(message: str, asked: str | None = None) -> None:
    from iikata.cli.terminal import in_words

    print(f"iikata: {in_words(message, asked)}", file=sys.stderr, flush=True)
