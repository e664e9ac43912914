"""Marks for single values of a parametrized test."""

from typing import Any

import pytest


def long(*values: Any) -> list[Any]:
    """Return the values as those of `make test-all` alone; a tuple stands for several arguments."""
    mark = pytest.mark.long
    return [pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=mark) for one in values]
