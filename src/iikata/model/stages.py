"""A base that lies on several devices: consecutive layers on each, run by the model's own code, which is not copied.

Each stage is the model's decoder with its own layers alone. In place of those before it, the hidden states come in;
where those behind it would begin, they go out.
"""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from iikata.model.attention.registry import LAYOUT, Layout, laid_out
from iikata.model.attention.static_cache import StaticKVCache
from iikata.model.attention.varlen import Varlen
from iikata.model.layers import decoder_layers, decoder_of, vary_layout
from iikata.model.links import Links, Pace


class _Departed(Exception):  # noqa: N818 - no error: it ends the decoder's loop over its layers
    def __init__(self, hidden: Tensor) -> None:
        self.hidden = hidden


class _Elsewhere(nn.Module):
    """Stands for a layer that another stage has."""

    def __init__(self, layer: nn.Module, stage: "ModelStage", before: bool) -> None:
        super().__init__()
        self.__dict__["layer"], self.__dict__["stage"], self.before = layer, stage, before

    def __getattr__(self, name: str) -> Any:
        # Some models read a layer's kind of attention before they call it.
        return getattr(self.__dict__["layer"], name)

    def forward(self, hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if not self.before:
            raise _Departed(hidden)
        assert self.stage.arrived is not None
        return self.stage.arrived


@dataclass
class _Outputs:
    """What a model with a head reads of its decoder; all that it may ask beside last hidden states is None."""

    last_hidden_state: Tensor

    def __getitem__(self, index: int) -> Tensor:
        return (self.last_hidden_state,)[index]

    def __getattr__(self, name: str) -> None:
        return None


@dataclass
class ModelStage:
    """Layers [start, stop) of a decoder on one device."""

    device: torch.device
    start: int
    stop: int
    count: int
    """Layers of all stages."""
    decoder: Any = None
    arrived: Tensor | None = None
    flash: bool = False
    """Whether layers must find the layout among their inputs."""

    @property
    def first(self) -> bool:
        return self.start == 0

    @property
    def last(self) -> bool:
        return self.stop == self.count

    def run(self, x: Tensor, positions: Tensor, layout: Layout | None) -> Tensor:
        """Run the stage's layers: ids [1, T] or hidden states [1, T, D] -> [1, T, D], the last one's normed."""
        inputs: dict[str, Any] = {"inputs_embeds" if x.is_floating_point() else "input_ids": x}
        inputs |= {"layout": layout} if self.flash else {}
        self.arrived = None if self.first else x
        try:
            with on(self.device), laid_out(layout):
                out = self.decoder(**inputs, position_ids=positions, use_cache=False)
            return out.last_hidden_state
        except _Departed as gone:
            return gone.hidden
        finally:
            self.arrived = None


class LaidOver:
    """A decoder's stages; called as the decoder is, it runs one after the other."""

    def __init__(self, model: Any, devices: Sequence[torch.device]) -> None:
        decoder, layers = decoder_of(model), decoder_layers(model)
        self.links = Links()
        self.graphs: int | None = None
        """Of how many buffers a stage keeps for backward what it computed; None for as many as fit its memory."""
        self.home = devices[-1]
        """Where tokens come from, and last hidden states and the head are."""
        ends = cuts(model, len(devices))
        path = next(name for name, part in decoder.named_modules() if _holds(part, layers)).split(".")
        self.stages = [
            ModelStage(device, start, stop, len(layers))
            for device, start, stop in zip(devices, [0, *ends], ends, strict=False)
        ]
        for stage in self.stages:
            own = [
                layer if stage.start <= i < stage.stop else _Elsewhere(layer, stage, i < stage.start)
                for i, layer in enumerate(layers)
            ]
            stage.decoder = _view(decoder, path, nn.ModuleList(own), stage.device)
            if stage.device.type == "cuda":
                pace = Pace(stage.device)
                for layer in layers[stage.start : stage.stop]:
                    layer.register_forward_pre_hook(pace.keep)
        self.layers = layers
        head = model.get_output_embeddings()
        if head is not None and head.weight.device != self.home:
            # Tied to the embeddings, which are on the first device.
            head.weight = nn.Parameter(head.weight.detach().to(self.home), requires_grad=False)
        decoder.forward = self._forward

    def stage_of(self, module: nn.Module) -> int:
        """Return which stage has the layer that this module is part of."""
        index = next(i for i, layer in enumerate(self.layers) if any(module is part for part in layer.modules()))
        return next(s for s, stage in enumerate(self.stages) if index < stage.stop)

    def layout_on(self, stage: ModelStage, layout: Layout | None) -> Layout | None:
        """Return the layout with its tensors on the stage's device; slots lie there already."""
        if isinstance(layout, StaticKVCache) or stage.device == self.home:
            return layout
        moved = self.links.carry(layout, self.home, stage.device)
        if isinstance(moved, Varlen):
            vary_layout(moved)
        return moved

    def _forward(
        self, input_ids: Tensor | None = None, position_ids: Tensor | None = None, inputs_embeds: Tensor | None = None,
        layout: Layout | None = None, **_: Any,
    ) -> "_Outputs":  # fmt: skip
        x = input_ids if input_ids is not None else inputs_embeds
        assert x is not None
        if position_ids is None:
            position_ids = torch.arange(x.shape[1], device=x.device)[None]
        layout = layout or LAYOUT.get()
        for stage in self.stages:
            own = self.layout_on(stage, layout)
            positions = self.links.carry(position_ids, self.home, stage.device)
            x = stage.run(self.links.send(x, stage.device).take(), positions, own)
        return _Outputs(x)


def device_map(model: Any, devices: Sequence[torch.device]) -> dict[str, torch.device]:
    """Return where each part of a model goes, by its name, as transformers' from_pretrained takes it.

    Layers go to their stage, embeddings to the first one, all else to the last.
    """
    layers, embeddings = decoder_layers(model), model.get_input_embeddings()
    ends = cuts(model, len(devices))
    where: dict[str, torch.device] = {"": devices[-1]}
    for name, part in model.named_modules():
        if part is embeddings:
            where[name] = devices[0]
        if _holds(part, layers):
            where |= {f"{name}.{i}": devices[sum(i >= end for end in ends)] for i in range(len(layers))}
    return where


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Make a GPU the current one: kernels of our own start there."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def cuts(model: Any, parts: int) -> list[int]:
    """Return behind which layer each of `parts` stages ends; every stage has one at least.

    Each has a like share of the weights that a token is multiplied with; the head is the last one's.
    """
    layers = [sum(p.numel() for p in layer.parameters()) for layer in decoder_layers(model)]
    head = model.get_output_embeddings()
    aim = (sum(layers) + (0 if head is None else head.weight.numel())) / parts
    sums = list(accumulate(layers))
    ends: list[int] = []
    for part in range(1, parts):
        nearest = min(range(len(layers)), key=lambda i: abs(sums[i] - aim * part)) + 1
        ends.append(min(max(nearest, (ends or [0])[-1] + 1), len(layers) - parts + part))
    return [*ends, len(layers)]


def _holds(part: nn.Module, layers: Sequence[nn.Module]) -> bool:
    return isinstance(part, nn.ModuleList) and len(part) == len(layers) and part[0] is layers[0]


def _view(module: nn.Module, path: Sequence[str], layers: nn.ModuleList, device: torch.device) -> Any:
    """Return the module with other layers, its other parts copied to `device`, but embeddings as they are."""
    view = copy.copy(module)
    own: dict[str, Any] = {}
    for name, child in module._modules.items():
        if name == path[0]:
            own[name] = _view(child, path[1:], layers, device) if len(path) > 1 and child is not None else layers
        elif child is None or isinstance(child, nn.Embedding):
            own[name] = child
        else:
            own[name] = copy.deepcopy(child).to(device)
    view.__dict__["_modules"] = own
    view.__dict__.pop("forward", None)  # one of the whole's own, as accelerate's hooks leave behind
    for kind in ("_parameters", "_buffers"):
        held = module.__dict__[kind]
        view.__dict__[kind] = {name: x if x is None else x.to(device) for name, x in held.items()}
    return view
