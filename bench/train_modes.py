"""Train the same arms in every mode on a GPU and print how far losses and gradients are from each other.

    python bench/train_modes.py

Rounding differs between the modes; what they compute must not. The yardstick is how far the same training is from
itself when only its samples are cut into other buffers.
"""

from pathlib import Path

import torch
from subject import SHAPES
from train_throughput import samples

from iikata.core.records import Arm
from iikata.model import base as base_module
from iikata.model.adapters.dropout import noise
from iikata.model.attention.limits import Limits, Room
from iikata.model.attention.packed import Group
from iikata.model.attention.varlen import lay_out
from iikata.model.base import MOST_WEIGHTS, Base
from iikata.model.load import ready
from iikata.train import ArmRun, TrainingArgs, train

STEPS = 50


def opened(compiled: bool, checkpointed: bool = False) -> Base:
    from transformers import AutoConfig, AutoModelForCausalLM

    from iikata.model.attention.registry import NAME, register

    register()
    shape = dict(
        SHAPES["neox-3.6b"], num_hidden_layers=4, hidden_size=512, intermediate_size=2048, num_attention_heads=8
    )
    config = AutoConfig.for_model(shape.pop("kind"), **shape)
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation=NAME)
    base = ready(Base(model.eval().requires_grad_(False), Path("."), torch.device("cuda"), torch.bfloat16))
    base.adapt(8, 16, 0.0, "all-linear")
    base.run_layers(compiled, checkpointed)
    return base


def losses(  # type: ignore[no-untyped-def]
    compiled=False, checkpointed=False, buffer=4096, shared=False, mixed=False, as_graph=True
):  # fmt: skip
    base_module.MOST_WEIGHTS = MOST_WEIGHTS if as_graph else 0
    base = opened(compiled, checkpointed)
    rows = samples(400, 32000, 40)
    arms = [Arm("t", seed) for seed in range(3)]
    for arm in arms:
        base.adapters.initialise(arm.name, arm.seed)
    if mixed:
        base.adapters.group([arm.name for arm in arms])
    prefixes = (rows[0].input_ids[:40],) if shared else ()
    recipe = TrainingArgs(2, 16, 1e-3, buffer_tokens=buffer)
    steps = list(train([ArmRun(arm, rows, prefixes, recipe, base) for arm in arms]))
    return {arm.name: torch.tensor([s.loss for s in steps if s.arm == arm.name][:STEPS]) for arm in arms}


def kernel_errors() -> None:
    """Compare the kernels with the formula in float64 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    groups = [Group((0, 40), ((40, 100), (100, 101), (101, 260))), Group((260, 260), ((260, 300),))]
    for heads, kv_heads, width in ((22, 22, 128), (9, 3, 64), (8, 4, 256)):
        q, k, v, g = (
            torch.randn(384, h, width, generator=generator, dtype=torch.float64).bfloat16()
            for h in (heads, kv_heads, kv_heads, heads)
        )
        for window in (0, 50):
            attention_errors((q, k, v, g), groups, window)
    x = torch.randn(1, 7, 50, 128).bfloat16()
    for rotary in (128, 32):
        cos, sin = torch.randn(1, 50, rotary).bfloat16(), torch.randn(1, 50, rotary).bfloat16()
        for back in (False, True):
            got = torch.ops.iikata.rotate(x.cuda(), x.cuda(), cos.cuda(), sin.cuda(), back)[1].cpu().double()
            want = turned(x.double(), cos.double(), sin.double(), back)
            print(f"rotation of {rotary} columns, transposed {back}: {float((got - want).norm() / want.norm()):.4f}")
    streams, salt = noise(2**40 + 3, 50, torch.device("cpu")), torch.tensor(-77, dtype=torch.int32)
    for kind, dropout in ((torch.bfloat16, 0.05), (torch.float16, 0.5), (torch.float32, 0.9)):
        given = torch.randn(50, 300).to(kind)
        got = torch.ops.iikata.drop(given.cuda(), streams.cuda(), salt.cuda(), dropout).cpu()
        want = torch.ops.iikata.drop(given, streams, salt, dropout)
        print(f"dropout {dropout} in {kind}: masks differ at {int(((got == 0) != (want == 0)).sum())} places, ", end="")
        print(f"the rest by {float((got.double() - want.double()).norm() / want.double().norm()):.4f}")


def attention_errors(given: list[torch.Tensor], groups: list[Group], window: int) -> None:
    """Compare one layer's attention and its gradients: short lists are filled up, what fills them is of no sequence."""
    q, k, v, g = given
    room = Room(384)
    room.lengths = dict(zip("01234567", (60, 80, 100, 20, 20, 160, 20, 500), strict=True))
    layout = lay_out(groups, 384, Limits(256, 384, 64), torch.device("cpu"), room, window)
    own, *rest = layout.tensors[:6]
    if window:
        rest[2:] = own, *layout.tensors[6:]
    layout_of = (own, *rest, layout.most, q.shape[2] ** -0.5, window)
    wanted = torch.ops.iikata.attend(q.double(), k.double(), v.double(), *layout_of)
    back = torch.ops.iikata.attend_backward(g.double(), q.double(), k.double(), v.double(), *wanted, *layout_of)
    there = [x.cuda() if isinstance(x, torch.Tensor) and x is not layout.most else x for x in layout_of]
    found = torch.ops.iikata.attend(q.cuda(), k.cuda(), v.cuda(), *there)
    ours = torch.ops.iikata.attend_backward(g.cuda(), q.cuda(), k.cuda(), v.cuda(), *found, *there)
    pairs = zip((found[0], *ours), (wanted[0], *back), strict=True)
    errors = " ".join(f"{float((a.cpu().double() - b).norm() / b.norm()):.4f}" for a, b in pairs)
    print(f"attention {q.shape[1]}/{k.shape[1]} heads of {q.shape[2]}, window {window}: out, dq, dk, dv {errors}")


