"""A base laid over several GPUs: training and decoding against what its stages do alone.

    python bench/pipeline.py --shape llama-70b --gpus 4 --arms 4 --tokens 2048
    python bench/pipeline.py --shape llama-8b --gpus 2 4 --check
    python bench/pipeline.py --shape tiny --gpus 2 --device cpu

Random weights, made on each device; one row of --tokens tokens is a step of an arm. Prints for each number of GPUs:
each stage alone, forward and backward in ms; training in tokens/s, its share of the slowest stage's rate, the time
that asking for a buffer takes the processor, memory a GPU; decoding in rows/s beside the slowest stage's step.
With --check, 20 runs with sleeps before stages and copies must give the bits of one without.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from llama import LLAMA, build, from_disk
from subject import most, wait

from iikata.core.encoded import Encoded
from iikata.core.records import Arm
from iikata.generate import Request, Sampling, Shapes
from iikata.generate.engine import _Engine
from iikata.model import links, memory
from iikata.model.base import Base
from iikata.model.stages import on
from iikata.train import ArmRun, TrainingArgs, pipelined, train
from iikata.train.pipelined import Schedule1F1B

T = TypeVar("T")
PROMPT, WARM = 32, 8
"""Tokens of a prompt, and steps a group that are not timed."""
SLEEP = 4_000_000
"""Most clock cycles of a sleep, some 2 ms."""


def say(*what: Any) -> None:
    print(*what, flush=True)


def rows(count: int, tokens: int, vocabulary: int) -> list[Encoded]:
    draw = random.Random(0)
    mask = tuple(i >= tokens // 2 for i in range(tokens))
    return [
        Encoded(str(i), "", "", tuple(draw.randrange(4, vocabulary) for _ in range(tokens)), mask) for i in range(count)
    ]


def arms(base: Base, args: argparse.Namespace, epochs: int = 1000) -> list[ArmRun]:
    """Return fresh arms, each with its own seed."""
    assert base.adapters is not None
    recipe = TrainingArgs(epochs, 1, 1e-4, buffer_tokens=args.tokens)
    for seed in range(args.arms):
        base.adapters.initialise(f"t.s{seed}", seed)
    made = rows(4, args.tokens, base.config.vocab_size)
    return [ArmRun(Arm("t", seed), made, (), recipe, base) for seed in range(args.arms)]


class Alone:
    """One stage without the others."""

    def __init__(self, base: Base, run: ArmRun) -> None:
        self.pipeline = Schedule1F1B([run], lambda run: False)
        self.pipeline._start()
        (self.item,) = self.pipeline.forwards[0]
        self.base, self.run = base, run

    def times(self, number: int, repeats: int) -> tuple[float, float]:
        """Return milliseconds of forward and backward of one buffer."""
        stage = self.pipeline.stages[number]
        ids = self.item.buffers[stage.device].input_ids
        shape = (1, ids.shape[1], self.base.config.hidden_size)
        forward = backward = self.asking = 0.0
        for repeat in range(repeats + 2):
            x = ids if stage.first else torch.randn(shape, dtype=self.base.dtype, device=stage.device).requires_grad_()
            began = wait(stage.device)
            out = self.pipeline._compute(number, self.item, x)
            asked = time.perf_counter() - began
            half = wait(stage.device)
            torch.autograd.backward(out, None if stage.last else torch.ones_like(out))
            asked += time.perf_counter() - half
            end = wait(stage.device)
            if repeat == 0:
                say(f"    stage {number}: first forward and backward {end - began:.1f} s (kernels are compiled)")
            if repeat > 1:
                forward, backward = forward + half - began, backward + end - half
                self.asking += 1000 * asked / repeats
            del out, x
        return 1000 * forward / repeats, 1000 * backward / repeats


def watched(call: Callable[[], T], when: list[tuple[float, float]]) -> Callable[[], T]:
    """Let a call note when it began and ended."""

    def run() -> T:
        began = time.perf_counter()
        found = call()
        when.append((began, time.perf_counter()))
        return found

    return run


def training(base: Base, args: argparse.Namespace, devices: list[torch.device]) -> None:
    assert base.laid_over is not None
    runs, stages = arms(base, args), base.laid_over.stages
    alone = Alone(base, runs[0])
    slowest = 0.0
    for number, stage in enumerate(stages):
        forward, backward = alone.times(number, args.repeats)
        slowest = max(slowest, forward + backward)
        say(
            f"  stage {number}, layers {stage.start} to {stage.stop - 1} on {stage.device}, alone: "
            f"{forward:.1f} ms forward, {backward:.1f} ms backward, "
            f"{1000 * args.tokens / (forward + backward):,.0f} tokens/s, asking {alone.asking:.1f} ms"
        )
    del alone
    memory.free_memory()
    base.laid_over.graphs = args.graphs
    for way in args.ways:
        together(base, args, devices, way, 1000 * args.tokens / slowest)
    memories(devices)


def together(base: Base, args: argparse.Namespace, devices: list[torch.device], way: str, best: float) -> None:
    """Train all arms for some steps in one way, and say what it comes to."""
    runs = arms(base, args)
    for device in devices:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
    pipelined.WARM = 10**9 if way == "one" else 2
    pipeline = Schedule1F1B(runs, lambda run: False)
    asking: list[tuple[float, float]] = []
    pipeline.turn = watched(pipeline.turn, asking)  # type: ignore[method-assign]
    steps = pipeline.steps(lambda tokens: say(f"  memory ran out: buffers of {tokens} tokens"))
    for _ in range(3 * len(runs)):
        next(steps)
    asking.clear()
    began, worked = time.perf_counter(), time.process_time()
    done = [next(steps) for _ in range(args.steps * len(runs))]
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    turns = sum(end - start for start, end in asking)
    if args.profile and way == args.ways[-1]:
        profile(steps, 2 * len(runs))
    steps.close()
    rate, count = sum(step.tokens for step in done) / seconds, len(done)
    say(
        f"  training ({way}), {len(runs)} arms: {rate:,.0f} tokens/s, {rate / best:.0%} of the slowest stage's "
        f"{best:,.0f}; a buffer {1000 * seconds / count:.1f} ms, of which asking {1000 * turns / count:.1f}, processor "
        f"time of all threads {1000 * worked / count:.1f}; losses {done[0].loss:.3f} to {done[-1].loss:.3f}"
    )
    kept = ", ".join(f"{args.tokens * size / 1e9:.2f}" for size in pipeline.a_token)
    say(f"    GB a buffer kept for backward a stage: {kept}; buffers computed again a stage: {pipeline.recomputed}")


def decoding(base: Base, args: argparse.Namespace, devices: list[torch.device]) -> None:
    """Answer with full groups of rows, all of one length, and time the steps and each device's piece of one alone."""
    assert base.adapters is not None
    names = [f"t.s{seed}" for seed in range(args.arms)]
    for seed, name in enumerate(names):
        base.adapters.initialise(name, seed)
    count, length = args.rows * len(devices), PROMPT + args.new
    requests = [
        Request((i,), rows(1, PROMPT, base.config.vocab_size)[0].input_ids, (i,), frozenset(), names[i % len(names)])
        for i in range(count)
    ]
    began = wait(*devices)
    engine = _Engine(base, names, requests, Sampling(0.9), args.new, Shapes(args.rows, length, 8192), None)
    asked: list[tuple[float, float]] = []
    for group in engine.groups:
        group.decoder.step = watched(group.decoder.step, asked)  # type: ignore[method-assign]
    answers = sum(1 for _ in engine.run())
    seconds, first = wait(*devices) - began, WARM * len(devices)
    graphs = all(piece.graph for group in engine.groups for piece in group.decoder.pieces)
    a_step = (asked[-1][0] - asked[first][0]) / (len(asked) - 1 - first)
    alone = []
    with torch.inference_mode():
        for piece in engine.groups[0].decoder.pieces:
            piece()
            start = wait(*devices)
            for _ in range(10):
                piece()
            alone.append((wait(*devices) - start) / 10)
    say(
        f"  decoding, {len(devices)} groups of {args.rows} rows, graphs {graphs}: "
        f"{answers} answers in {seconds:.0f} s; "
        f"{args.rows / a_step:,.0f} rows/s, {max(alone) / a_step:.0%} of the slowest stage's "
        f"{args.rows / max(alone):,.0f}; a step {1000 * a_step:.1f} ms, stages alone "
        + ", ".join(f"{1000 * one:.1f}" for one in alone)
    )
    memories(devices)


