"""What saving the arms' states costs training, and what going on from them costs a start.

    python bench/checkpoints.py --shape neox-3.6b --arms 8
    python bench/checkpoints.py --model FOLDER --arms 9 --targets all-linear      # a model on disk, e.g. on CPU

Turns with a save at their beginning alternate with turns without; the difference of the medians is what a save costs,
copying and writing beside training together, and over the 60 s between two saves it is the share of the time.
"""

import argparse
import json
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from subject import SHAPES, open_model, wait
from train_throughput import planned, samples

from iikata.core.io import Appender
from iikata.core.records import Arm, plain
from iikata.pipeline.checkpoints import Checkpoints, restore
from iikata.run_folder import RunFolder
from iikata.train import ArmRun, TrainingArgs, train

EVERY = 60
"""Seconds between two saves, the default."""


def main() -> None:
    args = _arguments()
    base = open_model(args)
    setting = {"arms": args.arms, "targets": args.targets}
    tokens, checkpointed = planned(base, args, setting)
    base.adapt(args.r, 2 * args.r, 0.0, args.targets)
    base.run_layers(base.device.type == "cuda", checkpointed)
    rows = samples(args.batch * 8, base.config.vocab_size, 0)
    recipe = TrainingArgs(1000, args.batch, 1e-4, buffer_tokens=tokens)
    runs = [ArmRun(Arm("t", seed), rows, (), recipe, base) for seed in range(args.arms)]
    with tempfile.TemporaryDirectory(dir=args.on) as folder, ExitStack() as stack:
        pipeline: Any = SimpleNamespace(store=RunFolder(Path(folder)), emit=print, experiment=None)
        logs = {run.arm.name: stack.enter_context(Appender(pipeline.store.steps(run.arm))) for run in runs}
        saving = stack.enter_context(Checkpoints(pipeline, runs, logs))
        steps = train(runs)
        copied, plain_turns, saved_turns, written = [], [], [], []

        def turns() -> float:
            began = wait()
            for _ in range(args.turns * len(runs)):
                step = next(steps)
                logs[step.arm].add(plain(step))
            return wait() - began

        turns()
        for _ in range(args.trials):
            plain_turns.append(turns())
            began = wait()
            saving.save()
            copied.append(wait() - began)
            saved_turns.append(copied[-1] + turns())
            began = wait()
            saving.wait()
            written.append(wait() - began)
        began = wait()
        for run in runs:
            restore(pipeline, run, run.step)
        restored = wait() - began
        cost = statistics.median(saved_turns) - statistics.median(plain_turns)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors")) / 2
        print(
            json.dumps(
                {
                    "device": torch.cuda.get_device_name() if base.device.type == "cuda" else "cpu",
                    "arms": len(runs),
                    "megabytes": round(size / 1e6, 1),
                    "turn_seconds": [round(t / args.turns, 3) for t in plain_turns],
                    "copy_seconds": [round(t, 3) for t in copied],
                    "still_writing_after_the_turns_seconds": [round(t, 3) for t in written],
                    "seconds_a_save_costs": round(cost, 3),
                    f"share_at_one_in_{EVERY}_s": round(cost / EVERY, 4),
                    "restore_seconds": round(restored, 3),
                },
                indent=1,
            )
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="smollm2-135m")
    parser.add_argument("--model", default="", help="a folder, instead of a shape with random weights")
    parser.add_argument("--arms", type=int, default=8)
    parser.add_argument("--r", type=int, default=8)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--turns", type=int, default=3, help="turns between two looks at the clock")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--targets", default="auto")
    parser.add_argument("--on", default=None, help="the folder whose disk is written to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
