"""One arm in training: its data order, optimizer, schedule and random streams; nothing shared with other arms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from iikata.model.base import Base
from iikata.model.buffers import Ids, pack, split
from iikata.model.loss import token_losses
from iikata.records import Arm, Encoded, TrainStep
from iikata.streams import stream_seed
from iikata.train.schedule import rate


@dataclass(frozen=True)
class Recipe:
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
    """The state of one arm. Its result depends on its own rows, seed and recipe alone."""

    arm: Arm
    samples: Sequence[Encoded]
    prefixes: Sequence[Ids]
    recipe: Recipe
    base: Base
    step: int = 0
    """Optimizer steps done."""
    stopped: str = ""
    """Why the arm was given up, e.g. a non-finite loss."""
    optimizer: torch.optim.AdamW = field(init=False)
    dropout: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        assert self.base.adapters is not None
        if self.arm.name not in self.base.adapters:
            self.base.adapters.initialise(self.arm.name, int(self.arm.seed or 0))
        weights = self.base.adapters.weights(self.arm.name)
        self.optimizer = torch.optim.AdamW(
            list(weights.values()),
            lr=0.0,
            betas=(0.9, 0.999),
            eps=1e-8,
            weight_decay=self.recipe.weight_decay,
        )
        self.dropout = torch.Generator(self.base.device).manual_seed(stream_seed("dropout", self.arm.seed or 0))

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run; the last of an epoch may hold fewer samples."""
        return math.ceil(self.recipe.epochs * math.ceil(len(self.samples) / self.recipe.batch_size))

    @property
    def done(self) -> bool:
        return bool(self.stopped) or self.step >= self.steps

    def batch(self, step: int) -> list[Encoded]:
        """Return the samples of a step. Seeds differ in their order, templates do not: comparisons are paired."""
        per_epoch = math.ceil(len(self.samples) / self.recipe.batch_size)
        epoch, place = divmod(step, per_epoch)
        generator = torch.Generator().manual_seed(stream_seed("order", self.arm.seed or 0, epoch))
        order = torch.randperm(len(self.samples), generator=generator).tolist()
        size = self.recipe.batch_size
        return [self.samples[index] for index in order[place * size : (place + 1) * size]]

    def train_step(self) -> TrainStep:
        """Do one optimizer step; a non-finite loss or gradient stops the arm and changes nothing."""
        recipe, samples = self.recipe, self.batch(self.step)
        self._speak()
        loss, tokens, loss_tokens = self._backward(samples)
        parameters = list(self._weights().values())
        norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.max_grad_norm or math.inf)
        learning_rate = rate(self.step, self.steps, recipe.learning_rate, recipe.warmup_steps, recipe.schedule)
        grad_norm = float(norm)
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self.optimizer.param_groups[0]["lr"] = learning_rate
            self.optimizer.step()
        else:
            self.stopped = f"step {self.step + 1}: loss {loss}, gradient norm {grad_norm}"
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return TrainStep(self.arm.name, self.step, loss, learning_rate, grad_norm, tokens, loss_tokens)

    def _backward(self, samples: Sequence[Encoded]) -> tuple[float, int, int]:
        # The loss is the mean over the loss tokens of the whole step, however it is cut into buffers.
        loss_tokens = sum(sum(sample.completion_mask[1:]) for sample in samples)
        total = torch.zeros((), dtype=torch.float64)
        tokens = 0
        # Dropout makes the shared tokens differ from sample to sample, so then each computes its own.
        prefixes = () if self._drops() else self.prefixes
        for part in split(samples, self.recipe.buffer_tokens):
            buffer = pack(part, prefixes, self.base.device)
            hidden = self.base.hidden(buffer.input_ids, buffer.positions, buffer.layout)[0]
            loss = token_losses(hidden[buffer.at], buffer.targets, self.base.logits).sum() / loss_tokens
            loss.backward()
            total += loss.detach().double().cpu()
            tokens += sum(len(sample.input_ids) for sample in part)
        return float(total), tokens, loss_tokens

    def _speak(self) -> None:
        self.base.speak(self.arm.name, self.dropout if self._drops() else None)

    def _drops(self) -> bool:
        return bool(self.base.adapters and self.base.adapters.shape.dropout)

    def _weights(self) -> dict[str, Tensor]:
        assert self.base.adapters is not None
        return self.base.adapters.weights(self.arm.name)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what a resumed arm needs, as tensors and as plain values."""
        tensors = {f"weights/{name}": _copy(tensor) for name, tensor in self._weights().items()}
        tensors["dropout"] = self.dropout.get_state()
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{key}": _copy(value) for key, value in moments.items()}
        return tensors, {"step": self.step, "stopped": self.stopped}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Go on from `state()`; the next step is the one the uninterrupted run would have done."""
        with torch.no_grad():
            for name, tensor in self._weights().items():
                tensor.copy_(tensors[f"weights/{name}"])
        self.dropout.set_state(tensors["dropout"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer/"):
                _, index, key = name.split("/")
                moments.setdefault(int(index), {})[key] = _copy(tensor)
        saved = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": moments, "param_groups": saved["param_groups"]})
        self.step, self.stopped = values["step"], values["stopped"]


def _copy(tensor: Tensor) -> Tensor:
    # The optimizer goes on writing into its own tensors, and takes those it is given as its own.
    return tensor.detach().to("cpu", copy=True)
