"""Every command and flag of `iikata`, with its help; argparse, because `compare` takes many files to one flag."""

import argparse
from collections.abc import Callable
from importlib import import_module

from iikata import __version__

Verb = Callable[[argparse.Namespace], int | None]
STAGES = ("encode", "train", "generate", "score", "compare", "report")


def parser() -> argparse.ArgumentParser:
    """Return the parser; a parsed command's `verb` is the function to call."""
    top = argparse.ArgumentParser(
        prog="iikata",
        description="Does the prompt template matter when you LoRA-fine-tune, and was LoRA needed at all?",
    )
    top.add_argument("--version", action="version", version=f"iikata {__version__}")
    verbs = top.add_subparsers(metavar="COMMAND", required=True)
    demo = _verb(verbs, "demo", "iikata.cli.stages:demo", "the whole experiment on an embedded model and data")
    _output(demo)
    run = _verb(verbs, "run", "iikata.cli.stages:run", "all stages of an experiment, resuming")
    _experiment(run)
    run.add_argument("--to", choices=STAGES, default="report", help="stop after this stage")
    helps = {
        "encode": "rows to tokens; --json prints them",
        "train": "every arm, after encoding",
        "generate": "every cell's answers, after training",
        "score": "answers and held-out rows to numbers",
        "compare": "statistics of a run, or of scores from any tool",
        "report": "one HTML page and its Markdown twin",
    }
    for stage, text in helps.items():
        _stage(verbs, stage, text)
    schema = _verb(verbs, "schema", "iikata.cli.stages:schema", "JSON schema of the experiment file, for editors")
    del schema
    _finetune(verbs)
    _templates(verbs)
    return top


def _verb(verbs, name: str, target: str, text: str) -> argparse.ArgumentParser:  # type: ignore[no-untyped-def]
    made: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    made.set_defaults(verb=_late(target), name=name)
    return made


def _late(target: str) -> Verb:
    module, _, function = target.partition(":")

    def call(given: argparse.Namespace) -> int | None:
        return getattr(import_module(module), function)(given)  # torch is imported by the verbs that need it

    return call


def _experiment(verb: argparse.ArgumentParser, optional: bool = False) -> None:
    verb.add_argument(
        "experiment", metavar="EXP", nargs="?" if optional else None, help="experiment.yaml or a run folder"
    )
    verb.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", help="override a setting, e.g. train.epochs=1"
    )
    _output(verb)


def _output(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--out", metavar="DIR", help="run folder (default: runs/NAME)")
    verb.add_argument("--lang", choices=("en", "ja"), default=None, help="language of the verdict (default: by LANG)")


def _stage(verbs, stage: str, text: str) -> None:  # type: ignore[no-untyped-def]
    verb = _verb(verbs, stage, f"iikata.cli.stages:{stage}", text)
    _experiment(verb, optional=stage == "compare")
    if stage in ("encode", "compare"):
        verb.add_argument("--json", action="store_true", help="print JSON")
    if stage == "encode":
        verb.add_argument("--limit", type=int, metavar="N", help="rows a template")
    if stage == "compare":
        verb.add_argument("--scores", nargs="+", metavar="FILE", help="score files (JSON lines) from any tool")
        verb.add_argument("--metric", metavar="M", help="the primary metric")
        verb.add_argument("--margin", type=float, metavar="X", help="largest difference that does not matter")
        verb.add_argument("--alpha", type=float, default=0.05, help="share of false alarms to live with")
        verb.add_argument(
            "--better", choices=("higher", "lower", "none"), help="direction of a metric iikata does not know"
        )


def _finetune(verbs) -> None:  # type: ignore[no-untyped-def]
    from iikata.cli.finetune_flags import FLAGS

    verb = _verb(verbs, "finetune", "iikata.cli.finetune:finetune", "one arm, with the flags of the old finetune.py")
    for flag in FLAGS:
        verb.add_argument(f"--{flag.name}", type=flag.read, default=flag.default, metavar=flag.kind, help=flag.help)


def _templates(verbs) -> None:  # type: ignore[no-untyped-def]
    verb = _verb(verbs, "templates", "iikata.cli.templates:templates", "list or show prompt templates")
    verb.add_argument("action", choices=("list", "show"), help="what to do")
    verb.add_argument("template", nargs="?", metavar="TEMPLATE", help="built-in name or file")
