"""Training throughput of iikata's arms and of what people use, in one program and one table.

    python bench/train_throughput.py --shape neox-3.6b
    python bench/train_throughput.py --model FOLDER --only peft iikata      # a model on disk, e.g. on CPU

Tokens a second count real tokens only, never padding: `computed` those that went through the model, `effective` as if
no sample shared its first tokens. Random weights, random tokens, lengths lognormal with mean 172 and median 129.
"""

import argparse
import math
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from subject import arguments, fresh, heading, keep, measured, open_model, parsed, peak_gb, profiled, wait

from iikata.core.encoded import Encoded, Role
from iikata.core.records import Arm
from iikata.model import fp8, memory
from iikata.model.adapters.lora_linear import LoraLinear
from iikata.model.attention.registry import NAME
from iikata.model.buffers import computed
from iikata.model.layers import compilations, decoder_layers
from iikata.pipeline.buffer_plan import CPU_BUFFER_TOKENS, most_buffer_tokens
from iikata.score.nll import nats
from iikata.train import ArmRun, TrainingArgs, train

PEAK = 790e12
"""bf16 FLOP/s that large matrix products reach on an H200 (measured); the 4N bound is stated against it."""


@dataclass
class Row:
    """One line of the table."""

    name: str
    effective: float
    computed: float
    peak_gb: float
    note: str = ""
    more: dict[str, Any] = field(default_factory=dict)


