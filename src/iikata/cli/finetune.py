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
KEPT = ("adapter_config.json", "adapter_model.safetensors", "template.json", "README.md", "steps.jsonl")


def finetune(given: argparse.Namespace) -> None:
    """Train one adapter into `output_dir`, as plain `peft` loads it."""
    from iikata import dataset
    from iikata.cli.console import Console
    from iikata.experiment import declare
    from iikata.lab import Lab

    if not given.base_model:
        raise IikataError("finetune needs --base_model=NAME: a hub id, a local folder, a .gguf file, or smollm2.")
    out = Path(given.output_dir)
    values = experiment_of(given)
    rows = len(dataset.read(declare(values, Path.cwd()).data, Path.cwd()).train)
    values, fewer = fitted(values, rows, given.val_set_size)
    for line in [*remarks(given, out), *fewer]:
        print(f"note: {line}", file=sys.stderr)
    lab = Lab(declare(values, Path.cwd()), out / "run", Console())
    lab.run("train")
    (arm,) = lab.materials.experiment.arms()
    for name in KEPT:
        shutil.copyfile(lab.materials.store.arm(arm) / name, out / name)
    print(f"adapter: {out} (load it with peft.PeftModel.from_pretrained; its template is in template.json)")


def experiment_of(given: argparse.Namespace) -> dict[str, Any]:
    """Return the flags as the values of an experiment."""
    return {
        "name": "finetune",
        "model": {"base": given.base_model},
        "data": {"train": given.data_path, "validation": 0},
        "templates": [given.prompt_template_name],
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
        yield f"batch_size {given.batch_size} is below micro_batch_size {given.micro_batch_size}; a step takes batch_size."
    resume = given.resume_from_checkpoint
    if resume and Path(resume).resolve() != out.resolve():
        raise IikataError(
            f"resume_from_checkpoint {resume}: a run goes on in its own output_dir ({out}) only; another folder's "
            "weights may come from another template. Give the same folder to both flags."
        )
    if resume and not (out / "run").is_dir():
        yield f"resume_from_checkpoint: nothing in {resume} yet, so this starts fresh."


def fitted(values: dict[str, Any], rows: int, held_out: int) -> tuple[dict[str, Any], list[str]]:
    """Return `values` with held-out rows and warm-up that fit `rows`, and what had to be fewer than asked."""
    said = []
    validation = min(held_out, rows // 10)
    if validation < held_out:
        said.append(f"val_set_size {held_out} is too much for {rows} rows; {validation} are held out.")
    train = values["train"]
    steps = train["epochs"] * math.ceil((rows - validation) / train["batch_size"])
    warmup = min(WARMUP_STEPS, steps // 10)
    if warmup < WARMUP_STEPS:
        said.append(f"{WARMUP_STEPS} warm-up steps are too many for {steps} steps; {warmup} are taken.")
    data = {**values["data"], "validation": validation}
    return {**values, "data": data, "train": {**train, "warmup_steps": warmup}}, said
