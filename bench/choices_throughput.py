"""Time the choices of many cells: the base and adapters of rank 8 on all linear layers, over random weights and tokens.

    python bench/choices_throughput.py [MODEL] [--probes 1000 --choices 5 --cells 30 --prompt 60] [--compiled]

MODEL is a folder or a .gguf file; without it a shape with random weights is taken.

A prompt has --prompt tokens on average, a choice 1 to 8. Tokens are made beforehand, once for all cells, as a run does.
"""

import argparse
import random
from pathlib import Path

import torch
from subject import SHAPES, fresh, open_model, peak_gb, wait

from iikata.core.encoded import Encoded
from iikata.core.records import Probe
from iikata.model.files.locate import locate
from iikata.pipeline.buffer_plan import CPU_BUFFER_TOKENS, most_buffer_tokens
from iikata.score.choice import Asked, chosen, laid


def asked(args: argparse.Namespace, vocabulary: int) -> list[Asked]:
    draw, made = random.Random(0), []
    for number in range(args.probes):
        prompt = draw.choices(range(vocabulary), k=draw.randint(args.prompt // 2, 3 * args.prompt // 2))
        rows = []
        for _ in range(args.choices):
            own = draw.choices(range(vocabulary), k=draw.randint(1, 8))
            roles = ("prompt",) * len(prompt) + ("answer",) * len(own) + ("end",)
            ids, mask = (*prompt, *own, 2), tuple(role != "prompt" for role in roles)
            rows.append(Encoded(str(number), "", "", ids, mask, roles=roles))
        probe = Probe(str(number), "", choices=tuple(map(str, range(args.choices))), answer=0)
        made.append(Asked(probe, tuple(rows)))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in {"probes": 1000, "choices": 5, "cells": 30, "prompt": 60}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--compiled", action="store_true", help="compile the layers first, which is not counted")
    parser.add_argument("model", nargs="?", help="a model's folder or .gguf file; without one a shape, random weights")
    parser.add_argument("--shape", choices=SHAPES, default="smollm2-135m")
    args = parser.parse_args()
    args.model = args.model and locate(args.model, None, Path.cwd())
    base = open_model(args)
    adapters = base.adapt(8, 16, 0.0, "all-linear")
    arms = [None, *(f"arm{n}" for n in range(args.cells - 1))]
    for seed, arm in enumerate(arms[1:]):
        adapters.initialise(arm, seed)
        for tensor in adapters.weights(arm).values():
            tensor.data.normal_(std=0.02)
    rows = asked(args, base.config.get_text_config().vocab_size)
    parameters = sum(parameter.numel() for parameter in base.model.parameters())
    size = most_buffer_tokens(parameters) if base.device.type == "cuda" else CPU_BUFFER_TOKENS
    base.run_layers(compiled=args.compiled)
    list(chosen(base, arms[-1], rows[:50], laid(base, rows[:50], size)))
    if args.compiled:
        warm = laid(base, rows, size)
        list(chosen(base, arms[-1], rows, warm))
        list(chosen(base, None, rows, warm))
    fresh()
    start = wait()
    buffers = laid(base, rows, size)
    told = [sum(one.choice for one in chosen(base, arm, rows, buffers)) for arm in arms]
    seconds = wait() - start
    sequences = sum(len(one.rows) for one in rows)
    tokens = sum(len(one.prompt) + sum(len(row.input_ids) - len(one.prompt) for row in one.rows) for one in rows)
    where = torch.cuda.get_device_name() if base.device.type == "cuda" else "CPU"
    print(
        f"| {where} | {args.cells} x {args.probes} x {args.choices} | {seconds:.1f} s | {peak_gb():.1f} GB "
        f"| {sequences * args.cells / seconds:,.0f} choices/s | {tokens * args.cells / seconds:,.0f} computed tokens/s "
        f"| buffers of {size:,} | right {min(told):.0f} to {max(told):.0f} of {args.probes} |"
    )


if __name__ == "__main__":
    main()
