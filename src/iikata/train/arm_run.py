"""One arm in training: its data order, optimizer, schedule and loss scale; nothing shared with other arms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from iikata.core.encoded import Encoded
from iikata.core.records import Arm, TrainStep
from iikata.core.rng import stream_seed
from iikata.model.adapters.flat import FlatAdapters, Weights
from iikata.model.attention.limits import Limits
from iikata.model.base import Base
from iikata.model.buffers import Ids, Part, split

FIRST_SCALE = 2.0**16
"""A float16 loss is multiplied by this, so that small gradients do not vanish; halved whenever they overflow."""
GROW_AFTER = 2000
"""Finite steps after which the scale is doubled, as in torch's GradScaler."""


@dataclass(frozen=True)
class TrainingArgs:
    """How every arm is trained; the names are the experiment's."""

    epochs: float
    batch_size: int
    learning_rate: float
    warmup_steps: int = 0
    schedule: str = "linear"
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    buffer_tokens: int = 2048
    """Tokens a buffer; part of the run's stored shapes, since a sum's rounding follows it."""


@dataclass
class ArmRun:
    """The state of one arm. Its result depends on its own rows, seed and settings alone."""

    arm: Arm
    samples: Sequence[Encoded]
    prefixes: Sequence[Ids]
    args: TrainingArgs
    base: Base
    step: int = 0
    """Optimizer steps done, their numbers read."""
    asked: int = 0
    """Optimizer steps that the devices have been asked for."""
    stopped: str = ""
    """Why the arm was given up, e.g. a non-finite loss."""
    flats: dict[int, FlatAdapters] = field(init=False)
    """Stage -> the block that holds the arm's weights; arms of one block can share a buffer."""
    scale: float = field(init=False)
    finite: int = 0
    """Steps since the scale last changed."""
    optimizers: dict[int, torch.optim.AdamW] = field(init=False)

    def __post_init__(self) -> None:
        assert self.base.adapters is not None
        if self.arm.name not in self.base.adapters:
            self.base.adapters.initialise(self.arm.name, int(self.arm.seed or 0))
        self.flats = self.base.adapters.flats_of(self.arm.name)
        self.optimizers = {
            stage: torch.optim.AdamW(
                [flat.parameter(self.arm.name)], lr=0.0, weight_decay=self.args.weight_decay, fused=True
            )
            for stage, flat in self.flats.items()
        }
        self.scale = FIRST_SCALE if self.base.dtype == torch.float16 else 1.0

    @property
    def flat(self) -> FlatAdapters:
        """The block of the first stage that the arm adapts; of the only one, on one device."""
        return next(iter(self.flats.values()))

    @property
    def index(self) -> int:
        """Which arm of its block this is."""
        return self.flat.arms.index(self.arm.name)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run; the last of an epoch may hold fewer samples."""
        return math.ceil(self.args.epochs * self.epoch_steps)

    @property
    def epoch_steps(self) -> int:
        """Optimizer steps of an epoch."""
        return math.ceil(len(self.samples) / self.args.batch_size)

    @property
    def done(self) -> bool:
        return bool(self.stopped) or self.step >= self.steps

    def batch(self, step: int) -> list[Encoded]:
        """Return the samples of a step. Seeds differ in their order, templates do not: comparisons are paired."""
        epoch, batch = divmod(step, self.epoch_steps)
        generator = torch.Generator().manual_seed(stream_seed("order", self.arm.seed or 0, epoch))
        order = torch.randperm(len(self.samples), generator=generator).tolist()
        size = self.args.batch_size
        return [self.samples[index] for index in order[batch * size : (batch + 1) * size]]

    def parts(self, step: int, limits: Limits) -> list[Part]:
        """Return the samples of a step as they are cut into buffers within the limits."""
        # Dropout makes the shared tokens differ from sample to sample, so then each computes its own.
        prefixes = self.prefixes if self.base.shares(limits) and not self.has_dropout else ()
        parts = split(self.batch(step), prefixes, self.args.buffer_tokens)
        return [Part(part, prefixes, self.index, self._dropout_seed(step, i)) for i, part in enumerate(parts)]

    def _dropout_seed(self, step: int, part: int) -> int | None:
        return stream_seed("dropout", self.arm.seed or 0, step, part) if self.has_dropout else None

    @property
    def has_dropout(self) -> bool:
        """Whether the adapter's inputs are dropped in training."""
        return bool(self.base.adapters and self.base.adapters.shape_of(self.arm.name).dropout)

    def gradient(self, stage: int = 0) -> Tensor:
        """[P] on one stage, of the loss times its scale."""
        return self.flats[stage].gradient[self.index]

    def squared_norm(self, stage: int = 0) -> Tensor:
        """Take the loss scale off a stage's gradient; return its squared norm, [] in float64.

        Summed in float64, a norm does not follow from how many stages there are.
        """
        gradient = self.gradient(stage)
        if self.scale != 1:
            gradient.div_(self.scale)
        return torch.linalg.vector_norm(gradient, dtype=torch.float64).square()

    def loss_and_norm(self, loss: Tensor, squared_norm: Tensor) -> Tensor:
        """Return loss and gradient norm, [2] float64, of a loss and the squared norm over all stages."""
        return torch.stack([loss, squared_norm.sqrt().to(self.flat.values.dtype).double()])

    def update(self, numbers: Tensor, step: int, stage: int = 0) -> None:
        """Clip and take optimizer step `step` (from 0) of a stage's weights, none where loss or norm is not finite.

        Nothing is read back here, so the device goes on while the caller prepares the next step.
        """
        gradient, optimizer = self.gradient(stage), self.optimizers[stage]
        norm, most = numbers[1].to(gradient.dtype), self.args.max_grad_norm or math.inf
        gradient.mul_(torch.clamp(most / (norm + 1e-6), max=1.0))  # as in torch's clip_grad_norm_
        optimizer.found_inf = (~numbers.isfinite().all()).float()  # type: ignore[attr-defined]
        optimizer.param_groups[0]["lr"] = self.learning_rate(step)
        optimizer.step()

    def learning_rate(self, step: int) -> float:
        """Return the rate of an optimizer step, counted from 0."""
        args = self.args
        return rate(step, self.steps, args.learning_rate, args.warmup_steps, args.schedule)

    def finish(self, loss: float, norm: float, samples: Sequence[Encoded]) -> TrainStep:
        """Count the step that `update` took; a loss or gradient that is not finite stops the arm."""
        learning_rate = self.learning_rate(self.step)
        self.step += 1
        self.asked = max(self.asked, self.step)
        self.finite += 1
        if math.isfinite(loss) and math.isfinite(norm):
            if self.base.dtype == torch.float16 and self.finite >= GROW_AFTER:
                self.scale, self.finite = self.scale * 2, 0
        elif math.isfinite(loss) and self.scale > 1:
            self.scale, self.finite = self.scale / 2, 0  # too large a scale for float16 is not the arm's fault
        else:
            self.stopped = f"step {self.step}: loss {loss}, gradient norm {norm}"
        tokens = sum(len(sample.input_ids) for sample in samples)
        return TrainStep(self.arm.name, self.step, loss, learning_rate, norm, tokens, loss_tokens(samples))

    def weights(self) -> Weights:
        """Return the arm's live tensors."""
        return {name: tensor for flat in self.flats.values() for name, tensor in flat.of(self.arm.name).items()}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what a resumed arm needs, as tensors and as plain values, however many stages there are."""
        tensors = {f"weights/{name}": _copy(tensor) for name, tensor in self.weights().items()}
        moments = [optimizer.state_dict()["state"].get(0, {}) for optimizer in self.optimizers.values()]
        for key in moments[0]:
            parts = [_copy(one[key]) for one in moments]
            tensors[f"optimizer/0/{key}"] = torch.cat(parts) if parts[0].dim() else parts[0]
        values = {key: getattr(self, key) for key in ("step", "stopped", "scale", "finite")}
        return tensors, {**values, "buffer_tokens": self.args.buffer_tokens}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go on from `state()`; the next step is the one the uninterrupted run would have done."""
        for flat in self.flats.values():
            flat.put(self.arm.name, {name: tensors[f"weights/{name}"] for name in flat.sizes})
        begin = 0
        for stage, optimizer in self.optimizers.items():
            end = begin + self.flats[stage].values.shape[1]
            moments = {
                key.removeprefix("optimizer/0/"): _copy(tensor[begin:end] if tensor.dim() else tensor)
                for key, tensor in tensors.items()
                if key.startswith("optimizer/0/")
            }
            saved = optimizer.state_dict()
            optimizer.load_state_dict({"state": {0: moments} if moments else {}, "param_groups": saved["param_groups"]})
            begin = end
        self.step = self.asked = values["step"]
        self.stopped = values["stopped"]
        self.scale, self.finite = values["scale"], values["finite"]
        # Where memory had run out, they are smaller than the run's.
        self.args = replace(self.args, buffer_tokens=values["buffer_tokens"])


def rate(step: int, steps: int, peak: float, warmup: int, kind: str) -> float:
    """Return the rate of optimizer step `step` (from 0) of `steps`.

    As in transformers' schedulers: linear warm-up from 0 over `warmup` steps, then `linear` or `cosine` decay to 0,
    or `constant`.
    """
    if step < warmup:
        return peak * step / max(1, warmup)
    progress = (step - warmup) / max(1, steps - warmup)
    if kind == "constant":
        return peak
    if kind == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    return peak * max(0.0, 1 - progress)


def loss_tokens(samples: Sequence[Encoded]) -> int:
    """Return over how many tokens the samples' loss is the mean."""
    return sum(sum(sample.completion_mask[1:]) for sample in samples)


def _copy(tensor: Tensor) -> Tensor:
    # The optimizer goes on writing into its own tensors, and takes those it is given as its own.
    return tensor.detach().to("cpu", copy=True)
