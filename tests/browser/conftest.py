"""A real browser, or a printed reason why there is none (under CI a failure), and pages that must do nothing wrong."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from screens import DESK

sys.path += [str(Path(__file__).parents[1] / room) for room in ("report", "serve")]

OWNED = "Object.defineProperty(window, 'owned', {set() { console.error('a text has run'); }})"


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


@pytest.fixture
def reader(browser):
    """A page; afterwards it must have asked nothing of other machines, failed nowhere and run no text."""
    context = browser.new_context(viewport=DESK, locale="en-US", reduced_motion="reduce")
    context.add_init_script(OWNED)
    page = context.new_page()
    page.faults = faults = []
    page.on("console", lambda line: faults.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda r: faults.append(r.url) if not r.url.startswith(page.own) else None)
    page.own = ("http://127.0.0.1:", "data:")
    yield page
    assert faults == []
    context.close()


@pytest.fixture
def seen_as(browser):
    """Open an address in a language, on a screen, in a colour scheme, for a script to look at."""
    contexts = []

    def open_(language, screen, scheme):
        locale = "ja-JP" if language == "ja" else "en-US"
        made = browser.new_context(viewport=screen, locale=locale, bypass_csp=True, color_scheme=scheme)
        contexts.append(made)
        return made.new_page()

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture
def served(tmp_path):
    """The page of a run that has answered everything, and a model whose words are known."""
    from served import StandIn, StandInQueue, written
    from visits import Served

    found = Served(written(tmp_path), StandInQueue(StandIn(["Ro", "me", "."], pause=0.2)))
    yield found
    found.close()
