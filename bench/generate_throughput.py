"""Answering throughput of iikata's arms and of what people use, in one program and one table.

    python bench/generate_throughput.py --shape neox-3.6b
    python bench/generate_throughput.py --model FOLDER --rows 160      # a model on disk, e.g. on CPU

Tokens a second are new tokens; the prompts' are in the time, not in the count. Random prompts, sampling at temperature
0.9, no end token, so that all answers have the same length. transformers answers as the untuned model, which is its
fastest case; iikata as 4 adapters and the base, mixed.
"""

import argparse
import json
import math
import platform
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from subject import SHAPES, fresh, open_model, peak_gb, wait

from iikata.generate import Request, Sampling, Shapes, generate
from iikata.model import memory
from iikata.model.layers import compilations
from iikata.pipeline.buffer_plan import most_rows, prefill_tokens

SAMPLING = Sampling(temperature=0.9)
ARMS = ("arm 0", "arm 1", "arm 2", "arm 3")


@dataclass
class Row:
    """One line of the table."""

    name: str
    speed: float
    """New tokens a second."""
    peak_gb: float
    note: str = ""


def prompts(count: int, length: int, vocabulary: int, seed: int = 0) -> list[tuple[int, ...]]:
    draw = random.Random(seed)
    return [tuple(draw.randrange(4, vocabulary) for _ in range(length)) for _ in range(count)]


def open_theirs(args: argparse.Namespace) -> Any:
    """Return transformers' own model, with its default attention."""
    from transformers import AutoConfig, AutoModelForCausalLM

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if args.model:
        return AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16).to(device).eval()
    shape = dict(SHAPES[args.shape])
    with torch.device(device):
        config = AutoConfig.for_model(shape.pop("kind"), **shape)
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()


def theirs(model: Any, args: argparse.Namespace, batch: int, times: int, **more: Any) -> Row:
    """Time `model.generate` on batches; a first one warms up."""
    fresh()
    vocabulary = model.config.vocab_size

    def answer(seed: int) -> None:
        ids = torch.tensor(prompts(batch, args.prompt, vocabulary, seed), device=model.device)
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=0.9, top_k=0, top_p=1.0,
            max_new_tokens=args.new, min_new_tokens=args.new, eos_token_id=None, pad_token_id=0, **more,
        )  # fmt: skip
        assert out.shape == (batch, args.prompt + args.new)

    began = wait()
    answer(0)
    first = wait() - began
    began = wait()
    for seed in range(1, times + 1):
        answer(seed)
    took = wait() - began
    return Row(f"model.generate, batch {batch}", times * batch * args.new / took, peak_gb(), f"first {first:.0f} s")


def static(model: Any, args: argparse.Namespace, batch: int) -> Row:
    row = theirs(model, args, batch, 2, cache_implementation="static")
    return Row(f"{row.name}, static cache, compiled", row.speed, row.peak_gb, row.note)


def continuous(model: Any, args: argparse.Namespace, count: int) -> Row:
    """Time transformers' continuous batching."""
    from transformers import GenerationConfig

    fresh()
    settings = GenerationConfig(
        max_new_tokens=args.new, min_new_tokens=args.new, do_sample=True, temperature=0.9, top_k=0, top_p=1.0,
        eos_token_id=-1, pad_token_id=0, use_cache=True,
    )  # fmt: skip
    asked = [list(ids) for ids in prompts(count, args.prompt, model.config.vocab_size)]
    model.generate_batch(inputs=asked[:8], generation_config=settings, progress_bar=False)
    began = wait()
    out = model.generate_batch(inputs=asked, generation_config=settings, progress_bar=False)
    took = wait() - began
    made = sum(len(one.generated_tokens) for one in out.values())
    return Row(f"transformers' continuous batching, {count} prompts", made / took, peak_gb())


def requests(args: argparse.Namespace, vocabulary: int, count: int, samples: int) -> list[Request]:
    """Return requests for `count` answers, of the base and every arm in turn."""
    asked = []
    for number, ids in enumerate(prompts(math.ceil(count / samples), args.prompt, vocabulary)):
        arm = (None, *ARMS)[number % 5]
        seeds = tuple(number * samples + sample for sample in range(min(samples, count - number * samples)))
        asked.append(Request(tuple((number, seed) for seed in seeds), ids, seeds, frozenset(), arm))
    return asked


