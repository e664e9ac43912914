"""`python -m iikata` is `iikata`."""

import sys

from iikata.cli import main

sys.exit(main())
