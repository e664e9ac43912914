"""Is every part of an adapter live? Sharded trainers have saved all but one shard, or one layer, as zeros.

An update B A is dead where either factor is zero. B begins as zeros and training moves every row of it, so a whole
block of zero rows was never trained or was lost on its way to the disk; A begins as random numbers.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from iikata.core.bilingual import NOT_SAID, Both, same
from iikata.model.adapters.beside import dead_blocks

if TYPE_CHECKING:
    from iikata.model.adapters.adapter_file import Stored
    from iikata.model.base import Base

AT_ONCE = 8
"""Modules looked at together: one by one a small adapter's hundreds take longer to ask for than to compute."""
ROUNDING = 1e-13
"""Of a sum of squares in float64; below it the products of rows and columns cancel."""
CAUSE = Both("as where a sharded trainer saves a part alone", "分散学習が一部だけを保存したときなど")
PARTS = (Both("B's rows", "B の行"), Both("A's columns", "A の列"), Both("A's rows", "A の行"))


@dataclass(frozen=True)
class Liveness:
    """How much of one module's adapter is there."""

    module: str
    r: int
    norm_b: float
    """Frobenius norm of B."""
    norm_update: float
    """Frobenius norm of scale x B A."""
    zero_rows: float
    """Share of B's rows [out] that are zero."""
    zero_blocks: float
    """Share of B's blocks of rows that are."""
    zero_inputs: float
    """Share of A's blocks of columns [in] that are zero."""
    lost_ranks: int
    """Rows of A that are zero where B's column is not."""

    @property
    def dead(self) -> bool:
        """Return whether the module answers as without an adapter."""
        return not self.norm_update

    @property
    def torn(self) -> bool:
        """Return whether a part of it is missing and another is there."""
        return not self.dead and bool(self.zero_blocks or self.zero_inputs or self.lost_ranks)


def liveness(stored: "Stored") -> list[Liveness]:
    """Look at every module of an adapter."""
    alike: dict[tuple[torch.Size, ...], list[str]] = {}
    for module in stored.modules:
        alike.setdefault(tuple(x.shape for x in _pair(stored, module)), []).append(module)
    groups = [
        modules[start : start + AT_ONCE] for modules in alike.values() for start in range(0, len(modules), AT_ONCE)
    ]
    found = {one.module: one for modules in groups for one in _of(stored, modules)}
    return [found[module] for module in stored.modules]


def _pair(stored: "Stored", module: str) -> tuple[Tensor, Tensor]:
    return stored.weights[f"{module}.lora_A"], stored.weights[f"{module}.lora_B"]


def _of(stored: "Stored", modules: Sequence[str]) -> Iterator[Liveness]:
    """Look at modules of the same shapes: a [n, r, in] and b [n, out, r]."""
    a, b = (torch.stack(side).double() for side in zip(*(_pair(stored, one) for one in modules), strict=True))
    # ||B A||^2 without the product, which is as large as the weight
    squares = ((b.mT @ b) * (a @ a.mT)).sum((1, 2))
    squares *= squares > ROUNDING * a.square().sum((1, 2)) * b.square().sum((1, 2))
    rows, inputs = b.any(dim=2), a.any(dim=1)
    columns = (
        b.square().sum((1, 2)).sqrt(), squares.sqrt(), (~rows).double().mean(1), dead_blocks(rows),
        dead_blocks(inputs), (~a.any(dim=2) & b.any(dim=1)).sum(1),
    )  # fmt: skip
    for module, norm_b, norm, *rest in zip(modules, *(column.tolist() for column in columns), strict=True):
        yield Liveness(module, a.shape[1], norm_b, stored.config.scale_of(module) * norm, *rest)


def faults(found: Sequence[Liveness], idle: Collection[str] = ()) -> list[Both]:
    """Return what is dead, with its share, a sentence each; `idle` are modules that the base never calls."""
    counted = [one for one in found if one.module not in idle]
    dead = [one for one in counted if one.dead]
    if counted and len(dead) == len(counted):
        what = "lora_A" if any(one.norm_b for one in counted) else "lora_B"
        return [
            Both(
                f"every {what} is zero, so the adapter would answer exactly as the untuned base does",
                f"{what} がすべてゼロで、アダプタの回答はベースモデルとまったく同じになります",
            )
        ]
    said = []
    if dead:
        first = _first(one.module for one in dead)
        share = _share(dead, counted)
        said.append(share + Both(f" are dead (B or A is zero): {first.en}", f"がゼロのままです（B か A）: {first.ja}"))
    if torn := [one for one in counted if one.torn]:
        worst = max(torn, key=lambda one: max(one.zero_blocks, one.zero_inputs, one.lost_ranks / one.r))
        shares = (worst.zero_rows if worst.zero_blocks else 0.0, worst.zero_inputs, worst.lost_ranks / worst.r)
        parts = [(part, f"{share:.1%}") for part, share in zip(PARTS, shares, strict=True) if share]
        what = " and ".join(f"{share} of {part.en}" for part, share in parts)
        what_ja = "、".join(f"{part.ja}の {share}" for part, share in parts)
        said.append(
            _share(torn, counted)
            + Both(
                f" are dead in part, {CAUSE.en}: {what} are zero in {worst.module}",
                f"の一部がゼロです（{CAUSE.ja}）: {worst.module} では {what_ja}",
            )
        )
    return said


def still(moved: Mapping[str, float]) -> list[Both]:
    """Return what `effects` says of modules that leave their layer's output as it is."""
    none = [module for module, share in moved.items() if not share]
    first = _first(none)
    said = Both(
        f"{len(none)} of {len(moved)} modules change nothing in their layer: {first.en}",
        f"{len(moved)} モジュール中 {len(none)} は、層の出力をまったく変えません: {first.ja}",
    )
    return [said] if none else []


def _share(some: Sequence[Liveness], all_of: Sequence[Liveness]) -> Both:
    part, whole = len(some), len(all_of)
    return Both(f"{part} of {whole} modules ({part / whole:.0%})", f"{whole} モジュール中 {part}（{part / whole:.0%}）")


def _first(modules: Iterable[str], most: int = 3) -> Both:
    names = list(modules)
    more = len(names) - most
    return same(", ".join(names[:most])) + (Both(f" and {more} more", f" ほか {more}") if more > 0 else NOT_SAID)


def effects(base: "Base", arm: str, prompts: Sequence[Sequence[int]]) -> tuple[dict[str, float], Tensor]:
    """Let the arm read prompts; return what each module that the base calls does, and the last hidden states.

    A module moves its layer's output by ||with - without|| / ||without||; hidden states are [n, D].
    """
    assert base.adapters is not None
    moved: dict[str, list[Tensor]] = {}
    base.set_adapter(arm)
    handles = []
    for name, layer in base.adapters.layers.items():

        def look(layer, args, out, name=name):  # type: ignore[no-untyped-def]
            without = layer.base(args[0])
            norms = torch.stack([(out - without).double().square().sum(), without.double().square().sum()])
            moved.setdefault(name, []).append(norms)

        handles.append(layer.register_forward_hook(look))
    try:
        with torch.inference_mode():
            last = base.last_hidden(prompts)
    finally:
        for handle in handles:
            handle.remove()
    if not moved:
        return {}, last
    # Read at once: a GPU would be waited for a thousand times. Layers may lie on several devices.
    sums = torch.stack([torch.stack(seen).sum(0).to(base.device) for seen in moved.values()]).tolist()
    return dict(zip(moved, starmap(_ratio, sums), strict=True)), last


def _ratio(change: float, whole: float) -> float:
    return math.sqrt(change / whole) if whole else float(change > 0)
