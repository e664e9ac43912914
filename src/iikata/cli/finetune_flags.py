"""The flags of the old finetune.py, with its defaults, in `--a=b` and `--a b` form."""

import argparse
import re
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
    setting: str = ""
    """Of an experiment, that it gives."""


def boolean(text: str) -> bool:
    """Read a boolean as python-fire did: True, False, and what people type instead."""
    known = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is not True or False")
    return known[text.lower()]


def folder_or_none(text: str) -> str | None:
    """Read a folder; None, False and nothing mean none, as they did in the old script."""
    return None if text in ("", "None", "False") else text


def names(text: str) -> list[str] | str | None:
    """Read a list as python-fire did: `[q_proj,v_proj]`, `'["q_proj"]'`, or one name; peft's all-linear is a word."""
    found = [part.strip(" '\"") for part in text.strip("[]() ").split(",") if part.strip(" '\"")]
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} names no module")
    if found in (["all-linear"], ["auto"]):
        return found[0]
    return None if found == ["None"] else found


def integer(text: str) -> int:
    """Read a whole number as python-fire did, 1e3 and 2.0 among them."""
    try:
        if (value := float(text)) == int(value):
            return int(value)
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")


def rows(text: str) -> int | float:
    """Read a number of rows, or as the script's train_test_split a share of them, as 0.1."""
    return float(text) if re.fullmatch(r"0?\.[0-9]+", text) else integer(text)


FLAGS = (
    Flag("base_model", "", str, "NAME", "hub id, local folder, .gguf file or smollm2", "model.base"),
    Flag("data_path", "yahma/alpaca-cleaned", str, "PATH", "hub id or json / jsonl / csv / parquet file", "data.train"),
    Flag("output_dir", "./lora-alpaca", str, "DIR", "where the adapter goes"),
    Flag("batch_size", 128, integer, "N", "samples an optimizer step", "train.batch_size"),
    Flag("micro_batch_size", 4, integer, "N", "accepted, and not needed: samples are packed"),
    Flag("num_epochs", 3, integer, "N", "passes over the rows", "train.epochs"),
    Flag("learning_rate", 3e-4, float, "X", "peak rate", "train.learning_rate"),
    Flag("cutoff_len", 256, integer, "N", "tokens a sample; longer rows are counted and left out", "train.cutoff_len"),
    Flag("val_set_size", 2000, rows, "N", "rows held out, or a share of them, as 0.1", "data.validation"),
    Flag("lora_r", 8, integer, "N", "rank", "train.lora.r"),
    Flag("lora_alpha", 16, integer, "N", "scale is lora_alpha / lora_r", "train.lora.alpha"),
    Flag("lora_dropout", 0.05, float, "X", "dropout of the adapter's inputs", "train.lora.dropout"),
    Flag("lora_target_modules", None, names, "LIST", "or all-linear; default: PEFT's", "train.lora.target_modules"),
    Flag("train_on_inputs", True, boolean, "BOOL", "loss on the prompt too", "train.loss_on"),
    Flag("add_eos_token", False, boolean, "BOOL", "accepted; the end token is always trained"),
    Flag("group_by_length", False, boolean, "BOOL", "accepted, and not needed: nothing is padded"),
    Flag("wandb_project", "", str, "NAME", "accepted; nothing is sent to Weights & Biases"),
    Flag("wandb_run_name", "", str, "NAME", "accepted; nothing is sent"),
    Flag("wandb_watch", "", str, "WHAT", "accepted; nothing is sent"),
    Flag("wandb_log_model", "", str, "WHETHER", "accepted; nothing is sent"),
    Flag(
        "resume_from_checkpoint",
        None,
        folder_or_none,
        "DIR",
        "go on from there, for more epochs too; fresh where it is empty",
    ),
    Flag("prompt_template_name", "alpaca", str, "NAME", "built-in template, or its file", "templates"),
    Flag("gradient_checkpointing", False, boolean, "BOOL", "accepted, and not needed: memory is planned"),
    Flag("seed", 42, integer, "N", "of initial weights, data order and dropout", "train.seeds"),
)

SETTINGS = {
    "model.quantize, train.cutoff_len or generate.max_new_tokens": "--cutoff_len",
    **{flag.setting: f"--{flag.name}" for flag in FLAGS if flag.setting},
    "model": "--base_model",
    "train.lora": "--lora_r, --lora_alpha, --lora_dropout or --lora_target_modules",
    "--out DIR": "--output_dir=DIR",
    "iikata run EXP": "iikata finetune",
}
"""What messages call a setting -> the flag that it came from."""
_HERE = "|".join(re.escape(setting) for setting in SETTINGS if setting not in ("model", "templates"))
_SETTING = re.compile(
    rf"(?a)(?<![\w./-])(?:(?:{_HERE})(?![\w/-]|\.\w)|(?:model|templates)(?=\.\w+ (?:の変更|changed)))"
)
_ELSEWHERE = re.compile(
    r"(?a)\b(?:model\.(?:dtype|quantize|revision|compute)|data\.(?:columns|format|system)|generate\.\w+)\b"
)


def in_flags(message: str) -> str:
    """Return a message about settings as one about flags, and what to do where there is no flag."""
    told = _SETTING.sub(lambda match: SETTINGS[match[0]], message)
    if setting := _ELSEWHERE.search(told):
        told += f" finetune has no flag for {setting[0]}; an experiment file does: iikata run."
    return told
