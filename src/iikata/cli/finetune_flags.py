"""The flags of the old finetune.py, with its defaults, in `--a=b` and `--a b` form."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Flag:
    """One flag; `read` turns its text into a value."""

    name: str
    default: Any
    read: Callable[[str], Any]
    kind: str
    help: str


def truth(text: str) -> bool:
    """Read a boolean as python-fire did: True, False, and what people type instead."""
    known = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is not True or False")
    return known[text.lower()]


def folder(text: str) -> str | None:
    """Read a folder; None, False and nothing mean none, as they did in the old script."""
    return None if text in ("", "None", "False") else text


def names(text: str) -> list[str]:
    """Read a list as python-fire did: `[q_proj,v_proj]`, `'["q_proj"]'`, or one name."""
    return [part.strip(" '\"") for part in text.strip("[]() ").split(",") if part.strip(" '\"")]


FLAGS = (
    Flag("base_model", "", str, "NAME", "hub id, local folder, .gguf file or smollm2"),
    Flag("data_path", "yahma/alpaca-cleaned", str, "PATH", "hub id or json / jsonl / csv / parquet file"),
    Flag("output_dir", "./lora-alpaca", str, "DIR", "where the adapter goes"),
    Flag("batch_size", 128, int, "N", "samples an optimizer step"),
    Flag("micro_batch_size", 4, int, "N", "taken and not needed: samples are packed"),
    Flag("num_epochs", 3, int, "N", "passes over the rows"),
    Flag("learning_rate", 3e-4, float, "X", "peak rate"),
    Flag("cutoff_len", 256, int, "N", "tokens a sample; longer rows are counted and left out"),
    Flag("val_set_size", 2000, int, "N", "rows held out"),
    Flag("lora_r", 8, int, "N", "rank"),
    Flag("lora_alpha", 16, int, "N", "scale is lora_alpha / lora_r"),
    Flag("lora_dropout", 0.05, float, "X", "dropout of the adapter's inputs"),
    Flag("lora_target_modules", None, names, "LIST", "default: what PEFT takes for the architecture"),
    Flag("train_on_inputs", True, truth, "BOOL", "loss on the prompt too"),
    Flag("add_eos_token", False, truth, "BOOL", "taken; the end token is always trained"),
    Flag("group_by_length", False, truth, "BOOL", "taken and not needed: nothing is padded"),
    Flag("resume_from_checkpoint", None, folder, "DIR", "go on from there; nothing there yet starts fresh"),
    Flag("prompt_template_name", "alpaca", str, "NAME", "built-in template, or its file"),
    Flag("gradient_checkpointing", False, truth, "BOOL", "taken and not needed: memory is planned"),
    Flag("seed", 42, int, "N", "of initial weights, data order and dropout"),
)
