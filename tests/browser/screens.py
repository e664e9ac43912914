"""The screens that pages are tried on, and what axe finds on one."""

from pathlib import Path

AXE = Path(__file__).parent / "axe.min.js"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


def faults_of_access(page):
    """Return what axe finds serious, and whether the page is wider than the screen."""
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    grave = {one["id"]: [node["html"][:200] for node in one["nodes"][:3]] for one in found
             if one["impact"] in ("serious", "critical")}  # fmt: skip
    wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
    return grave | ({"wide": page.url} if wide else {})
