"""`iikata finetune`: one arm with the old script's flags; where their meaning was a bug, the right thing, said."""

import argparse
import math
import shutil
import sys
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata.cli.finetune_flags import FLAGS, in_flags
from iikata.cli.terminal import in_words, language
from iikata.core.errors import IikataError
from iikata.core.records import Arm

if TYPE_CHECKING:
    from iikata.pipeline import Pipeline
    from iikata.pipeline.context import RunContext

WARMUP_STEPS = 100
EVAL_STEPS = 200
KEPT = (
    *("adapter_config.json", "adapter_model.safetensors", "template.json", "chat_template.jinja"),
    *("README.md", "steps.jsonl", "eval.jsonl"),
)
FOREIGN = ("adapter_model.bin", "adapter_model.safetensors", "pytorch_model.bin")


def finetune(given: argparse.Namespace) -> None:
    """Train one adapter into `output_dir`, as plain `peft` loads it; messages speak of flags."""
    from iikata.pipeline.stages.train import stopped

    if not given.base_model:
        raise IikataError("finetune needs --base_model=NAME: a hub id, a local folder, a .gguf file, or smollm2.")
    out = Path(given.output_dir)
    if out.resolve() == Path(given.base_model).resolve():
        raise IikataError(
            f"--output_dir={out} is the base's own folder, and an adapter in it would be loaded with the base. "
            "Give another --output_dir."
        )
    try:
        for line in remarks(given, out):
            _note(line)
        pipeline = _opened(given, out)
        pipeline.context.measures = False
        pipeline.run("train", given.force)
        (arm,) = pipeline.context.experiment.arms()
        if why := stopped(pipeline.context, arm):
            raise IikataError(f"the training was given up at {why}; no adapter was written. Lower --learning_rate.")
        _hand_over(pipeline.context, arm, out)
    except IikataError as error:
        error.args = (in_flags(in_words(str(error), given.lang)),)  # as other commands say it, then by flags
        raise
    curve = pipeline.context.store.read_evaluations(arm)
    if curve:
        loss, rows, first = curve[-1].value, curve[-1].rows, curve[0].value  # as Trainer's eval_loss: of a token
        print(f"held-out loss: {loss:.4f} ({rows} rows; before training {first:.4f})")
    else:
        print("held-out loss: none, for no row is held out (--val_set_size), or it was trained by an earlier version")
    print(f"adapter: {out} (load it with peft.PeftModel.from_pretrained; its template is in template.json)")


def _opened(given: argparse.Namespace, out: Path) -> "Pipeline":
    """Return the run in `out`, its held-out rows and warm-up fitted to the data, ready for more epochs."""
    from iikata import data
    from iikata.cli.console import Console
    from iikata.config import declare
    from iikata.pipeline import Pipeline
    from iikata.pipeline.events import Event, Warned
    from iikata.pipeline.stages.train import prolong

    console, before, values = Console(), trained_before(given, out), experiment_of(given)

    def emit(event: Event) -> None:
        console(Warned(in_flags(event.message)) if isinstance(event, Warned) else event)

    rows = len(data.read(declare(values, Path.cwd()).data, Path.cwd()).train)
    asked = round(given.val_set_size * rows) if isinstance(given.val_set_size, float) else given.val_set_size
    values["data"]["validation"] = fitted("val_set_size", asked, rows, "rows")
    pipeline = Pipeline(declare(values, Path.cwd()), out / "run", emit)
    pipeline.context.language = language(given.lang)
    warmup = before["warmup_steps"] if before else fitted("warm-up", WARMUP_STEPS, _steps(pipeline.context), "steps")
    values["train"]["warmup_steps"] = warmup
    pipeline.context.experiment = declare(values, Path.cwd())
    pipeline.context.keep_states = True
    if before and before["epochs"] < given.num_epochs:
        _note(f"going on from epoch {before['epochs']} to {given.num_epochs}; the rate falls to 0 over all of them.")
        with pipeline.context.store.locked():
            prolong(pipeline.context)
    return pipeline


