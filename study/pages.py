"""Fill the study's two pages in from the models' results.json and reanalysis.json, so that no number is typed.

    python study/pages.py             fail where README.md or README.ja.md is not what the results give
    python study/pages.py --write     write them

What a sentence says beyond its numbers stands in the template beside `held(...)`, which fails where it is no longer so.
A model without results.json is shown as not run yet.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import counting
import declare
import jinja2
from scores import shots_of
from tables import environment

from iikata.report.bilingual import words

HERE = Path(__file__).resolve().parent
PAGES = ("README.md", "README.ja.md")
HEADLINES = {"headline.md": "README.md", "headline.ja.md": "README.ja.md"}
"""A sentence -> the page of the repository that must say it."""
NAMES = {"smollm2": "SmolLM2-135M-Instruct", "gemma": "Gemma-3-270M", "qwen": "Qwen2.5-Coder-0.5B-Instruct"}


CHOICES = {"en": 3, "ja": 5}
"""Of a question of `choice`."""


def pages(folder: Path, names: Iterable[str] = PAGES) -> dict[str, str]:
    """Return page name -> text, of the models whose results lie under `folder`."""
    models = {name: _read(folder / name) for name in declare.STUDIES}
    given = {
        "models": models,
        "done": {name: one for name, one in models.items() if one},
        "names": NAMES,
        "short": {name: one.removesuffix("-Instruct") for name, one in NAMES.items()},
        "draws": declare.Study.draws,
        "seeds": len(declare.TESTING),
    }
    made = {name: _environment(name).get_template(f"{name}.jinja").render(given) for name in names}
    return {name: re.sub(r"\n{3,}", "\n\n", re.sub(r" +\n", "\n", text)) for name, text in made.items()}


def faults(folder: Path) -> Iterator[str]:
    """Yield which page is not what the results give."""
    for name, text in pages(folder).items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            yield f"{name}: not what the results give (study/pages.py --write)"
    if folder == HERE:
        for name, text in pages(folder, HEADLINES).items():
            wanted, page = (" ".join(one.split()) for one in (text, (HERE.parent / HEADLINES[name]).read_text("utf-8")))
            if wanted not in page:
                yield f"the repository's {HEADLINES[name]} does not say: {wanted}"


def _read(folder: Path) -> dict[str, Any] | None:
    """Return a model's results with the re-analysis, None where the model is not run."""
    path, again = folder / "results.json", folder / "reanalysis.json"
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    found["reanalysis"] = json.loads(again.read_text(encoding="utf-8")) if again.is_file() else None
    study = declare.STUDIES[found["model"]]
    templates = [declare.name_of(one) for one in study.templates]
    found["loss_told"] = found["loss"] and {**found["loss"], "metric": "nll"}
    own = {"templates": templates, "asked": declare.name_of(study.asked), "choices": CHOICES[study.language]}
    return {**found, **own, "control": study.control, "draws": study.draws}


def _environment(page: str) -> jinja2.Environment:
    numbers = counting.written("〜" if ".ja." in page else " to ")
    word = {"word": lambda verdict, language: words()[f"verdict.{verdict}"][language]}
    made = environment({"held": held, "long": declare.LONG, **word, **numbers})
    made.filters |= counting.FILTERS
    made.tests["shown"] = shots_of
    return made


def held(so: bool, what: str) -> str:
    """Return nothing where a sentence of a page is still so."""
    if not so:
        raise SystemExit(f"study/pages: the results no longer say that {what}: the sentence must be written anew.")
    return ""


def written(folder: Path) -> None:
    for name, text in pages(folder).items():
        (folder / name).write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        written(HERE)
    found = list(faults(HERE))
    print("pages: " + (f"{len(found)} differ" if found else "every number as the results have it"))
    sys.exit("\n".join(found) if found else 0)


if __name__ == "__main__":
    main()
