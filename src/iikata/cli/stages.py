"""The verbs on an experiment or a run: its stages, check, export."""

import argparse
import os
import sys
from collections import Counter
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from iikata.cli.terminal import bare, dumped, inert, language, painted
from iikata.core.errors import IikataError

if TYPE_CHECKING:
    from iikata.pipeline import Pipeline


EXPORT = {"en": "To use it elsewhere: {}", "ja": "ほかで使うには: {}"}


def demo(given: argparse.Namespace) -> None:
    """Run the embedded experiment and print its verdict."""
    given.experiment = str(files("iikata") / "demo" / "demo.yaml")
    given.to, given.force = "report", False
    import torch

    from iikata.model.load import choose_device, choose_dtype

    if choose_dtype("auto", choose_device()) == torch.float32:
        print(
            "This CPU does not compute in bfloat16. Estimate for 2 cores in float32: about 12 minutes "
            "(2.4 times the 5 of bfloat16, the measured ratio of the matrix products).",
            file=sys.stderr,
        )
    run(given)


def run(given: argparse.Namespace) -> None:
    pipeline = open_pipeline(given)
    pipeline.run(given.to, given.force)
    if given.to in ("compare", "report"):
        tell_verdict(pipeline, given.lang)


def encode(given: argparse.Namespace) -> None:
    from iikata.run_folder import read_lines

    pipeline = open_pipeline(given)
    if not given.json:
        pipeline.run("encode", given.force)
        coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        for template in pipeline.context.encoded:
            for line in islice(read_lines(pipeline.context.store.encoded(template)), given.limit):
                print(f"{template} {line['id']}")
                print(f"{painted(line['painted'], coloured)}\n", file=bare(sys.stdout))
        return
    from iikata.pipeline.stages.check import left_out, summary
    from iikata.pipeline.stages.encode import line_of

    print(f"{summary(pipeline.context)}{left_out(pipeline.context)}", file=sys.stderr)
    for template, rows in pipeline.context.encoded.items():
        for row in rows[: given.limit]:
            print(dumped(line_of(template, row)))


def stage(given: argparse.Namespace) -> None:
    """Train, generate or score."""
    open_pipeline(given).run(given.name, given.force)


def check(given: argparse.Namespace) -> int:
    """Print what was read and the template doctor's findings; exit 1 where one is an error."""
    from iikata.pipeline.stages.check import examine, shown, summary

    context = open_pipeline(given).context
    findings = examine(context)
    if given.json:
        print(dumped([finding.told(given.lang or "en") for finding in findings], indent=1))
    else:
        counts = Counter(finding.severity for finding in findings)
        words = {"error": "error", "warning": "warning", "info": "note"}
        told = [f"{n} {word}{'s' * (n > 1)}" for key, word in words.items() if (n := counts[key])]
        print(summary(context), *(shown(finding, language(given.lang)) for finding in findings), sep="\n\n", end="\n\n")
        print(", ".join(told) or "no findings")
    return int(any(finding.severity == "error" for finding in findings))


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
    """Write a run's report, or the page of two runs side by side, and print where it is."""
    if given.other:
        from iikata.pipeline.beside import beside

        if given.set or given.out:
            raise IikataError(
                "--set and --out go with the report of one run; two are shown as they are. Leave them out."
            )
        second = argparse.Namespace(**{**vars(given), "experiment": given.other})
        print(beside(*(open_pipeline(one).context for one in (given, second))))
        return
    pipeline = open_pipeline(given)
    pipeline.only("report")
    print(pipeline.context.store.report / "index.html")


def export(given: argparse.Namespace) -> None:
    """Write an arm as a folder that other tools load, and say what of it is not exact."""
    from iikata.pipeline.export import export as exported

    context, gguf = open_pipeline(given).context, given.gguf or given.ollama
    made = exported(context, given.arm, Path(given.dest), given.merge, given.base, gguf=gguf, ollama=given.ollama)
    for remark in made.remarks:
        print(f"note: {remark}")
    print(given.dest)


def schema(given: argparse.Namespace) -> None:
    from iikata.config import schema as made

    print(dumped(made(), indent=2))


def open_pipeline(given: argparse.Namespace) -> "Pipeline":
    """Return the pipeline of an experiment file, or of a run folder that goes on in itself."""
    pipeline = _pipeline(given)
    pipeline.context.language = language(given.lang)
    return pipeline


def _pipeline(given: argparse.Namespace) -> "Pipeline":
    from iikata.cli.console import Console
    from iikata.config import read
    from iikata.pipeline import Pipeline

    path = Path(given.experiment)
    for run in (path, path / "run"):  # the latter is what `iikata finetune` makes
        if os.path.isfile(run / "experiment.yaml"):  # which passes a name that is too long
            return Pipeline(read(run / "experiment.yaml", given.set), Path(given.out or run), Console())
    if os.path.isdir(path):
        raise IikataError(
            f"{path}: no experiment.yaml in this folder: no run, or one that only begins. "
            f"To make it one: iikata run EXP --out {path}"
        )
    experiment = read(path, given.set)
    return Pipeline(experiment, Path(given.out or Path("runs") / experiment.name), Console())


def tell_verdict(pipeline: "Pipeline", asked: str | None) -> None:
    """Print the verdict and where the report is."""
    from iikata.pipeline.export import export_command
    from iikata.run_folder import read_json
    from iikata.stats.short import first_lines

    store = pipeline.context.store
    verdict = read_json(store.comparisons)["verdict"]
    told = language(asked)
    command = export_command(pipeline.context, verdict)
    lines = [*first_lines(verdict, told), *([EXPORT[told].format(command)] if command else [])]
    print("", *lines, "", verdict[f"sentence_{told}"], "", sep="\n")
    if (page := store.report / "index.html").is_file():
        print(f"report: {page}")
