"""What a base of fewer bits costs in loss and saves in memory: the same rows and arms under each, in one table.

    python bench/precision.py --model smollm2.gguf --rows train.jsonl --held-out valid.jsonl
    python bench/precision.py --shape llama-8b               # random weights, written to disk first: 16 GB

Rows are {"instruction", "output"}; without them random tokens. Each way loads the model from disk, scores the held-out
rows untuned, trains two arms of other seeds, and scores them again. The yardstick of a difference is how far the two
seeds are from each other. A way that this machine cannot go is named and the rest goes on.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from llama import LLAMA
from subject import fresh, peak_gb, wait

from iikata.core.encoded import Encoded, Role
from iikata.core.errors import IikataError
from iikata.core.records import Arm
from iikata.model.files.locate import locate
from iikata.model.load import choose_device, load
from iikata.score.nll import nats
from iikata.train import ArmRun, TrainingArgs, train

WAYS: dict[str, dict[str, str]] = {
    "bfloat16": {"dtype": "bfloat16"},
    "float16, loss scaled": {"dtype": "float16"},
    "fp8 products": {"dtype": "bfloat16", "compute": "fp8"},
    "8 bit": {"dtype": "bfloat16", "quantize": "8bit"},
    "4 bit": {"dtype": "bfloat16", "quantize": "4bit"},
}


def encoded(file: Path | None, folder: Path, vocabulary: int, count: int, most: int) -> list[Encoded]:
    """Return at most `count` rows of at most `most` tokens; loss on the answer and its end."""
    draw = random.Random(0)
    if file is None:
        rows = [([draw.randrange(4, vocabulary) for _ in range(most // 2)],) * 2 for _ in range(count)]
    else:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        read = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()][:count]
        rows = [
            (tokenizer.encode(row["instruction"] + "\n"), [*tokenizer.encode(row["output"]), tokenizer.eos_token_id])
            for row in read
        ]
    made = []
    for number, (prompt, answer) in enumerate(rows):
        roles: tuple[Role, ...] = ("prompt",) * len(prompt) + ("answer",) * len(answer)
        mask = tuple(role == "answer" for role in roles)
        if len(mask) <= most:
            made.append(Encoded(str(number), "", "", tuple(prompt + answer), mask, roles=roles))
    return made


def loss(base: Any, arm: str | None, rows: Sequence[Encoded], buffer: int) -> float:
    """Return nats a token of the answers, over all rows."""
    total = sum(sum(one.values()) for one in nats(base, arm, rows, (), buffer))
    return total / sum(sum(row.completion_mask) for row in rows)


def tried(folder: Path, way: dict[str, str], args: argparse.Namespace) -> str:
    """Return one line of the table."""
    fresh()
    began = wait()
    base = load(folder, device=choose_device(), **way)
    opened, lying = wait() - began, torch.cuda.memory_allocated() / 1e9 if torch.cuda.is_available() else peak_gb()
    size = base.config.get_text_config().vocab_size
    rows = encoded(args.rows, folder, size, args.count, args.longest)
    held = encoded(args.held_out, folder, size, args.count // 4, args.longest)
    adapters = base.adapt(8, 16, 0.0, "all-linear")
    base.run_layers(compiled=False, checkpointed=args.checkpointed)
    untuned = loss(base, None, held, args.buffer)
    arms = [Arm("t", seed) for seed in (0, 1)]
    for arm in arms:
        adapters.initialise(arm.name, int(arm.seed or 0))
    recipe = TrainingArgs(100, args.batch, 1e-3, buffer_tokens=args.buffer)
    began = wait()
    steps = train([ArmRun(arm, rows, (), recipe, base) for arm in arms])
    losses = [next(steps).loss for _ in range(args.steps * len(arms))]
    steps.close()
    seconds = wait() - began
    tuned = [loss(base, arm.name, held, args.buffer) for arm in arms]
    return (
        f"{opened:.0f} s | {lying:.2f} GB | {peak_gb():.2f} GB | {seconds:.1f} s | {untuned:.4f} | "
        f"{tuned[0]:.4f} | {tuned[1]:.4f} | {losses[0]:.3f} -> {losses[-1]:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder or .gguf")
    parser.add_argument("--shape", choices=LLAMA, default="tiny", help="random weights, where no model is given")
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--held-out", type=Path)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    for name, value in {"count": 800, "longest": 512, "batch": 16, "steps": 50, "buffer": 8192}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--checkpointed", action="store_true", help="layers are computed twice, and keep less")
    args = parser.parse_args()
    print("| base | opened | lies in | peak | training | untuned | seed 0 | seed 1 | its loss |", flush=True)
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory() as place:
        folder = locate(args.model) if args.model else Path(place)
        if not args.model:
            subprocess.run([sys.executable, Path(__file__).with_name("llama.py"), args.shape, place], check=True)
        for name in args.ways:
            try:
                print(f"| {name} | {tried(folder, WAYS[name], args)} |", flush=True)
            except (IikataError, RuntimeError, ImportError) as error:
                print(f"| {name} | {type(error).__name__}: {str(error).splitlines()[0]} |", flush=True)


if __name__ == "__main__":
    main()
