"""Answering throughput of iikata's arms and of what people use, in one program and one table.

    python bench/generate_throughput.py --shape neox-3.6b
    python bench/generate_throughput.py --model FOLDER --rows 160      # a model on disk, e.g. on CPU

Tokens a second are new tokens; the prompts' are in the time, not in the count. Random prompts, sampling at temperature
0.9, no end token, so that all answers have the same length. transformers answers as the untuned model, which is its
fastest case; iikata as 4 adapters and the base, mixed.
"""

import argparse
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from subject import SHAPES, arguments, fresh, heading, keep, measured, open_model, parsed, peak_gb, profiled, wait

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
    base.run_layers(True)
    shapes = Shapes(rows, args.prompt + args.new, prefill_tokens(base))
    asked = requests(args, base.config.vocab_size, rows, 20)
    answer = generate(base, ARMS, asked, SAMPLING, 24, shapes)
    return profiled(lambda: list(answer), f"24 tokens for {rows} rows", base.device)


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
    parser = arguments(str(__doc__))
    parser.add_argument("--prompt", type=int, default=64, help="tokens")
    parser.add_argument("--new", type=int, default=64, help="tokens")
    parser.add_argument("--rows", type=int, help="in flight; a run's default where left out")
    parser.add_argument("--other-rows", type=int, nargs="*", default=[])
    parser.add_argument("--samples", type=int, nargs="*", default=[20, 1], help="a prompt")
    parser.add_argument("--static", type=int, nargs="*", default=[256], help="batches with a static cache")
    parser.add_argument("--held", type=float, default=16, help="GB of a GPU that a row is held to")
    parser.add_argument("--waves", type=int, default=4, help="answers, in rows")
    args = parsed(parser)
    print(
        f"{heading(args)}, prompts of {args.prompt} tokens, {args.new} new ones; new tokens/s, ratio to the first row, "
        "peak memory"
    )
    rows: list[Row] = []

    def line(row: Row, first: Row) -> str:
        return f"{row.name:60s} {row.speed:10,.0f} {row.speed / first.speed:8.2f}x {row.peak_gb:6.1f} GB  {row.note}"

    for source in (baselines, our_rows):
        if source is our_rows or args.only is None or {"one", "batch", "continuous", "static"} & set(args.only):
            measured(source(args), args.only, rows, line)
        fresh()
    keep(rows, args.json)


if __name__ == "__main__":
    main()
