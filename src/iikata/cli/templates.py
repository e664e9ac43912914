"""`iikata templates`: what templates there are, and what one of them writes."""

import argparse
from pathlib import Path

from iikata.errors import IikataError
from iikata.templates import BUILT_IN, load


def templates(given: argparse.Namespace) -> None:
    """List the built-in templates, or show one."""
    if given.action == "list":
        for name, template in BUILT_IN.items():
            first = template.render("...").prompt.replace("\n", "⏎")
            print(f"{name:16} {first[:90]}")
        print(f"{'native':16} the model's own chat template")
        return
    if not given.template:
        raise IikataError("templates show needs a template: a built-in name or a file.")
    template = load(given.template, Path())
    print(f"name: {template.name}\nhash: {template.hash}\nnewline: {template.newline!r}")
    for title, input in (("without an input", ""), ("with an input", "{input}")):
        rendered = template.render("{instruction}", input, "{output}")
        print(f"\n--- {title}\n{rendered.prompt}{rendered.completion}{rendered.end or '[end token]'}")
