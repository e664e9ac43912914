"""Train on conversations against rows of one turn: the same lengths, tokens and loss tokens, step for step in turn.

    python bench/conversations.py --shape tiny                # CPU: time of the process
    python bench/conversations.py --shape smollm2-135m        # GPU: wall clock, the device waited for; under a minute

Two arms over one base take turns in one process, one trained on rows of one turn, the other on rows of --turns. The
ratio of their speeds is that of sums over the steps, its interval from resampling pairs of neighbouring steps;
with --turns 1 it should hold 1.
"""

import argparse
import math
import platform
import random
import time
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from subject import SHAPES, open_model, wait

from iikata.core.encoded import Encoded
from iikata.core.records import Arm
from iikata.model import memory
from iikata.pipeline.buffer_plan import CPU_BUFFER_TOKENS, most_buffer_tokens
from iikata.train import ArmRun, TrainingArgs, train


def rows(count: int, turns: int, vocabulary: int) -> list[Encoded]:
    """Return random rows whose second half is answers, in `turns` stretches of like length; lengths as of real rows."""
    draw, made = random.Random(0), []
    for number in range(count):
        length = 8 * min(128, max(4, round(draw.lognormvariate(math.log(129), 0.7585) / 8)))
        ids = tuple(draw.randrange(4, vocabulary) for _ in range(length))
        borders = [round(length * n / turns) for n in range(turns + 1)]
        mask = [at >= (start + stop) // 2 for start, stop in pairwise(borders) for at in range(start, stop)]
        short = sum(mask) - length // 2  # rounded borders: the first answer gives or takes what is too much
        for at in [at for at in range(1, length) if mask[at] == (short > 0)][: abs(short)]:
            mask[at] = not mask[at]
        made.append(Encoded(str(number), "", "", ids, tuple(mask)))
    return made


def now(base: Any) -> float:
    return wait() if base.device.type == "cuda" else time.process_time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="smollm2-135m")
    parser.add_argument("--model", help="a model folder instead of a shape")
    for name, value in {"turns": 4, "batch": 32, "steps": 40, "warm": 4}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    base = open_model(args)
    adapters = base.adapt(8, 16, 0.0, "all-linear")
    base.run_layers(base.device.type == "cuda")
    size = CPU_BUFFER_TOKENS
    if base.device.type == "cuda":
        need = memory.need(base.config, base.dtype, 2, 8, "all-linear")
        size, _ = need.fit(memory.free_bytes(base.device), most_buffer_tokens(memory.parameters(base.config)))
    recipe, runs = TrainingArgs(args.warm + args.steps, args.batch, 1e-4, buffer_tokens=size), []
    for turns in (1, args.turns):
        arm = Arm(f"turns{turns}", 0)  # one seed: both draw the same rows in the same order
        adapters.initialise(arm.name, 0)
        runs.append(ArmRun(arm, rows(8 * args.batch, turns, base.config.vocab_size), (), recipe, base))
    assert all(
        len(a.input_ids) == len(b.input_ids) and sum(a.completion_mask) == sum(b.completion_mask)
        for a, b in zip(runs[0].samples, runs[1].samples, strict=True)
    )
    spent: list[list[tuple[float, int]]] = [[], []]
    steps = [train([run]) for run in runs]
    for turn in range(args.warm + args.steps):
        for which in ((0, 1), (1, 0))[turn % 2]:  # neither is always the first
            began = now(base)
            step = next(steps[which])
            spent[which].append((now(base) - began, step.tokens))
    seconds, tokens = (np.array([[x[i] for x in one[args.warm :]] for one in spent]) for i in (0, 1))
    assert (tokens[0] == tokens[1]).all()
    draws = np.random.default_rng(0).integers(0, args.steps, (2000, args.steps))
    ratios = seconds[0][draws].sum(1) / seconds[1][draws].sum(1)
    speed = tokens.sum(1) / seconds.sum(1)
    device = torch.cuda.get_device_name() if base.device.type == "cuda" else platform.machine()
    print(
        f"{device}, torch {torch.__version__}, {args.model or args.shape}, {args.steps} steps of {args.batch} rows each"
    )
    for turns, one in zip((1, args.turns), speed, strict=True):
        print(f"rows of {turns} turns: {one:12,.0f} tokens/s")
    low, high = np.quantile(ratios, [0.025, 0.975])
    print(f"conversations / one turn: {speed[1] / speed[0]:.3f}, 95% {low:.3f} to {high:.3f}")


if __name__ == "__main__":
    main()