def samples(count: int, vocabulary: int, preamble: int, seed: int = 0) -> list[Encoded]:
    """Return random samples; all begin with the same `preamble` tokens, the second half of each is its answer."""
    draw = random.Random(seed)
    shared = [draw.randrange(4, vocabulary) for _ in range(preamble)]
    made = []
    for number in range(count):
        length = min(1024, max(preamble + 8, round(draw.lognormvariate(math.log(129), 0.7585))))
        ids = shared + [draw.randrange(4, vocabulary) for _ in range(length - preamble)]
        start = max(preamble + 1, length // 2)
        mask = tuple(i >= start for i in range(length))
        roles: tuple[Role, ...] = ("prompt",) * start + ("answer",) * (length - start)
        made.append(Encoded(str(number), "", "", tuple(ids), mask, roles=roles))
    return made


def iikata(base: Any, args: argparse.Namespace, name: str, **asked: Any) -> Row:
    """Train arms for a few turns; the first two are not timed."""
    setting = dict(
        arms=1, preamble=0, targets=args.targets, buffer=args.buffer, group=1, checkpoint=False, turns=args.turns
    )
    setting |= asked
    fresh()
    runs = prepared(base, args, setting)
    prefixes = runs[0].prefixes
    steps = train(runs)
    began, graphs = wait(), compilations()
    # Two turns; arms that take turns one by one have the shapes of one another.
    first = [next(steps) for _ in range(2 * setting["group"])]
    warm = wait() - began
    after_two = compilations()
    began = wait()
    done = [next(steps) for _ in range(setting["turns"] * len(runs))]
    seconds = wait() - began
    steps.close()
    cost = [
        sum(computed(s, prefixes) for s in run.batch(step.step - 1))
        for step in done
        for run in runs
        if run.arm.name == step.arm
    ]
    tokens = sum(step.tokens for step in done)
    compiling = max(0.0, warm - 2 * seconds / setting["turns"] * setting["group"] / len(runs))
    note = f"compile {compiling:.0f} s, {after_two - graphs} graphs, then {compilations() - after_two}"
    losses = [step.loss for step in first + done if step.arm == runs[0].arm.name]
    return Row(
        name, tokens / seconds, sum(cost) / seconds, peak_gb(), note, {"seconds": seconds, "losses": losses, **setting}
    )


def prepared(base: Any, args: argparse.Namespace, setting: dict[str, Any]) -> list[ArmRun]:
    """Return fresh arms; what of `setting` is left to a run's own choice is filled in."""
    base = _bare(base)
    if not setting["buffer"]:
        setting["buffer"], setting["checkpoint"] = planned(base, args, setting)
    adapters = base.adapt(args.r, 2 * args.r, 0.0, setting["targets"])
    base.run_layers(base.device.type == "cuda" and not args.eager, setting["checkpoint"])
    rows = samples(args.batch * 8, base.config.vocab_size, setting["preamble"])
    prefixes = (rows[0].input_ids[: setting["preamble"]],) if setting["preamble"] else ()
    recipe = TrainingArgs(100, args.batch, 1e-4, buffer_tokens=setting["buffer"])
    arms = [Arm("t", seed) for seed in range(setting["arms"])]
    for arm in arms:
        adapters.initialise(arm.name, int(arm.seed or 0))
    for start in range(0, len(arms), setting["group"]):
        if setting["group"] > 1:
            adapters.group([arm.name for arm in arms[start : start + setting["group"]]])
    return [ArmRun(arm, rows, prefixes, recipe, base) for arm in arms]


def planned(base: Any, args: argparse.Namespace, setting: dict[str, Any]) -> tuple[int, bool]:
    """Return the buffer and the checkpointing that a run would choose with what is free now."""
    if base.device.type == "cpu":
        return CPU_BUFFER_TOKENS, False
    need = memory.need(base.config, base.dtype, setting["arms"], args.r, setting["targets"])
    return need.fit(memory.free_bytes(base.device), most_buffer_tokens(memory.parameters(base.config)))


def limited(base: Any, args: argparse.Namespace, gigabytes: float, targets: str) -> Row:
    """Train with no more than this much memory on the device, model included."""
    fresh()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(gigabytes * 1e9 / total)
    try:
        row = iikata(
            base, args, f"iikata, 1 arm, {targets}, within {gigabytes:.0f} GB", targets=targets, buffer=0, turns=2
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    row.note = f"{row.more['buffer']} tokens, checkpointed {row.more['checkpoint']}; {row.note}"
    return row


def likelihood(base: Any, args: argparse.Namespace, cells: int, rows: int) -> Row:
    """Score held-out rows in many cells, as the stage score does, from tokens on."""
    fresh()
    adapters = _bare(base).adapt(args.r, 2 * args.r, 0.0, args.targets)
    base.run_layers(base.device.type == "cuda" and not args.eager)
    for seed in range(10):
        adapters.initialise(f"t.s{seed}", seed)
    held = samples(rows, base.config.vocab_size, 40, seed=1)
    prefixes = (held[0].input_ids[:40],)
    size = args.buffer or planned(base, args, dict(arms=1, targets=args.targets))[0]
    list(nats(base, "t.s0", held, prefixes, size))
    began = wait()
    for cell in range(cells):
        list(nats(base, f"t.s{cell % 10}", held, prefixes, size))
    seconds = wait() - began
    tokens = cells * sum(len(s.input_ids) for s in held)
    cost = cells * sum(computed(s, prefixes) for s in held)
    return Row(
        f"iikata, held-out likelihood, {cells} cells x {rows} rows",
        tokens / seconds,
        cost / seconds,
        peak_gb(),
        f"{seconds:.1f} s",
    )


def _bare(base: Any) -> Any:
    """Take off what an earlier row put on the base, ours or peft's, also where that row failed in the middle."""
    for name, layer in list(base.model.named_modules()):
        plain = layer.base if isinstance(layer, LoraLinear) else getattr(layer, "base_layer", None)
        if plain is not None:
            parent, _, last = name.rpartition(".")
            setattr(base.model.get_submodule(parent), last, plain)
    if hasattr(base.model, "peft_config"):
        del base.model.peft_config
    base.adapters = None
    base.model.set_attn_implementation(NAME)
    base.model.eval().requires_grad_(False)
    return base


def peft_model(base: Any, args: argparse.Namespace) -> Any:
    from peft import LoraConfig, get_peft_model

    _bare(base).model.set_attn_implementation("sdpa")
    base.run_layers(False)
    targets = args.targets if args.targets == "all-linear" else [args.targets]
    config = LoraConfig(r=args.r, lora_alpha=2 * args.r, target_modules=targets, task_type="CAUSAL_LM")
    return get_peft_model(base.model, config)


def _padded(batch: list[Encoded], device: Any) -> dict[str, torch.Tensor]:
    longest = max(len(s.input_ids) for s in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, s in enumerate(batch):
        n = len(s.input_ids)
        ids[row, :n] = torch.tensor(s.input_ids)
        mask[row, :n] = 1
        labels[row, :n] = torch.where(torch.tensor(s.completion_mask), ids[row, :n], -100)
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device), "labels": labels.to(device)}


def peft_loop(base: Any, args: argparse.Namespace, micro: int, steps: int) -> Row:
    """A tuned loop around PEFT: samples of like length together, padded to the longest of a micro-batch."""
    fresh()
    model = peft_model(base, args)
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    rows = samples(args.batch * 8, base.config.vocab_size, 0)
    tokens, began = 0, 0.0
    for step in range(steps + 1):
        if step == 1:
            began, tokens = wait(), 0
        batch = sorted(rows[step % 8 * args.batch : (step % 8 + 1) * args.batch], key=lambda s: len(s.input_ids))
        for i in range(0, len(batch), micro):
            part = batch[i : i + micro]
            (model(**_padded(part, base.device)).loss * len(part) / len(batch)).backward()
            tokens += sum(len(s.input_ids) for s in part)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    seconds = wait() - began
    return Row(f"PEFT loop, micro-batch {micro}, length-grouped, padded", tokens / seconds, tokens / seconds, peak_gb())


def hf_trainer(base: Any, args: argparse.Namespace) -> Row:
    """The post's script: HF Trainer + PEFT, micro-batch 2, accumulated to the batch; the first eighth is not timed."""
    from transformers import Trainer, TrainerCallback, TrainingArguments

    fresh()
    model = peft_model(base, args)
    rows = samples(args.batch, base.config.vocab_size, 0)
    asked: list[int] = []
    times: list[tuple[float, int]] = []

    class Clock(TrainerCallback):
        def on_substep_end(self, *_: Any, **__: Any) -> None:
            times.append((wait(), sum(asked)))

        on_step_end = on_substep_end

    class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, index: int) -> Encoded:
            return rows[index]

    def padded(batch: list[Encoded]) -> dict[str, torch.Tensor]:
        return _padded(batch, "cpu")

    def counted(model: Any, inputs: dict[str, Any]) -> None:
        asked.append(int(inputs["attention_mask"].sum()))

    class Counting(Trainer):
        def training_step(self, model: Any, inputs: Any, *rest: Any) -> Any:
            counted(model, inputs)
            return super().training_step(model, inputs, *rest)

    settings = TrainingArguments(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=2, gradient_accumulation_steps=args.batch // 2,
        max_steps=1, learning_rate=1e-4, logging_strategy="no", save_strategy="no", report_to=[],
        remove_unused_columns=False, bf16=base.dtype == torch.bfloat16, use_cpu=base.device.type == "cpu",
        disable_tqdm=True,
    )  # fmt: skip
    Counting(model=model, args=settings, train_dataset=Rows(), data_collator=padded, callbacks=[Clock()]).train()
    first, last = times[len(times) // 8], times[-1]
    rate = (last[1] - first[1]) / (last[0] - first[0])
    return Row("HF Trainer + PEFT, micro-batch 2, padded", rate, rate, peak_gb())


def flops_a_token(base: Any) -> float:
    """Return the least arithmetic of LoRA: forward and the gradient of the inputs, two products each weight."""
    blocks = sum(p.numel() for name, p in base.model.named_parameters() if p.dim() == 2 and "layers." in name)
    head = base.model.get_output_embeddings().weight.numel()
    return 4.0 * (blocks + head / 2)  # about half of the tokens carry loss


def eight_bit(base: Any, args: argparse.Namespace, plain: Row | None) -> Row:
    """The same arms over a base whose products are made in fp8, and how far its losses are from theirs."""
    fp8.install(decoder_layers(_bare(base).model))
    row = iikata(base, args, "iikata, 8 arms, preamble of 40 shared, fp8 base", arms=8, preamble=40, buffer=0, turns=1)
    if plain is not None:
        pairs = list(zip(row.more["losses"], plain.more["losses"], strict=False))
        row.note += f"; loss differs by {max(abs(a - b) for a, b in pairs):.4f} at most of {pairs[0][1]:.2f}"
    return row


def plan_rows(base: Any, args: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Row]]]:
    few = max(1, args.turns // 4)

    def ours(name: str, **setting: Any) -> Callable[[], Row]:
        return lambda: iikata(base, args, f"iikata, {name}", **setting)

    yield "trainer", lambda: hf_trainer(base, args)
    yield "peft", lambda: peft_loop(base, args, 2 if base.device.type == "cpu" else 32, 1)
    if base.device.type == "cpu":
        yield "iikata", ours("1 arm")
        yield "iikata", ours("1 arm, preamble of 40 shared", preamble=40)
    elif base.config.hidden_size < 1024:
        yield "iikata", ours("8 arms, 8 side by side", arms=8, group=8, turns=args.turns // 2)
        yield "iikata", ours("32 arms, 8 side by side", arms=32, group=8, turns=few)
        yield "one", ours("1 arm")
        yield (
            "prefix",
            ours("8 arms, 8 side by side, preamble of 40 shared", arms=8, group=8, preamble=40, turns=args.turns // 2),
        )
        yield "nll", lambda: likelihood(base, args, 30, 500)
    else:
        yield "iikata", ours("1 arm, buffers of 16,384", buffer=16384)
        yield "iikata", ours("1 arm")
        yield "iikata", ours("8 arms in turn", arms=8, turns=few)
        plain: list[Row] = []

        def shared() -> Row:
            plain.append(iikata(base, args, "iikata, 8 arms, preamble of 40 shared", arms=8, preamble=40, turns=few))
            return plain[0]

        yield "prefix", shared
        yield "limited", lambda: limited(base, args, 16, args.targets)
        yield "linears", ours("8 arms, all linear layers", arms=8, targets="all-linear", turns=few)
        yield "nll", lambda: likelihood(base, args, 30, 500)
        yield "fp8", lambda: eight_bit(base, args, plain[0] if plain else None)
        yield "checkpoint", ours("1 arm, checkpointed, buffers of 16,384", checkpoint=True, buffer=16384)


def profile(base: Any, args: argparse.Namespace) -> str:
    """Return where the time of two turns goes, by kernel."""
    side_by_side = 8 if base.config.hidden_size < 1024 else 1
    setting = dict(arms=side_by_side, group=side_by_side, targets=args.targets, checkpoint=False)
    runs = prepared(base, args, {**setting, "preamble": args.preamble, "buffer": args.buffer})
    steps = train(runs)
    for _ in range(3 * len(runs)):
        next(steps)
    return profiled(lambda: [next(steps) for _ in range(2 * len(runs))], "2 turns", base.device)


def main() -> None:
    parser = arguments(str(__doc__))
    parser.add_argument("--rows", type=int, help="at most this many")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--buffer", type=int, default=0, help="tokens; 0 chooses as a run does")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--preamble", type=int, default=0, help="of the profile")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    args = parsed(parser)
    base = open_model(args)
    print(
        f"{heading(args)}, batch {args.batch}; computed and effective tokens/s, ratio to the first row, share of the "
        "bound, peak memory"
    )
    bound = PEAK / flops_a_token(base)
    rows: list[Row] = []

    def line(row: Row, first: Row) -> str:
        share = f"{row.computed / bound:6.1%}" if base.device.type == "cuda" else ""
        speeds = f"{row.computed:10,.0f} {row.effective:10,.0f} {row.effective / first.effective:7.2f}x {share}"
        return f"{row.name:52s} {speeds} {row.peak_gb:6.1f} GB  {row.note}"

    plan = (one for one in plan_rows(base, args) if args.only is None or one[0] in args.only)
    measured(islice(plan, args.rows), args.only, rows, line)
    if args.profile:
        print(profile(base, args))
    keep(rows, args.json)


if __name__ == "__main__":
    main()
