"""The verbs that do an experiment's stages."""

import argparse
import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata.cli.terminal import bare, dumped, inert, painted, uncoloured
from iikata.errors import IikataError

if TYPE_CHECKING:
    from iikata.experiment import Experiment
    from iikata.lab import Lab


def demo(given: argparse.Namespace) -> None:
    """Run the embedded experiment and print its verdict."""
    given.experiment = str(files("iikata") / "demo" / "demo.yaml")
    given.set, given.to, given.force = [], "report", False
    _estimate()
    run(given)


def _estimate() -> None:
    """Say beforehand how long the demo takes on a machine that is slower than the one it was cut for."""
    import torch

    from iikata.model.base import choose_device, choose_dtype

    if choose_dtype("auto", choose_device()) == torch.float32:
        print(
            "This CPU does not compute in bfloat16. Estimate for 2 cores in float32: about 12 minutes "
            "(2.4 times the 5 of bfloat16, the measured ratio of the matrix products).",
            file=sys.stderr,
        )


def run(given: argparse.Namespace) -> None:
    lab = open_lab(given)
    lab.run(given.to, given.force)
    if given.to in ("compare", "report"):
        tell_verdict(lab, given.lang)


def encode(given: argparse.Namespace) -> None:
    lab = open_lab(given)
    if not given.json:
        lab.run("encode", given.force)
        for template in lab.materials.encoded:
            for line in read_shown(lab, template)[: given.limit]:
                print(f"{template} {line['id']}")
                print(f"{_coloured(line['painted'])}\n", file=bare(sys.stdout))
        return
    from iikata.lab.checking import left_out, summary
    from iikata.lab.encoding import line_of

    print(f"{summary(lab.materials)}{left_out(lab.materials)}", file=sys.stderr)
    for template, rows in lab.materials.encoded.items():
        for row in rows[: given.limit]:
            print(dumped(line_of(template, row)))


def _coloured(text: str) -> str:
    """Return the text without its colours where they would go into a file or are not wanted."""
    wanted = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return painted(text if wanted else uncoloured(text))


def train(given: argparse.Namespace) -> None:
    open_lab(given).run("train", given.force)


def generate(given: argparse.Namespace) -> None:
    open_lab(given).run("generate", given.force)


def score(given: argparse.Namespace) -> None:
    open_lab(given).run("score", given.force)


def compare(given: argparse.Namespace) -> None:
    """Compare a run's scores, or score files from any tool."""
    if given.scores:
        from iikata.cli.compare import compare_files

        compare_files(given)
        return
    if not given.experiment:
        raise IikataError("compare needs an experiment or run folder, or --scores FILE with --metric NAME.")
    lab = open_lab(given)
    lab.only("compare")
    if given.json:
        print(inert(lab.materials.store.comparisons.read_text(encoding="utf-8")), end="")
    else:
        tell_verdict(lab, given.lang)


def report(given: argparse.Namespace) -> None:
    lab = open_lab(given)
    lab.only("report")
    print(lab.materials.store.report / "index.html")


def schema(given: argparse.Namespace) -> None:
    from iikata.experiment import schema as made

    print(dumped(made(), indent=2))


def open_lab(given: argparse.Namespace) -> "Lab":
    """Return the lab of an experiment file, or of a run folder that goes on in itself."""
    from iikata.cli.console import Console
    from iikata.lab import Lab

    experiment, out = open_experiment(given)
    return Lab(experiment, out, Console())


def open_experiment(given: argparse.Namespace) -> "tuple[Experiment, Path]":
    from iikata.experiment import read

    path = Path(given.experiment)
    if os.path.isdir(path) and (path / "experiment.yaml").is_file():
        return read(path / "experiment.yaml", given.set), Path(given.out or path)
    if os.path.isdir(path):
        raise IikataError(
            f"{path}: no experiment.yaml in this folder: no run, or one that only begins. "
            f"To make it one: iikata run EXP --out {path}"
        )
    experiment = read(path, given.set)
    return experiment, Path(given.out or Path("runs") / experiment.name)


def read_shown(lab: "Lab", template: str) -> list[dict[str, Any]]:
    from iikata.store import read_lines

    return list(read_lines(lab.materials.store.encoded(template)))


def tell_verdict(lab: "Lab", asked: str | None) -> None:
    """Print the verdict and where the report is."""
    from iikata.store import read_json

    store = lab.materials.store
    verdict = read_json(store.comparisons)["verdict"]
    print(f"\n{verdict[f'sentence_{language(asked)}']}\n")
    page = store.report / "index.html"
    if page.is_file():
        print(f"report: {page}", file=sys.stdout)


def language(asked: str | None) -> str:
    """Return "ja" where it is asked for or the environment speaks Japanese, else "en"."""
    said = asked or os.environ.get("LC_ALL") or os.environ.get("LANG") or ""
    return "ja" if said.startswith("ja") else "en"
