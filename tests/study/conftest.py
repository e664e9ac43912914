"""The study's scripts can be imported, behind the tests' own modules, of which one has the same name."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "study"))
