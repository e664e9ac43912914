"""A real browser, or a printed reason why there is none; under CI that reason is a failure."""

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parents[1] / room) for room in ("report", "serve")]


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        lacking("playwright (pip install playwright)")
    if path is None:
        lacking("Chromium (apt-get install chromium)")
    with sync_playwright() as tools:
        # Containers lend no user namespaces to Chromium's sandbox.
        browser = tools.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def lacking(what: str) -> None:
    said = f"the pages are not tried in a browser: {what} is missing"
    if os.environ.get("CI"):
        pytest.fail(said)
    pytest.skip(said)