def _hand_over(ctx: "RunContext", arm: Arm, out: Path) -> None:
    """Copy the adapter and what belongs to it into `out`, with its tokenizer."""
    from iikata.pipeline.export import write_tokenizer
    from iikata.templates import read_saved

    for name in KEPT:
        if (kept := ctx.store.arm(arm) / name).is_file():
            shutil.copyfile(kept, out / name)
    try:
        write_tokenizer(ctx.tokenizer, read_saved(out / "template.json"), out)
    except IikataError as error:
        _note(f"no tokenizer was written beside the adapter: {error}")


def trained_before(given: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Return the training settings of the run that is there, {} without one; IikataError where it has other epochs."""
    from iikata.pipeline.signature import read_signature

    train: dict[str, Any] = (read_signature(out / "run" / "signature.json") or {}).get("train", {})
    epochs = train.get("epochs", given.num_epochs)
    if epochs != given.num_epochs and not (given.resume_from_checkpoint and epochs < given.num_epochs):
        more = f" --num_epochs={given.num_epochs} --resume_from_checkpoint={out} goes on from there."
        raise IikataError(
            f"{out}: trained for {epochs} epochs, and --num_epochs is {given.num_epochs}. Give another --output_dir."
            f"{more if epochs < given.num_epochs else ''}"
        )
    return train


def experiment_of(given: argparse.Namespace) -> dict[str, Any]:
    """Return the flags as the values of an experiment."""
    values: dict[str, Any] = {"name": "finetune", "score": {"metrics": ["nll"]}}
    otherwise = {
        "data.validation": 0,  # until the rows are counted
        "templates": [template_of(given.prompt_template_name)],
        "train.seeds": [given.seed],
        "train.eval_steps": EVAL_STEPS,
        "train.eval_rows": 0,
        "train.loss_on": "all" if given.train_on_inputs else "completion",
        "train.lora.target_modules": given.lora_target_modules or "auto",
    }
    from_flags = {flag.setting: getattr(given, flag.name) for flag in FLAGS if flag.setting}
    for setting, value in (from_flags | otherwise).items():
        *sections, name = setting.split(".")
        reduce(lambda inside, part: inside.setdefault(part, {}), sections, values)[name] = value
    return values


def remarks(given: argparse.Namespace, out: Path) -> Iterator[str]:
    """Yield a line for each flag that means something else here than in the old script; most at the first call only."""
    resume, fresh = given.resume_from_checkpoint, not (out / "run").is_dir()
    if fresh and not given.add_eos_token:
        yield "add_eos_token=False would train answers that never end; the end token is trained all the same."
    if fresh and given.batch_size < given.micro_batch_size:
        below = f"batch_size {given.batch_size} is below micro_batch_size {given.micro_batch_size}"
        yield f"{below}, of which the old script made no step at all; here a step takes batch_size samples."
    if wandb := [name for name in vars(given) if name.startswith("wandb_") and getattr(given, name)]:
        yield f"{', '.join(wandb)}: nothing is sent to Weights & Biases; every step's loss is in {out / 'steps.jsonl'}."
    if fresh and (found := [name for name in FOREIGN if (out / name).exists()]):
        raise IikataError(
            f"{out / found[0]}: an adapter is here without the run it came from, so neither its template nor its "
            "optimizer's state is known and nothing can go on from it. Give another --output_dir."
        )
    if resume and Path(resume).resolve() != out.resolve():
        raise IikataError(
            f"--resume_from_checkpoint {resume}: a run goes on in its own --output_dir ({out}) only; another folder's "
            "weights may come from another template. Give the same folder to both flags."
        )
    if resume and fresh:
        yield f"resume_from_checkpoint: nothing in {resume} yet, so this starts fresh."


def template_of(name: str) -> str:
    """Return the template of that name: the old script's file templates/NAME.json where there is one, else built in."""
    file = Path("templates") / f"{name}.json"
    return f"./{file}" if file.is_file() else name or "alpaca"


def fitted(what: str, asked: int, total: int, unit: str) -> int:
    """Return `asked` where it leaves half of `total`, else a tenth of it, and say so."""
    if 2 * asked <= total:
        return asked
    _note(f"{what} {asked} is too much for {total} {unit}; it is {total // 10}.")
    return total // 10


def _steps(ctx: "RunContext") -> int:
    """Return the optimizer steps of the run, of the rows that are not too long."""
    (rows,) = ctx.encoded.values()
    train = ctx.experiment.train
    return math.ceil(train.epochs * math.ceil(sum(not row.truncated for row in rows) / train.batch_size))


def _note(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)