def ours(base: Any, args: argparse.Namespace, rows: int, samples: int, compiled: bool = True) -> Row:
    """Time `generate` after a first, short one that compiles."""
    fresh()
    base.run_layers(compiled)
    shapes = Shapes(rows, args.prompt + args.new, prefill_tokens(base))
    vocabulary = base.config.vocab_size
    began, graphs = wait(), compilations()
    asked = requests(args, vocabulary, rows, samples)
    assert len(list(generate(base, ARMS, asked, SAMPLING, 4, shapes))) == rows
    first = wait() - began
    count = rows * args.waves
    asked = requests(args, vocabulary, count, samples)
    began = wait()
    replies = list(generate(base, ARMS, asked, SAMPLING, args.new, shapes))
    took = wait() - began
    assert len(replies) == count
    assert all(len(reply.ids) == args.new for reply in replies)
    need = memory.decoding(base, shapes.length, shapes.prefill_tokens)
    held = sum(p.nbytes for p in base.model.parameters())
    note = f"first {first:.0f} s, {compilations() - graphs} graphs, planned {(held + need.peak(rows)) / 1e9:.1f} GB"
    how = "" if compiled else ", layers not compiled"
    return Row(f"iikata, {rows} rows, {samples} samples a prompt{how}", count * args.new / took, peak_gb(), note)


