"""`iikata finetune`: one arm with the old script's flags; where their meaning was a bug, the right thing, said."""

import argparse
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iikata.errors import IikataError

WARMUP_STEPS = 100
KEPT = (
    *("adapter_config.json", "adapter_model.safetensors", "template.json", "chat_template.jinja"),
    *("README.md", "steps.jsonl"),
)
FOREIGN = ("adapter_model.bin", "adapter_model.safetensors", "pytorch_model.bin")


def finetune(given: argparse.Namespace) -> None:
    """Train one adapter into `output_dir`, as plain `peft` loads it."""
    from iikata import dataset
    from iikata.cli.console import Console
    from iikata.experiment import declare
    from iikata.lab import Lab
    from iikata.lab.exporting import write_tokenizer
    from iikata.lab.training import stopped
    from iikata.templates import read_saved

    if not given.base_model:
        raise IikataError("finetune needs --base_model=NAME: a hub id, a local folder, a .gguf file, or smollm2.")
    out = Path(given.output_dir)
    for line in remarks(given, out):
        _note(line)
    values = experiment_of(given)
    rows = len(dataset.read(declare(values, Path.cwd()).data, Path.cwd()).train)
    values["data"]["validation"] = fitted("val_set_size", given.val_set_size, rows, "rows")
    values["train"]["warmup_steps"] = fitted("warm-up", WARMUP_STEPS, _steps(values, out / "run"), "steps")
    lab = Lab(declare(values, Path.cwd()), out / "run", Console())
    lab.run("train", given.force)
    (arm,) = lab.materials.experiment.arms()
    if why := stopped(lab.materials, arm):
        raise IikataError(f"the training was given up at {why}; no adapter was written. Lower --learning_rate.")
    for name in KEPT:
        if (kept := lab.materials.store.arm(arm) / name).is_file():
            shutil.copyfile(kept, out / name)
    try:
        write_tokenizer(lab.materials, read_saved(out / "template.json"), out)
    except IikataError as error:
        _note(f"no tokenizer was written beside the adapter: {error}")
    print(f"adapter: {out} (load it with peft.PeftModel.from_pretrained; its template is in template.json)")


def experiment_of(given: argparse.Namespace) -> dict[str, Any]:
    """Return the flags as the values of an experiment."""
    return {
        "name": "finetune",
        "model": {"base": given.base_model},
        "data": {"train": given.data_path, "validation": 0},
        "templates": [template_of(given.prompt_template_name)],
        "train": {
            "seeds": [given.seed],
            "epochs": given.num_epochs,
            "batch_size": given.batch_size,
            "learning_rate": given.learning_rate,
            "cutoff_len": given.cutoff_len,
            "loss_on": "all" if given.train_on_inputs else "completion",
            "lora": {
                "r": given.lora_r,
                "alpha": given.lora_alpha,
                "dropout": given.lora_dropout,
                "target_modules": given.lora_target_modules or "auto",
            },
        },
        "score": {"metrics": ["nll"]},
        "compare": {"margin": {"nll": 0.02}},
    }


def remarks(given: argparse.Namespace, out: Path) -> Iterator[str]:
    """Yield a line for each flag that means something else here than in the old script."""
    if not given.add_eos_token:
        yield "add_eos_token=False would train answers that never end; the end token is trained all the same."
    if given.batch_size < given.micro_batch_size:
        below = f"batch_size {given.batch_size} is below micro_batch_size {given.micro_batch_size}"
        yield f"{below}, of which the old script made no step at all; here a step takes batch_size samples."
    resume, fresh = given.resume_from_checkpoint, not (out / "run").is_dir()
    if fresh and (found := [name for name in FOREIGN if (out / name).exists()]):
        raise IikataError(
            f"{out / found[0]}: an adapter is here without the run it came from, so neither its template nor its "
            "optimizer's state is known and nothing can go on from it. Give another --output_dir."
        )
    if resume and Path(resume).resolve() != out.resolve():
        raise IikataError(
            f"resume_from_checkpoint {resume}: a run goes on in its own output_dir ({out}) only; another folder's "
            "weights may come from another template. Give the same folder to both flags."
        )
    if resume and fresh:
        yield f"resume_from_checkpoint: nothing in {resume} yet, so this starts fresh."


def template_of(name: str) -> str:
    """Return the template of that name: the old script's file templates/NAME.json where there is one, else built in."""
    file = Path("templates") / f"{name}.json"
    return f"./{file}" if file.is_file() else name or "alpaca"


def fitted(what: str, asked: int, whole: int, unit: str) -> int:
    """Return `asked` where it leaves half of `whole`, else a tenth of it, and say so."""
    if 2 * asked <= whole:
        return asked
    _note(f"{what} {asked} is too much for {whole} {unit}; it is {whole // 10}.")
    return whole // 10


def _steps(values: dict[str, Any], folder: Path) -> int:
    """Return the optimizer steps of the run, of the rows that are not too long."""
    from iikata.experiment import declare
    from iikata.lab.materials import Materials

    (rows,) = Materials(declare(values, Path.cwd()), folder, lambda event: None).encoded.values()
    kept = sum(not row.truncated for row in rows)
    return int(values["train"]["epochs"]) * math.ceil(kept / values["train"]["batch_size"])


def _note(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)
