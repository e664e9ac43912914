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
    _force(run)
    check = _verb(verbs, "check", "iikata.cli.check:check", "the template doctor, without loading the model")
    _experiment(check)
    check.add_argument("--json", action="store_true", help="print JSON")
    _plan(verbs)
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
    _verb(verbs, "schema", "iikata.cli.stages:schema", "JSON schema of the experiment file, for editors")
    _finetune(verbs)
    _templates(verbs)
    _export(verbs)
    _ask(verbs)
    _serve(verbs)
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


def _force(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--force", action="store_true", help="go on although the template doctor found an error")


def _stage(verbs, stage: str, text: str) -> None:  # type: ignore[no-untyped-def]
    verb = _verb(verbs, stage, f"iikata.cli.stages:{stage}", text)
    _experiment(verb, optional=stage == "compare")
    if stage not in ("compare", "report"):
        _force(verb)
    if stage in ("encode", "compare"):
        verb.add_argument("--json", action="store_true", help="print JSON")
    if stage == "encode":
        verb.add_argument("--limit", type=int, metavar="N", help="rows a template")
    if stage == "compare":
        verb.add_argument("--scores", nargs="+", metavar="FILE", help="score files (JSON lines) from any tool")
        verb.add_argument("--metric", metavar="M", help="the primary metric")
        verb.add_argument("--factor", metavar="NAME", help="what is compared, where more than one setting varies")
        verb.add_argument("--others", choices=("best", "average", "each"), help="how to deal with the other settings")
        verb.add_argument(
            "--choosing-seeds",
            nargs="+",
            type=int,
            metavar="S",
            help="seeds that --others best chooses on, never tested",
        )
        verb.add_argument("--margin", type=float, metavar="X", help="largest difference that does not matter")
        verb.add_argument("--alpha", type=float, default=0.05, help="share of false alarms to live with")
        verb.add_argument(
            "--better", choices=("higher", "lower", "none"), help="direction of a metric iikata does not know"
        )


def _plan(verbs) -> None:  # type: ignore[no-untyped-def]
    verb = _verb(verbs, "plan", "iikata.cli.plan:plan", "what there is to do and what effect it could find")
    _experiment(verb)
    verb.add_argument("--json", action="store_true", help="print JSON")
    verb.add_argument("--pilot", metavar="RUN", help="a finished run to take variances and speed from")
    for name, text in (
        ("seed_template", "between seeds of one template"),
        ("probe_template", "between probe clusters of one template"),
        ("sample", "between samples of one answer"),
        ("residual", "what is left"),
    ):
        flag = f"--sd-{name.replace('_', '-')}"
        verb.add_argument(flag, type=float, metavar="X", help=f"state a standard deviation: {text}")


def _finetune(verbs) -> None:  # type: ignore[no-untyped-def]
    from iikata.cli.finetune_flags import FLAGS

    verb = _verb(verbs, "finetune", "iikata.cli.finetune:finetune", "one arm, with the flags of the old finetune.py")
    _force(verb)
    for flag in FLAGS:
        bare = {"nargs": "?", "const": True} if flag.kind == "BOOL" else {}
        more = {"type": flag.read, "default": flag.default, "metavar": flag.kind, "help": flag.help, **bare}
        spelt = dict.fromkeys((f"--{flag.name}", f"--{flag.name.replace('_', '-')}"))
        verb.add_argument(*spelt, dest=flag.name, **more)  # type: ignore[arg-type]
        if bare:  # python-fire's way to say no
            no = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
            dashed = flag.name.replace("_", "-")
            denied = f"--no{flag.name}", f"--no_{flag.name}", f"--no{dashed}", f"--no-{dashed}"
            verb.add_argument(*denied, dest=flag.name, action="store_false", **no)  # type: ignore[arg-type]


def _templates(verbs) -> None:  # type: ignore[no-untyped-def]
    verb = _verb(verbs, "templates", "iikata.cli.templates:templates", "list, show or convert templates")
    verb.add_argument("action", choices=("list", "show", "convert"), help="what to do")
    verb.add_argument("template", nargs="?", metavar="TEMPLATE", help="built-in name or file")
    verb.add_argument("dest", nargs="?", metavar="DEST", help="convert: DEST.json (Alpaca) or DEST.jinja")


def _export(verbs) -> None:  # type: ignore[no-untyped-def]
    verb = _verb(verbs, "export", "iikata.cli.export:export", "an arm as a folder that other tools load")
    verb.add_argument("experiment", metavar="RUN", help="run folder")
    verb.add_argument("arm", metavar="ARM", help="e.g. dolly_ja.s0")
    verb.add_argument("dest", metavar="DEST", help="folder to write; must not be there yet")
    verb.add_argument("--merge", action="store_true", help="write the base's weights with the adapter merged in")
    verb.add_argument("--base", metavar="ID", help="the base's hub id, where the run was made on a local folder")
    verb.set_defaults(set=[], out=None)


def _ask(verbs) -> None:  # type: ignore[no-untyped-def]
    verb = _verb(verbs, "ask", "iikata.cli.ask:ask", "answers of every cell side by side, as they are written")
    verb.add_argument("run", metavar="RUN", help="run folder, adapter folder, or a base model")
    verb.add_argument("question", help="the instruction")
    verb.add_argument("--input", default="", metavar="TEXT", help="the instruction's input")
    verb.add_argument("--arm", action="append", default=[], metavar="A", help="only this arm (may be given again)")
    verb.add_argument("--template", action="append", default=[], metavar="T", help="prompt with this template only")
    verb.add_argument("--samples", type=int, default=1, metavar="N", help="answers a cell")
    verb.add_argument("--set", action="append", default=[], metavar="A.B=C", help="e.g. generate.temperature=0")


def _serve(verbs) -> None:  # type: ignore[no-untyped-def]
    verb = _verb(verbs, "serve", "iikata.cli.serve:serve", "the local page: follow a run, rate blind, ask")
    verb.add_argument("run", metavar="RUN", help="run folder")
    verb.add_argument("other", metavar="RUN2", nargs="?", help="another, beside it")
    verb.add_argument("--port", type=int, default=0, metavar="N", help="default: any that is free")
