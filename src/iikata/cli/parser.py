"""Every command and flag of `iikata`, with its help; argparse, because `compare` takes many files to one flag."""

import argparse
from importlib import import_module
from typing import Any, NoReturn

from iikata import __version__
from iikata.cli.finetune_flags import FLAGS
from iikata.cli.terminal import in_words

STAGES = ("encode", "train", "generate", "score", "compare", "report")
Argument = tuple[tuple[str, ...], dict[str, Any]]


def _margin(text: str) -> float | str:
    from iikata.core.margin import share_of_gain

    try:
        return float(text)
    except ValueError:
        try:
            share_of_gain(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text


def _arg(*names: str, **how: Any) -> Argument:
    return names, how


EXP = _arg("experiment", metavar="EXP", help="experiment.yaml or a run folder")
RUN = _arg("experiment", metavar="RUN", help="run folder")
ARM = _arg("arm", metavar="ARM", help="an arm, as dolly_ja.s0: its variant and seed")
BASE = _arg("--base", metavar="ID", help="the base's hub id, where the run was made on a local folder")
SET = _arg("--set", action="append", default=[], metavar="A.B=C", help="override a setting, e.g. train.epochs=1")
OUT = _arg("--out", metavar="DIR", help="run folder (default: runs/NAME)")
LANG = _arg("--lang", choices=("en", "ja"), help="language of verdict and findings (default: that of $LANG)")
FORCE = _arg("--force", action="store_true", help="go on although the template doctor found an error")
JSON = _arg("--json", action="store_true", help="print JSON")
GIVEN = (EXP, SET, OUT, LANG)
SD = "state a standard deviation: "

VERBS: dict[str, tuple[str, str, tuple[Argument, ...]]] = {
    # command: (file:function, help, arguments)
    "demo": ("stages:demo", "run a whole experiment on an embedded model and data", (OUT, LANG)),
    "run": (
        "stages:run",
        "run all stages of an experiment; it goes on where it was stopped",
        (*GIVEN, _arg("--to", choices=STAGES, default="report", help="stop after this stage"), FORCE),
    ),
    "check": ("stages:check", "look for faults in templates, data and settings; loads no model", (*GIVEN, JSON)),
    "plan": (
        "plan:plan",
        "tell what there is to do, how long it takes and what effect it could find",
        (
            *(*GIVEN, JSON),
            _arg("--pilot", metavar="RUN", help="a finished run to take variances and speed from"),
            _arg("--price", type=float, metavar="X", help="price of an hour of this machine, in any currency"),
            _arg("--sd-seed-template", type=float, metavar="X", help=f"{SD}between seeds of one template"),
            _arg("--sd-probe-template", type=float, metavar="X", help=f"{SD}between probe clusters of one template"),
            _arg("--sd-sample", type=float, metavar="X", help=f"{SD}between samples of one answer"),
            _arg("--sd-residual", type=float, metavar="X", help=f"{SD}what is left"),
        ),
    ),
    "encode": (
        "stages:encode",
        "turn rows into tokens; --json prints them",
        (*GIVEN, FORCE, JSON, _arg("--limit", type=int, metavar="N", help="rows of each template to print")),
    ),
    "train": ("stages:stage", "encode, then train every arm", (*GIVEN, FORCE)),
    "generate": ("stages:stage", "train, then let every cell answer", (*GIVEN, FORCE)),
    "score": ("stages:stage", "generate, then turn answers and held-out rows into scores", (*GIVEN, FORCE)),
    "compare": (
        "stages:compare",
        "compare the scores of a run, or of any tool, and give the verdict",
        (
            _arg("experiment", nargs="?", metavar="EXP", help="experiment.yaml or a run folder"),
            *(SET, OUT, LANG, JSON),
            _arg("--scores", nargs="+", metavar="FILE", help="score files (JSON lines) from any tool"),
            _arg("--metric", metavar="M", help="the primary metric"),
            _arg("--factor", metavar="NAME", help="what is compared, where more than one setting varies"),
            _arg("--others", choices=("best", "average", "each"), help="how to deal with the other settings"),
            _arg("--choosing-seeds", nargs="+", type=int, metavar="S", help="seeds of the choice, never tested"),
            _arg(
                "--margin", type=_margin, metavar="X", help="largest difference that does not matter, or '10%% of gain'"
            ),
            _arg(
                "--alpha", type=float, default=0.05, metavar="X", help="accepted share of false alarms (default: 0.05)"
            ),
            _arg("--better", choices=("higher", "lower", "none"), help="direction of a metric iikata does not know"),
        ),
    ),
    "study": (
        "compare:study",
        "redo the statistics of published scores",
        (
            _arg("folder", metavar="DIR", help="scores.parquet, published.json, comparisons.json"),
            _arg("--of", nargs="+", metavar="RUN", help="write them first, from finished runs (blocks of seeds)"),
            _arg("--write", action="store_true", help="write comparisons.json anew, as another version tells more"),
            LANG,
        ),
    ),
    "report": (
        "stages:report",
        "write one HTML page and its Markdown twin; of two runs, one page with both side by side",
        (EXP, _arg("other", metavar="RUN2", nargs="?", help="another run folder, beside it"), SET, OUT, LANG),
    ),
    "schema": ("stages:schema", "print the JSON schema of the experiment file, for editors", ()),
    "finetune": ("finetune:finetune", "train one arm, with the flags of Alpaca-LoRA's finetune.py", (FORCE,)),
    "templates": (
        "templates:templates",
        "list, show or convert templates",
        (
            _arg("action", choices=("list", "show", "convert"), help="what to do"),
            _arg("template", nargs="?", metavar="TEMPLATE", help="built-in name or file"),
            _arg("dest", nargs="?", metavar="DEST", help="convert: DEST.json (Alpaca) or DEST.jinja"),
        ),
    ),
    "export": (
        "stages:export",
        "write an arm as a folder that other tools load",
        (
            *(RUN, ARM),
            _arg("dest", metavar="DEST", help="folder to write; must not be there yet"),
            _arg("--merge", action="store_true", help="write the base's weights with the adapter merged in"),
            _arg("--gguf", action="store_true", help="one merged .gguf file for llama.cpp (Llama, Qwen 2 and 3)"),
            _arg(
                "--ollama", action="store_true", help="the .gguf file, and a Modelfile with the template and its stops"
            ),
            BASE,
        ),
    ),
    "push": (
        "push:push",
        "show what of an arm would go to the hub, then upload it with its card",
        (
            *(RUN, ARM),
            _arg("repo", metavar="OWNER/NAME", help="the hub's repository; made where it is not there"),
            _arg("--merge", action="store_true", help="upload the base's weights with the adapter merged in"),
            BASE,
            _arg("--private", action="store_true", help="make a repository that only its owner sees"),
            _arg("--yes", action="store_true", help="upload without asking"),
        ),
    ),
    "verify": (
        "verify:verify",
        "check that a server really serves an arm, prompted as it was trained",
        (
            *(RUN, ARM),
            _arg("--endpoint", required=True, metavar="URL", help="an OpenAI-compatible server, http://host:port/v1"),
            _arg("--model", required=True, metavar="NAME", help="what the server calls it"),
            _arg("--probes", type=int, default=4, metavar="N", help="how many prompts to ask (default: 4)"),
            _arg("--timeout", type=float, default=120.0, metavar="SECONDS", help="for each answer (default: 120)"),
            JSON,
        ),
    ),
    "ask": (
        "ask:ask",
        "ask every cell, an adapter or a base model; answers appear side by side as they are written",
        (
            _arg("run", metavar="RUN", help="run folder, adapter folder, or a base model"),
            _arg("question", metavar="QUESTION", help="the instruction"),
            _arg("--input", default="", metavar="TEXT", help="the instruction's input"),
            _arg("--system", default="", metavar="TEXT", help="the system message"),
            _arg("--history", metavar="FILE", help="JSON list of the messages before"),
            _arg("--arm", action="append", default=[], metavar="A", help="only this arm (may be given again)"),
            _arg("--template", action="append", default=[], metavar="T", help="prompt with this template only"),
            _arg("--samples", type=int, default=1, metavar="N", help="answers of each cell (default: 1)"),
            _arg("--set", action="append", default=[], metavar="A.B=C", help="e.g. generate.temperature=0"),
        ),
    ),
    "inspect": (
        "inspect:inspect",
        "tell what an adapter is, and whether each part of it is live",
        (
            _arg("folder", metavar="FOLDER", help="a PEFT folder of any trainer"),
            _arg(
                "--base",
                metavar="MODEL",
                help="load this base too, to tell whether it fits and what the adapter changes",
            ),
            JSON,
        ),
    ),
    "serve": (
        "serve:serve",
        "open a local page: follow a run, rate answers blind, ask",
        (
            _arg("run", metavar="RUN", help="run folder"),
            _arg("other", metavar="RUN2", nargs="?", help="another run folder, beside it"),
            _arg("--port", type=int, default=0, metavar="N", help="port of the page (default: any that is free)"),
        ),
    ),
}


class Parser(argparse.ArgumentParser):
    """One that says in Japanese, where the environment is, what is wrong; `add_subparsers` makes others like it."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong with it, and exit."""
        super().error(in_words(message, None))


def parser() -> argparse.ArgumentParser:
    """Return the parser; a parsed command's `verb` is the function to call."""
    top = Parser(
        prog="iikata",
        description="Does the prompt template matter when you LoRA-fine-tune, and was LoRA needed at all?",
    )
    top.add_argument("--version", action="version", version=f"iikata {__version__}")
    verbs = top.add_subparsers(metavar="COMMAND", required=True)
    for name, (target, text, arguments) in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        for names, how in arguments:
            verb.add_argument(*names, **how)
        verb.set_defaults(
            verb=lambda given, target=target: _call(target, given), name=name, set=[], out=None, lang=None
        )
        if name == "finetune":
            _add_flags(verb)
    return top


def _call(target: str, given: argparse.Namespace) -> int | None:
    module, _, function = target.partition(":")
    called: int | None = getattr(import_module(f"iikata.cli.{module}"), function)(given)  # torch waits until here
    return called


def _add_flags(verb: argparse.ArgumentParser) -> None:
    """Add the old script's flags, in the ways that python-fire lets them be spelt."""
    for flag in FLAGS:
        dashed = flag.name.replace("_", "-")
        more: dict[str, Any] = {"type": flag.read, "metavar": flag.kind}
        spelt = dict.fromkeys((f"--{flag.name}", f"--{dashed}"))
        if flag.kind == "BOOL":
            more |= {"nargs": "?", "const": True}
            denied = f"--no{flag.name}", f"--no_{flag.name}", f"--no{dashed}", f"--no-{dashed}"
            verb.add_argument(
                *denied, dest=flag.name, action="store_false", default=argparse.SUPPRESS, help=argparse.SUPPRESS
            )
        shown = f" (default: {flag.default})" if flag.default not in ("", None) else ""
        verb.add_argument(*spelt, dest=flag.name, default=flag.default, help=flag.help + shown, **more)