def cross_entropy_errors() -> None:
    """Compare the kernel's losses, and the gradients it writes over the logits, with float64 arithmetic."""
    from iikata.model.kernels.cross_entropy import cross_entropy

    for columns, scale, cap, kind in (
        (49152, 1.0, None, torch.bfloat16), (262144, 0.5, 30.0, torch.float16), (5001, 2.0, None, torch.float32),
    ):  # fmt: skip
        given, targets = (torch.randn(64, columns) * 4).to(kind), torch.randint(0, columns, (64,))
        exact = given.double().requires_grad_()
        squashed = torch.tanh(exact * scale / cap) * cap if cap else exact * scale
        wanted = torch.nn.functional.cross_entropy(squashed, targets, reduction="none")
        wanted.sum().backward()
        logits = given.cuda()
        got = [cross_entropy(logits, targets.cuda(), scale, cap, gradient).cpu().double() for gradient in (False, True)]
        far = [float((one - wanted.detach()).abs().max()) for one in got]
        slope = float((logits.cpu().double() - exact.grad).norm() / exact.grad.norm())
        print(f"cross-entropy of {columns} in {kind}: losses off by {max(far):.1e}, gradients by {slope:.4f}")


def turned(x, cos, sin, back):  # type: ignore[no-untyped-def]
    from transformers.models.llama.modeling_llama import rotate_half

    r = cos.shape[-1]
    if not back:
        return torch.cat([x[..., :r] * cos + rotate_half(x[..., :r]) * sin, x[..., r:]], -1)
    y = x.clone().requires_grad_()
    z = torch.zeros_like(x).requires_grad_()
    (gradient,) = torch.autograd.grad((turned(z, cos, sin, False) * y.detach()).sum(), z)
    return gradient


def main() -> None:
    kernel_errors()
    cross_entropy_errors()
    plain = losses()
    modes = {
        "other buffers (the yardstick)": dict(buffer=1024),
        "again": {},
        "compiled": dict(compiled=True),
        "compiled, checkpointed": dict(compiled=True, checkpointed=True),
        "prefix shared": dict(shared=True),
        "three arms in a buffer": dict(mixed=True, buffer=32768, as_graph=False),
        "three arms, as a CUDA graph": dict(mixed=True, buffer=32768),
        "three arms, graph, prefix shared": dict(mixed=True, buffer=32768, shared=True),
        "all of it, a graph too": dict(compiled=True, shared=True, mixed=True, buffer=32768),
    }
    for name, settings in modes.items():
        other = losses(**settings)
        gaps = [float((other[arm] - plain[arm]).abs().max()) for arm in plain]
        last = [float((other[arm] - plain[arm])[-10:].abs().mean()) for arm in plain]
        print(
            f"{name:32s} largest loss difference in {STEPS} steps {max(gaps):.5f}, mean of the last ten {max(last):.5f}"
        )
    print("first and last loss", float(plain["t.s0"][0]), float(plain["t.s0"][-1]))


if __name__ == "__main__":
    main()
