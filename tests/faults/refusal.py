"""What every refusal of broken input has in common."""

import re
from pathlib import Path

from iikata.cli import main


def files_in(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder` with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(argv: list[str], capsys, *said: str) -> str:
    """Run the command and return its message, which must hold each of `said` (place, what was seen, cure).

    It exits with 1, prints no result and no traceback, and nothing that a terminal would act on.
    """
    code = main(argv)
    out, err = capsys.readouterr()
    assert code == 1, f"exit {code}: {err}"
    assert "Traceback" not in err
    assert "fault of iikata" not in err
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", err), f"control characters reach the terminal: {err!r}"
    assert out.strip() == ""
    last = err[err.rfind("iikata: ") :]
    assert len(last) < 4000
    for words in said:
        assert words in last, f"{words!r} is not in {last!r}"
    return last
