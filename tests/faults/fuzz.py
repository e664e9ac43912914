"""Look for inputs that a parser neither reads nor refuses: python tests/faults/fuzz.py NAME --seconds 300.

Coverage-guided by atheris. What is found goes to a folder outside the repository: `crashes/` has each finding with its
traceback, `kinds/` the smallest input of each way to be read or refused; what is new there belongs into seeds/NAME/.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
import traceback
import warnings
from importlib import import_module
from pathlib import Path

import atheris

INSTRUMENTED = (
    "iikata.stats.reading",
    "iikata.data",
    "iikata.tokenize",
    "iikata.config",
    "iikata.metrics.endpoint",
    "iikata.model.adapters.adapter_file",
    "iikata.rating.ratings",
    "iikata.run_folder",
    "iikata.templates",
    "ruamel.yaml",
)
with atheris.instrument_imports(include=["iikata", "ruamel"]):
    for module in INSTRUMENTED:
        import_module(module)

from parsers import PARSERS, kind_of, outcome  # noqa: E402 - after the instrumented modules

SEEDS = Path(__file__).parent / "seeds"
LONGEST = 4096
"""Bytes of an input."""
SLOW = 30
"""Seconds that an input may take: a template that writes without end is stopped after 4."""


class Hunt:
    """Tries inputs on one parser and keeps what teaches something."""

    def __init__(self, name: str, into: Path) -> None:
        self.name = name
        self.crashes, self.kinds, self.room = into / "crashes", into / "kinds", into / "room"
        self.smallest: dict[str, int] = {}
        for folder in (self.crashes, self.kinds):
            folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, data: bytes) -> None:
        shutil.rmtree(self.room, ignore_errors=True)
        self.room.mkdir()
        try:
            kind = kind_of(outcome(self.name, data, self.room), self.room)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            self._keep(self.crashes, f"{type(error).__name__}:{last.filename}:{last.lineno}", data)
            return
        self._keep(self.kinds, kind, data)

    def _keep(self, folder: Path, kind: str, data: bytes) -> None:
        if len(data) < self.smallest.get(kind, LONGEST + 1):
            self.smallest[kind] = len(data)
            path = folder / hashlib.sha256(kind.encode()).hexdigest()[:12]
            path.write_bytes(data)
            if folder is self.crashes:
                path.with_suffix(".txt").write_text(traceback.format_exc(), encoding="utf-8")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("name", choices=PARSERS)
    asked.add_argument("--seconds", type=int, default=300)
    asked.add_argument("--into", type=Path, default=Path(tempfile.gettempdir()) / "iikata_fuzz")
    given = asked.parse_args()
    into = given.into / given.name
    (into / "corpus").mkdir(parents=True, exist_ok=True)
    (SEEDS / given.name).mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("error")
    limits = [f"-max_total_time={given.seconds}", f"-max_len={LONGEST}", f"-timeout={SLOW}", "-rss_limit_mb=6000"]
    told = [f"-artifact_prefix={into}/crashes/", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], str(into / "corpus"), str(SEEDS / given.name), *limits, *told], Hunt(given.name, into))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
