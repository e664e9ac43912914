"""An experiment as a whole process, from `iikata run` to the report, and the same work by TRL, peft and generate.

    python bench/experiment.py --model smollm2.gguf              # three times with empty caches, then once with full
    python bench/experiment.py --of post --shape neox-3.6b --times 1 --no-peers
    python bench/experiment.py --shape tiny --rows 40 --seeds 2 --probes 4 --samples 2 --times 1

The peers train one arm and answer as one arm; their whole experiment is computed from it: every arm trains, every
arm and the base answers. Rows are of random words, lengths lognormal. A part that fails spoils no other.
Needs the package trl for its row. `--under "py-spy record -o profile.txt -f raw --"` makes one more warm run so.
"""

import argparse
import compileall
import importlib.util
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scaling import write_rows
from subject import SHAPES

from iikata.model.files.locate import locate

TEMPLATES = ("alpaca_short", "dolly_ja_rinna", "plain")
ALL_LINEAR = {"r": 16, "alpha": 32, "dropout": 0.05, "target_modules": "all-linear"}
QKV = {"r": 8, "alpha": 16, "target_modules": ["query_key_value"]}
# Words of a question and an answer are medians; with a template a small row has some 70 tokens in SmolLM2's
# tokenizer, to which words are strange, and the post's 172 in that of a written model.
KINDS: dict[str, dict[str, Any]] = {
    "small": dict(rows=900, batch=32, seeds=4, epochs=2, probes=100, samples=20, new=48, held_out=200, trained=3,
                  words=(7, 13), lora=ALL_LINEAR),
    "post": dict(rows=15000, batch=128, seeds=3, epochs=1, probes=60, samples=20, new=128, held_out=200, trained=2,
                 words=(40, 80), lora=QKV),
}  # fmt: skip
INSTALLED = ("torch", "transformers", "triton", "peft", "sympy", "pydantic", "tokenizers", "iikata")
"""Packages whose bytecode is there before the first run, as pip writes it when it installs them."""
CACHES = ("HOME", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
"""Where iikata, torch and triton keep what they have made once."""


def write_inputs(folder: Path, args: argparse.Namespace) -> None:
    """Write rows, probes and the experiment file; a model of random weights where none is given."""
    kind = KINDS[args.of]
    write_rows(folder, args, *kind["words"])
    if not args.model:
        (folder / "model").mkdir()
        scaling = Path(__file__).with_name("scaling.py")
        subprocess.run([sys.executable, scaling, "--shape", args.shape, "--write", folder / "model"], check=True)
        args.model = folder / "model"
    settings = {
        "name": "small",
        "model": {"base": str(args.model.absolute())},
        "data": {"train": "train.jsonl", "validation": "held.jsonl"},
        "templates": list(TEMPLATES[: kind["trained"]]),
        "prompt_only": list(TEMPLATES[kind["trained"] :]),
        "train": {
            "seeds": list(range(args.seeds)), "epochs": kind["epochs"], "batch_size": args.batch, "lora": kind["lora"],
        },
        "generate": {"samples": args.samples, "max_new_tokens": args.new},
        "probes": "probes.jsonl",
        "devices": "1",
    }  # fmt: skip
    (folder / "small.yaml").write_text(json.dumps(settings), encoding="utf-8")


def whole_run(folder: Path, caches: Path, limit: float, under: str = "") -> dict[str, float]:
    """Return the seconds of `iikata run` and of each of its stages, and the last tokens/s that training told.

    A run that takes longer than `limit` is cut off, and what it did until then is told.
    """
    with tempfile.TemporaryDirectory() as out:
        env = os.environ | {name: str(caches / name.lower()) for name in CACHES}
        env |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
        iikata = [sys.executable, "-m", "iikata", "run", folder / "small.yaml", "--out", out, "--force"]
        command = [*shlex.split(under), *iikata]
        began = time.monotonic()
        with (Path(out) / "told").open("w+", encoding="utf-8") as told:
            try:
                code = subprocess.run(command, env=env, stdout=told, stderr=told, check=False, timeout=limit).returncode
            except subprocess.TimeoutExpired:
                code = 0
                told.seek(0)
                print(f"cut off after {limit} s: {told.read()[-300:]}", flush=True)
            told.seek(0)
            said = told.read()
        seconds = time.monotonic() - began
        if code:
            raise RuntimeError(said[-600:])
        lines = [json.loads(line) for line in (Path(out) / "timing.jsonl").read_text(encoding="utf-8").splitlines()]
    speeds = re.findall(r"([\d,]+) tokens/s", said)
    stages = {line["stage"]: line["seconds"] for line in lines if "part" not in line}
    return {"whole": seconds} | stages | {"tokens/s": float(speeds[-1].replace(",", "")) if speeds else 0.0}


def write_bytecode(folder: Path) -> None:
    """Write the bytecode of what is installed, which an image may lack: compiling it takes ten seconds a process."""
    sys.pycache_prefix = str(folder / "bytecode")
    for name in INSTALLED:
        if (found := importlib.util.find_spec(name)) and found.submodule_search_locations:
            compileall.compile_dir(found.submodule_search_locations[0], quiet=2, workers=0)
    sys.pycache_prefix = None


def print_runs(name: str, runs: list[dict[str, float]]) -> None:
    """Print the median of each stage."""
    parts = {stage: statistics.median(run.get(stage, 0.0) for run in runs) for stage in runs[0]}
    print(f"{name:28s}" + "".join(f" {stage} {seconds:.1f}" for stage, seconds in parts.items()), flush=True)


def sft(folder: Path, args: argparse.Namespace) -> float:
    """Return the seconds in which TRL trains one arm, packed with its default attention."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = opened(args)
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    given = Dataset.from_list([{"prompt": prompt(row), "completion": row["output"]} for row in rows])
    settings = SFTConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=args.batch, num_train_epochs=2, max_length=512,
        completion_only_loss=True, learning_rate=1e-4, logging_strategy="no", save_strategy="no", report_to=[],
        bf16=model.device.type == "cuda", use_cpu=model.device.type == "cpu", disable_tqdm=True, optim="adamw_torch",
        gradient_checkpointing=False,
    )  # fmt: skip
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(model=model, args=settings, train_dataset=given, processing_class=tokenizer, peft_config=lora)
    began = time.monotonic()
    trainer.train()
    return time.monotonic() - began


def generated(folder: Path, args: argparse.Namespace) -> float:
    """Return the seconds in which model.generate gives one arm's answers under every template, 8 questions a batch."""
    import torch

    model, tokenizer = opened(args)
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.pad_token or tokenizer.eos_token, "left"
    probes = [json.loads(line) for line in (folder / "probes.jsonl").read_text(encoding="utf-8").splitlines()]
    began = time.monotonic()
    with torch.inference_mode():
        for start in range(0, len(probes), 8):
            asked = tokenizer([prompt(one) for one in probes[start : start + 8]], return_tensors="pt", padding=True)
            model.generate(
                **{name: asked[name].to(model.device) for name in ("input_ids", "attention_mask")},
                do_sample=True, temperature=0.9, max_new_tokens=args.new, num_return_sequences=args.samples,
                pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
    return len(TEMPLATES) * (time.monotonic() - began)


def opened(args: argparse.Namespace) -> tuple[Any, Any]:
    """Return transformers' own model and tokenizer of the same weights; a .gguf as iikata converts it.

    transformers itself would multiply with the packed weights, and not train over them.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, device = locate(str(args.model)), "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    return model.to(device), AutoTokenizer.from_pretrained(folder)


def prompt(row: dict[str, str]) -> str:
    return f"### Instruction:\n{row['instruction']}\n\n### Response:\n"


def peer(name: str, times: int, measure: Callable[[], float]) -> None:
    try:
        seconds = measure()
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
    else:
        print(f"{name:28s} one arm {seconds:.1f}, {times} arms {times * seconds:.0f} (computed)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a folder or .gguf; without it random weights of a shape")
    parser.add_argument("--shape", default="smollm2-135m", choices=[*SHAPES, "tiny"])
    parser.add_argument("--of", choices=KINDS, default="small")
    for name in ("rows", "held-out", "batch", "seeds", "probes", "samples", "new"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--limit", type=float, default=3600, help="seconds of a run")
    parser.add_argument("--no-warm", action="store_true")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--under", default="", help="what one more warm run is started by, as a profiler")
    args = parser.parse_args()
    for name, value in KINDS[args.of].items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, args)
        write_bytecode(folder)
        cold = []
        for number in range(args.times):
            cold.append(whole_run(folder, folder / f"caches{number}", args.limit))
            print_runs(f"iikata run, cold, {number + 1}", cold[-1:])
        print_runs(f"iikata run, cold, median of {args.times}", cold)
        warm = folder / f"caches{args.times - 1}"
        if not args.no_warm:
            print_runs("iikata run, warm", [whole_run(folder, warm, args.limit)])
        if args.under:
            print_runs("iikata run, warm, watched", [whole_run(folder, warm, args.limit, args.under)])
        if not args.no_peers:
            arms = args.trained * args.seeds
            peer("TRL + peft, training", arms, lambda: sft(folder, args))
            peer("model.generate, answering", arms + 1, lambda: generated(folder, args))


if __name__ == "__main__":
    main()