def held(base: Any, args: argparse.Namespace, gigabytes: float) -> Row:
    """Hold the process to some memory and let the rows in flight follow from what is free."""
    fresh()
    torch.cuda.set_per_process_memory_fraction(gigabytes * 1e9 / torch.cuda.get_device_properties(0).total_memory)
    try:
        need = memory.decoding(base, args.prompt + args.new, prefill_tokens(base))
        rows = 8 * (min(need.fit(memory.free_bytes(base.device)), most_rows(base)) // 8)
        row = ours(base, args, rows, args.samples[0], compiled=False)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    return Row(f"{row.name}, held to {gigabytes:g} GB", row.speed, row.peak_gb, row.note)


def same(base: Any, args: argparse.Namespace) -> str:
    """Answer the same with other neighbours and say how much of it stays the same."""
    vocabulary = base.config.vocab_size
    asked = requests(args, vocabulary, 320, 4)
    runs = []
    for rows, order in ((320, 1), (320, -1), (64, 1), (8, 1)):
        shapes = Shapes(rows, args.prompt + args.new, prefill_tokens(base))
        runs.append({r.key: r.ids for r in generate(base, ARMS, asked[::order], SAMPLING, args.new, shapes)})
    lines = []
    for name, other in zip(("in reverse order", "64 rows for 320", "8 rows for 320"), runs[1:], strict=True):
        alike = sum(runs[0][key] == ids for key, ids in other.items()) / len(other)
        firsts = [next((i for i, (a, b) in enumerate(zip(runs[0][k], ids, strict=True)) if a != b), args.new)
                  for k, ids in other.items()]  # fmt: skip
        lines.append(f"identical answers {name}: {alike:.1%} (tokens up to the first other one: {sum(firsts)} of "
                     f"{len(firsts) * args.new})")  # fmt: skip
    return "\n".join(lines)


def kernels() -> str:
    """Hold attention over slots on this device against float64 arithmetic on the same 16-bit inputs."""
    lines = []
    for heads, kv_heads, width, window in ((22, 22, 128, 0), (9, 3, 64, 0), (8, 4, 256, 100)):
        rows, length = 256, 384
        draw = torch.Generator("cuda").manual_seed(0)
        shapes = [(rows, n, width) for n in (heads, kv_heads, kv_heads)] + [(rows, kv_heads, length, width)] * 2
        given = [torch.randn(shape, generator=draw, device="cuda", dtype=torch.bfloat16) for shape in shapes]
        used = torch.randint(0, length, (rows,), generator=draw, device="cuda")
        exact = [x.double() for x in given]
        wanted = torch.ops.iikata.attend_slots(*exact, used, width**-0.5, window, 0.0)
        found = torch.ops.iikata.attend_slots(*given, used, width**-0.5, window, 0.0)
        error = float((found - wanted).norm() / wanted.norm())
        written = all(torch.equal(x.double(), y) for x, y in zip(given[3:], exact[3:], strict=True))
        lines.append(f"{heads} heads of {width} over {kv_heads}, window {window}: error {error:.4f}, written {written}")
    return "\n".join(lines)


def profile(base: Any, args: argparse.Namespace, rows: int) -> str:
    """Return where the device's time goes in steps that hold no prompts."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as profiler

    base.run_layers(True)
    shapes = Shapes(rows, args.prompt + args.new, prefill_tokens(base))
    asked = requests(args, base.config.vocab_size, rows, 20)
    steps = []
    kinds = [ProfilerActivity.CUDA] if base.device.type == "cuda" else [ProfilerActivity.CPU]
    with profiler(activities=kinds) as found:
        began = wait()
        steps.append(len(list(generate(base, ARMS, asked, SAMPLING, 24, shapes))))
        took = wait() - began
    events = found.key_averages()
    field = "self_device_time_total" if base.device.type == "cuda" else "self_cpu_time_total"
    total = sum(getattr(e, field) for e in events)
    lines = [f"24 tokens for {rows} rows: {took * 1e3:.0f} ms, kernels {total / 1e3:.0f} ms"]
    for e in sorted(events, key=lambda e: -getattr(e, field))[:26]:
        lines.append(f"{getattr(e, field) / 1e3:9.1f} ms {getattr(e, field) / total:6.1%} {e.count:6d}x {e.key[:110]}")
    return "\n".join(lines)


def baselines(args: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Row]]]:
    model = open_theirs(args)
    if model.device.type == "cpu":
        yield "one", lambda: theirs(model, args, 1, 4)
        for batch in (8, 16, 32, 64, 128, 160):
            yield "batch", lambda batch=batch: theirs(model, args, batch, 1)
        return
    for batch in (1, 5, 64, 512):
        yield "batch", lambda batch=batch: theirs(model, args, batch, 1)
    yield "continuous", lambda: continuous(model, args, 512)
    for batch in args.static:
        yield "static", lambda batch=batch: static(model, args, batch)


def our_rows(args: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    base = open_model(args)
    adapters = base.adapt(args.r, 2 * args.r, 0.0, args.targets)
    for seed, arm in enumerate(ARMS):
        adapters.initialise(arm, seed)
        for name, weight in adapters.weights(arm).items():
            if name.endswith("lora_B"):
                torch.nn.init.normal_(weight.data, std=0.01)
    rows = args.rows or most_rows(base)
    for samples in args.samples:
        yield "iikata", lambda samples=samples: ours(base, args, rows, samples)
    for other in args.other_rows:
        yield "rows", lambda other=other: ours(base, args, other, args.samples[0])
    if base.device.type == "cuda":
        yield "kernels", kernels
        yield "eager", lambda: ours(base, args, rows, args.samples[0], compiled=False)
        yield "held", lambda: held(base, args, args.held)
    yield "same", lambda: same(base, args)
    if args.profile:
        yield "profile", lambda: profile(base, args, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="neox-3.6b")
    parser.add_argument("--model", help="a model folder instead of a shape")
    parser.add_argument("--only", nargs="*", help="the kinds of rows to run, e.g. batch iikata same")
    parser.add_argument("--prompt", type=int, default=64, help="tokens")
    parser.add_argument("--new", type=int, default=64, help="tokens")
    parser.add_argument("--rows", type=int, help="in flight; a run's default where left out")
    parser.add_argument("--other-rows", type=int, nargs="*", default=[])
    parser.add_argument("--samples", type=int, nargs="*", default=[20, 1], help="a prompt")
    parser.add_argument("--static", type=int, nargs="*", default=[256], help="batches with a static cache")
    parser.add_argument("--held", type=float, default=16, help="GB of a GPU that a row is held to")
    parser.add_argument("--waves", type=int, default=4, help="answers, in rows")
    parser.add_argument("--r", type=int, default=8)
    parser.add_argument("--targets", default="auto")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.targets == "auto":
        args.targets = "query_key_value" if args.shape == "neox-3.6b" and not args.model else "all-linear"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    print(
        f"{device}, torch {torch.__version__}, {args.model or args.shape}, r {args.r}, {args.targets}, prompts of "
        f"{args.prompt} tokens, {args.new} new ones; new tokens/s, ratio to the first row, peak memory"
    )
    rows: list[Row] = []
    for source in (baselines, our_rows):
        if source is baselines and args.only and not {"one", "batch", "continuous", "static"} & set(args.only):
            continue
        for kind, measure in source(args):
            if args.only and kind not in args.only:
                continue
            try:
                found = measure()
            except Exception as error:  # one row that fails must not cost the others
                print(f"{kind}: {type(error).__name__}: {str(error)[:600]}", flush=True)
                continue
            if not isinstance(found, Row):
                print(found, flush=True)
                continue
            rows.append(found)
            ratio = found.speed / rows[0].speed
            print(
                f"{found.name:60s} {found.speed:10,.0f} {ratio:8.2f}x {found.peak_gb:6.1f} GB  {found.note}", flush=True
            )
        measure = None  # the lambdas hold the model
        fresh()
    if args.json:
        args.json.write_text(json.dumps([vars(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
