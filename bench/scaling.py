"""Training and answering with 1, 2 and 4 devices of one machine, in one program and one table, and what stays serial.

    python bench/scaling.py --shape neox-3.6b --devices 1 2 4
    python bench/scaling.py --shape tiny --devices 1 2 --threads 1      # two processes on a CPU, to try the program

Random weights on disk, rows of random words with lengths drawn lognormal, 2 templates x 4 seeds. The workers are
started once and warmed by a first run; each number of devices then does a whole run in a fresh folder. Training and
held-out rows have compiled layers, as in runs that are long enough for it to pay; answering as a run of its size has.
Needs the package ray.
"""

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from subject import SHAPES

from iikata.config import Experiment, declare
from iikata.pipeline import likelihood
from iikata.pipeline.context import RunContext
from iikata.pipeline.events import Event, Stepped, Told, Warned
from iikata.pipeline.executor.crew import Crew
from iikata.pipeline.executor.engage import inputs_of
from iikata.pipeline.executor.messages import Inputs
from iikata.pipeline.executor.worker import Worker
from iikata.pipeline.stages import check, encode, generate, score, train
from iikata.templates import TEMPLATES

TINY = dict(
    kind="llama", vocab_size=4096, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=2048, tie_word_embeddings=True,
)  # fmt: skip
STAGES = {"check": check.check, "encode": encode.encode, "train": train.train, "generate": generate.generate}
STAGES["score"] = score.score
COUNTED = {"train": "tokens", "generate": "tokens", "score": "rows"}


class Compiling(Worker):
    """A worker that compiles training whatever its size: what is measured stands for runs that are longer."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(inputs)
        train.COMPILE_FROM = likelihood.COMPILE_FROM = 0


def write_model(folder: Path, shape: str) -> None:
    """Write a model of random weights and a tokenizer of its own. In a process of its own: no GPU is held after it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = dict(TINY if shape == "tiny" else SHAPES[shape])
    config = AutoConfig.for_model(settings.pop("kind"), **settings, bos_token_id=1, eos_token_id=2, pad_token_id=3)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    with torch.device(device):
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    write_tokenizer(folder)


def write_tokenizer(folder: Path) -> None:
    """Write a byte-level BPE that holds nearly every word of `words` as one token, and the templates' in a few."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    special = ["<unk>", "<s>", "</s>", "<pad>"]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=4000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    written = [TEMPLATES[name].prompt_of("", "") for name in ("alpaca_short", "dolly_ja_rinna", "plain")]
    made.train_from_iterator(20 * [" ".join(words()), *written], trainer)
    made.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    settings |= {"pad_token": "<pad>", "unk_token": "<unk>", "clean_up_tokenization_spaces": False}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def words() -> list[str]:
    parts = [a + b for a in "bcdfghjklmnprstvz" for b in "aeiou"]
    return [one + other for one in parts[:40] for other in parts[:40]]


def write_rows(folder: Path, args: argparse.Namespace, asked: int = 40, answered: int = 80) -> None:
    """Write training rows, held-out rows and probes; `asked` and `answered` are the medians of their words."""
    draw, known = random.Random(0), words()

    def text(mean: float) -> str:
        count = min(900, max(4, round(draw.lognormvariate(math.log(mean), 0.7585))))
        return " ".join(draw.choice(known) for _ in range(count))

    def row() -> dict[str, str]:
        return {"instruction": text(asked), "input": "", "output": text(answered)}

    rows = {"train": [row() for _ in range(args.rows)], "held": [row() for _ in range(args.held_out)]}
    rows["probes"] = [{"id": f"p{i}", "instruction": text(asked), "references": ["none"]} for i in range(args.probes)]
    for name, lines in rows.items():
        content = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(content, encoding="utf-8")


def experiment(folder: Path, args: argparse.Namespace) -> Experiment:
    settings: dict[str, Any] = {
        "name": "scaling",
        "model": {"base": str(folder / "model"), "dtype": "bfloat16" if args.shape != "tiny" else "float32"},
        "data": {"train": "train.jsonl", "validation": "held.jsonl"},
        "templates": ["alpaca_short", "plain"],
        "train": {"seeds": list(range(args.seeds)), "epochs": 1, "batch_size": args.batch, "learning_rate": 1e-3},
        "generate": {"samples": args.samples, "max_new_tokens": args.new},
        "probes": "probes.jsonl",
        "score": {"metrics": ["nll", "length"]},
    }
    return declare(settings, folder)


def run(folder: Path, declared: Experiment, crew: Crew, devices: int, tell: Any) -> dict[str, tuple[float, int]]:
    """Do a run in a fresh folder; return each stage's seconds and what it counts."""
    ctx = RunContext(declared, folder, tell)
    ctx.crew, ctx.force, crew.most = crew, True, devices
    found = {}
    for name, stage in STAGES.items():
        began = time.monotonic()
        counts = stage(ctx)
        found[name] = time.monotonic() - began, counts.get(COUNTED.get(name, ""), 0)
        print(f"  {devices} devices, {name}: {found[name][0]:.1f} s", flush=True)
    return found


