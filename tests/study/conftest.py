"""The study's scripts can be imported, behind the tests' own modules, of which one has the same name."""

import sys
from pathlib import Path

import jinja2
import pytest

sys.path.append(str(Path(__file__).parents[2] / "study"))


@pytest.fixture
def plain_section(monkeypatch):
    """Gemma's section as that of a model whose page nobody has written: made-up results contradict what is written."""
    import pages

    own = {f"gemma{end}.md.jinja": '{% extends "model' + end + '.md.jinja" %}' for end in ("", ".ja")}
    made = pages.environment

    def environment(known):
        found = made(known)
        found.loader = jinja2.ChoiceLoader([jinja2.DictLoader(own), found.loader])
        return found

    monkeypatch.setattr(pages, "environment", environment)