def profile(steps: Iterator[Any], count: int) -> None:
    """Print where the time of some steps goes: calls of the processor, waits among them, and kernels."""
    from torch.profiler import ProfilerActivity

    every = torch.profiler._ExperimentalConfig(profile_all_threads=True)
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities, experimental_config=every) as found:
        for _ in range(count):
            next(steps)
    for what, field in (("processor", "self_cpu_time_total"), ("kernels", "self_device_time_total")):
        say(f"    {what}, {count} buffers:\n{most(found, field)}")


def memories(devices: list[torch.device]) -> None:
    if devices[0].type == "cuda":
        peaks = [torch.cuda.max_memory_allocated(device) / 1e9 for device in devices]
        held = [torch.cuda.max_memory_reserved(device) / 1e9 for device in devices]
        say(
            "  GB a GPU at most, and reserved:",
            ", ".join(f"{a:.1f} ({b:.1f})" for a, b in zip(peaks, held, strict=True)),
        )


def check(base: Base, args: argparse.Namespace, devices: list[torch.device]) -> None:
    """Train two steps of every arm, undelayed twice and with sleeps, and compare all bits."""
    assert base.laid_over is not None

    def once() -> Iterator[torch.Tensor]:
        runs = arms(base, args)
        for run in runs:
            run.args = TrainingArgs(0.5, 1, 1e-4, buffer_tokens=args.tokens)
        yield torch.tensor([(step.loss, step.grad_norm) for step in sorted(train(runs), key=lambda s: (s.arm, s.step))])
        for run in runs:
            for weight in run.weights().values():
                yield weight.detach().cpu().clone()

    def differing(one: list[torch.Tensor], other: list[torch.Tensor]) -> int:
        return sum(not torch.equal(a, b) for a, b in zip(one, other, strict=True))

    list(once())  # compiles
    wanted = list(once())
    say(f"  check: without sleeps twice, {differing(list(once()), wanted)} of {len(wanted)} tensors differ")
    draw, bad = random.Random(1), []
    for number in range(args.runs):
        base.laid_over.links.pause = sleeper(draw)
        if count := differing(list(once()), wanted):
            bad.append((number, count))
    base.laid_over.links.pause = lambda device: None
    say(f"  check: {args.runs} runs with sleeps, {len(bad)} differ {bad or ''}")


