"""The verbs that do an experiment's stages."""

import argparse
import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata.cli.terminal import bare, dumped, inert, language, painted, uncoloured
from iikata.core.errors import IikataError

if TYPE_CHECKING:
    from iikata.config import Experiment
    from iikata.pipeline import Pipeline


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
    pipeline = open_pipeline(given)
    pipeline.run(given.to, given.force)
    if given.to in ("compare", "report"):
        tell_verdict(pipeline, given.lang)


def encode(given: argparse.Namespace) -> None:
    pipeline = open_pipeline(given)
    if not given.json:
        pipeline.run("encode", given.force)
        for template in pipeline.context.encoded:
            for line in read_shown(pipeline, template)[: given.limit]:
                print(f"{template} {line['id']}")
                print(f"{_coloured(line['painted'])}\n", file=bare(sys.stdout))
        return
    from iikata.pipeline.stages.check import left_out, summary
    from iikata.pipeline.stages.encode import line_of

    print(f"{summary(pipeline.context)}{left_out(pipeline.context)}", file=sys.stderr)
    for template, rows in pipeline.context.encoded.items():
        for row in rows[: given.limit]:
            print(dumped(line_of(template, row)))


def _coloured(text: str) -> str:
    """Return the text without its colours where they would go into a file or are not wanted."""
    wanted = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    return painted(text if wanted else uncoloured(text))


def train(given: argparse.Namespace) -> None:
    open_pipeline(given).run("train", given.force)


def generate(given: argparse.Namespace) -> None:
    open_pipeline(given).run("generate", given.force)


def score(given: argparse.Namespace) -> None:
    open_pipeline(given).run("score", given.force)


def compare(given: argparse.Namespace) -> None:
    """Compare a run's scores, or score files from any tool."""
    if given.scores:
        from iikata.cli.compare import compare_files

        compare_files(given)
        return
    if not given.experiment:
        raise IikataError("compare needs an experiment or run folder, or --scores FILE with --metric NAME.")
    pipeline = open_pipeline(given)
    pipeline.only("compare")
    if given.json:
        print(inert(pipeline.context.store.comparisons.read_text(encoding="utf-8")), end="")
    else:
        tell_verdict(pipeline, given.lang)


def report(given: argparse.Namespace) -> None:
    pipeline = open_pipeline(given)
    pipeline.only("report")
    print(pipeline.context.store.report / "index.html")


def schema(given: argparse.Namespace) -> None:
    from iikata.config import schema as made

    print(dumped(made(), indent=2))


def open_pipeline(given: argparse.Namespace) -> "Pipeline":
    """Return the pipeline of an experiment file, or of a run folder that goes on in itself."""
    from iikata.cli.console import Console
    from iikata.pipeline import Pipeline

    experiment, out = open_experiment(given)
    return Pipeline(experiment, out, Console())


def open_experiment(given: argparse.Namespace) -> "tuple[Experiment, Path]":
    from iikata.config import read

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


def read_shown(pipeline: "Pipeline", template: str) -> list[dict[str, Any]]:
    from iikata.run_folder import read_lines

    return list(read_lines(pipeline.context.store.encoded(template)))


def tell_verdict(pipeline: "Pipeline", asked: str | None) -> None:
    """Print the verdict and where the report is."""
    from iikata.run_folder import read_json
    from iikata.stats.short import first_lines

    store = pipeline.context.store
    verdict = read_json(store.comparisons)["verdict"]
    told = language(asked)
    print("", *first_lines(verdict, told), "", verdict[f"sentence_{told}"], "", sep="\n")
    page = store.report / "index.html"
    if page.is_file():
        print(f"report: {page}", file=sys.stdout)
