"""What the benchmarks share: models of known shapes with random weights or from a folder, the clock, the table."""

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from iikata.model.base import Base
from iikata.model.load import choose_device, choose_dtype, load, ready

SHAPES: dict[str, dict[str, Any]] = {
    "neox-3.6b": dict(
        kind="gpt_neox", vocab_size=32000, hidden_size=2816, intermediate_size=11264, num_hidden_layers=36,
        num_attention_heads=22, max_position_embeddings=2048, use_parallel_residual=False, tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
    ),
    "smollm2-135m": dict(
        kind="llama", vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192, tie_word_embeddings=True,
    ),
    "tiny": dict(
        kind="llama", vocab_size=4096, hidden_size=128, intermediate_size=384, num_hidden_layers=4,
        num_attention_heads=4, max_position_embeddings=2048, tie_word_embeddings=True,
    ),
}  # fmt: skip


def open_model(args: argparse.Namespace) -> Any:
    """Return iikata's frozen model: of a folder, or of a shape with random weights."""
    device = choose_device()
    if args.model:
        return load(Path(args.model), "auto", device=device)
    from transformers import AutoConfig, AutoModelForCausalLM

    from iikata.model.attention.registry import NAME, register

    register()
    shape = dict(SHAPES[args.shape])
    config = AutoConfig.for_model(shape.pop("kind"), **shape)
    dtype = choose_dtype("auto", device)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=NAME)
    return ready(Base(model.eval().requires_grad_(False), Path(args.shape), device, dtype))


def arguments(about: str) -> argparse.ArgumentParser:
    """Return a parser that has what every throughput bench takes."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="neox-3.6b")
    parser.add_argument("--model", help="a model folder instead of a shape")
    parser.add_argument("--only", nargs="*", help="the kinds of rows to run, e.g. peft, batch, iikata")
    parser.add_argument("--r", type=int, default=8)
    parser.add_argument("--targets", default="auto")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path)
    return parser


def parsed(parser: argparse.ArgumentParser) -> argparse.Namespace:
    args = parser.parse_args()
    if args.targets == "auto":
        args.targets = "query_key_value" if args.shape == "neox-3.6b" and not args.model else "all-linear"
    return args


def heading(args: argparse.Namespace) -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return f"{device}, torch {torch.__version__}, {args.model or args.shape}, r {args.r}, {args.targets}"


def measured(
    plan: Iterable[tuple[str, Callable[[], Any]]], only: list[str] | None, rows: list[Any], line: Callable[..., str]
) -> None:
    """Measure the rows of a plan that are wanted, add them to `rows` and print them; a text is printed alone."""
    for kind, measure in plan:
        if only is not None and kind not in only:
            continue
        try:
            found = measure()
        except Exception as error:  # one row that fails must not cost the others
            found = f"{kind}: {type(error).__name__}: {str(error)[:600]}"
        if not isinstance(found, str):
            rows.append(found)
            found = line(found, rows[0])
        print(found, flush=True)


def keep(rows: list[Any], file: Path | None) -> None:
    if file:
        file.write_text(json.dumps([vars(row) for row in rows], indent=1, default=str))


def profiled(work: Callable[[], Any], what: str, device: torch.device) -> str:
    """Return where the device's time goes while `work` is done: kernels, on CPU operations."""
    from torch.profiler import ProfilerActivity

    cuda = device.type == "cuda"
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as found:
        began = wait()
        work()
        took = wait() - began
    return f"{what}: {took * 1e3:.0f} ms\n" + most(found, "self_device_time_total" if cuda else "self_cpu_time_total")


def most(found: Any, field: str) -> str:
    """Return the events of a profile that took most: ms, share, calls, name."""
    events = sorted(found.key_averages(), key=lambda event: -getattr(event, field))
    total = sum(getattr(event, field) for event in events)
    lines = [f"{total / 1e3:9.1f} ms in all"]
    for event in events[:28]:
        own = getattr(event, field)
        lines.append(f"{own / 1e3:9.1f} ms {own / total:6.1%} {event.count:6d}x {event.key[:110]}")
    return "\n".join(lines)


def wait(*devices: torch.device) -> float:
    """Return the time once the devices, the current GPU where none is named, have done what they were asked for."""
    for device in devices or [torch.device("cuda" if torch.cuda.is_available() else "cpu")]:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return time.perf_counter()


def fresh() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