def ready(crew: Crew, most: int) -> None:
    """Return once so many devices have loaded the model."""
    while crew.ready < most:
        crew.wait()


def table(found: dict[int, dict[str, tuple[float, int]]]) -> None:
    """Print seconds, speeds and gains; the serial part is what an ideal division of the rest leaves over."""
    counts = sorted(found)
    print("\n| stage | " + " | ".join(f"{n} device{'s' * (n > 1)}" for n in counts) + " | gain | serial part |")
    print("|---|" + "--:|" * (len(counts) + 2))
    few, many = counts[0], counts[-1]
    for stage in STAGES:
        times = {n: found[n][stage][0] for n in counts}
        cells = [f"{times[n]:.1f} s" + _speed(*found[n][stage]) for n in counts]
        # T(n) = s + w/n through the fewest and the most devices.
        serial = (many * times[many] - few * times[few]) / (many - few) if many > few else math.nan
        print(f"| {stage} | {' | '.join(cells)} | {times[few] / times[many]:.2f}x | {serial:.1f} s |")


def _speed(seconds: float, count: int) -> str:
    return f", {count / seconds:,.0f}/s" if count else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="neox-3.6b", choices=[*SHAPES, "tiny"])
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--threads", type=int, help="processors a worker has, where there is no GPU")
    for name, default in (("rows", 1024), ("batch", 128), ("seeds", 4), ("probes", 384), ("samples", 4), ("new", 48)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--held-out", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="where a model of an earlier call lies, or this one's is to stay")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        write_model(args.write, args.shape)
        return
    with tempfile.TemporaryDirectory() as temporary:
        measure(args.folder or Path(temporary), args)


def measure(folder: Path, args: argparse.Namespace) -> None:
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    began = time.monotonic()
    if not (folder / "model" / "config.json").is_file():
        (folder / "model").mkdir(parents=True)
        command = [sys.executable, __file__, "--shape", args.shape, "--write", str(folder / "model")]
        subprocess.run(command, check=True)
    write_rows(folder, args)
    print(f"model and rows written: {time.monotonic() - began:.1f} s", flush=True)
    declared = experiment(folder, args)
    steps: list[Stepped] = []

    def tell(event: Event) -> None:
        if isinstance(event, Stepped):
            steps.append(event)
        elif isinstance(event, Warned) or (isinstance(event, Told) and " on " in event.message):
            print(f"  {event.message}", flush=True)

    first = RunContext(declared, folder / "inputs", tell)
    began = time.monotonic()
    engaged = Crew("local", Compiling, lambda: inputs_of(first), False, tell, lambda line: None)
    with tempfile.TemporaryDirectory() as out, engaged as crew:
        crew.start()
        print(f"Ray and the first worker ready: {time.monotonic() - began:.1f} s ({crew.machine.name})", flush=True)
        ready(crew, max(args.devices))
        print(f"all {max(args.devices)} workers ready: {time.monotonic() - began:.1f} s", flush=True)
        began = time.monotonic()
        run(Path(out) / "warm", declared, crew, max(args.devices), tell)
        print(f"a first run, with compiling: {time.monotonic() - began:.1f} s", flush=True)
        table({n: run(Path(out) / str(n), declared, crew, n, tell) for n in args.devices})
        began = time.monotonic()
    print(f"\nworkers and Ray gone {time.monotonic() - began:.1f} s after the last run")


if __name__ == "__main__":
    main()
