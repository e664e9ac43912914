"""A report in a real browser: opens a made-up run's page from its file and notes all that a page must not do."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "report"))
from synthetic_run import run

from iikata.core.records import Finding, Gate
from iikata.report import ReportData, write

HOSTILE_NAME = '"><img src=x onerror="window.owned=1"><script>window.owned=1</script>\u202e</textarea>'
"""Markup in every place where a run's own text stands: names, questions, templates, findings."""


@dataclass
class Watched:
    """An open page and what it did that it must not do."""

    page: Any
    requests: list[str] = field(default_factory=list)
    """Whatever was asked for besides the page itself."""
    faults: list[str] = field(default_factory=list)
    """Console errors, uncaught errors, refusals of the policy, dialogs."""

    def is_still(self) -> bool:
        """Return whether nothing left, nothing failed and no text of a model ran."""
        return not self.requests and not self.faults and self.page.evaluate("window.owned === undefined")


def watched(context: Any, address: str) -> Watched:
    """Open `address` and wait until its answers can be read."""
    seen = Watched(context.new_page())
    document = address.split("#")[0].split("?")[0]
    seen.page.on(
        "request",
        lambda request: (
            None if request.url.split("#")[0].split("?")[0] == document or request.url.startswith("data:")
            else seen.requests.append(request.url)
        ),
    )  # fmt: skip
    seen.page.on("console", lambda line: seen.faults.append(line.text) if line.type in ("error", "warning") else None)
    seen.page.on("pageerror", lambda error: seen.faults.append(str(error)))
    seen.page.on("dialog", lambda dialog: (seen.faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    seen.page.goto(address)
    seen.page.locator(".status", has_text=" / ").wait_for()
    return seen


def hostile(folder: Path) -> Path:
    """Write the page of a run whose every text is hostile; return its path."""
    made = run(probes=4)
    bad = replace(made.probes[1], id=HOSTILE_NAME, instruction=HOSTILE_NAME, input=HOSTILE_NAME, cluster=HOSTILE_NAME)
    cards = {
        name: replace(card, text=HOSTILE_NAME, painted=[(HOSTILE_NAME, True)], template_literals=[HOSTILE_NAME])
        for name, card in made.templates.items()
    }
    answers = [
        replace(a, probe=HOSTILE_NAME, text=a.text + HOSTILE_NAME) if a.probe == "p01" else a for a in made.answers
    ]
    finding = Finding(HOSTILE_NAME, "warning", HOSTILE_NAME, HOSTILE_NAME, HOSTILE_NAME, HOSTILE_NAME)
    found = replace(
        made, name=HOSTILE_NAME, command=HOSTILE_NAME, experiment=HOSTILE_NAME, templates=cards, answers=answers,
        probes=[made.probes[0], bad, *made.probes[2:]], findings=[finding], signature={"iikata": HOSTILE_NAME},
        gates=[Gate(HOSTILE_NAME, HOSTILE_NAME, False, HOSTILE_NAME), Gate("dead", HOSTILE_NAME, True)],
    )  # fmt: skip
    return written(found, folder)


def written(material: ReportData, folder: Path) -> Path:
    """Write the pages of `material`; return index.html."""
    return write(material, folder)[0]