def sleeper(draw: random.Random) -> Callable[[torch.device], None]:
    def sleep(device: torch.device) -> None:
        if device.type == "cuda" and draw.random() < 0.5:
            with on(device):
                torch.cuda._sleep(draw.randrange(SLEEP))

    return sleep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=LLAMA, default="llama-8b")
    parser.add_argument("--gpus", type=int, nargs="+", default=[2])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--arms", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=8, help="timed steps an arm")
    parser.add_argument("--repeats", type=int, default=3, help="of each stage alone")
    parser.add_argument("--graphs", type=int, help="buffers a stage keeps for backward; what fits where not given")
    parser.add_argument("--r", type=int, default=8)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--ways", nargs="+", choices=["one", "threads"], default=["threads"], help="threads that ask")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--rows", type=int, default=128, help="rows a group that decode together")
    parser.add_argument("--new", type=int, default=48, help="tokens an answer")
    parser.add_argument("--only", choices=["train", "decode"], help="one of the two")
    parser.add_argument("--check", action="store_true", help="compare bits under sleeps instead of timing")
    parser.add_argument("--runs", type=int, default=20, help="of --check")
    parser.add_argument("--ahead", type=int, default=links.AHEAD, help="layers that a GPU is asked for ahead")
    parser.add_argument("--from-disk", action="store_true", help="write the model and load it, as a run does")
    args = parser.parse_args()
    links.AHEAD = args.ahead
    for count in args.gpus:
        devices = [torch.device("cuda", i) if args.device == "cuda" else torch.device("cpu") for i in range(count)]
        began = time.perf_counter()
        base = from_disk(args.shape, devices) if args.from_disk else build(args.shape, devices)
        parameters = sum(p.numel() for p in base.model.parameters()) / 1e9
        kind = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
        say(
            f"{args.shape}, {parameters:.2f} B parameters over {count} x {kind}, torch {torch.__version__}; "
            f"made and proved in {wait(*devices) - began:.0f} s"
        )
        base.adapt(args.r, 2 * args.r, 0.0, "all-linear")
        base.run_layers(args.device == "cuda" and not args.eager)
        for what, measure in {"check": check, "train": training, "decode": decoding}.items():
            if args.check == (what == "check") and args.only in (None, what):
                measure(base, args, devices)
        del base
        memory.free_memory()


if __name__ == "__main__":
    main()
