"""Gates of a run: which arms and templates may be believed, and what is checked when an adapter is opened again."""

from pathlib import Path
from typing import TYPE_CHECKING

from iikata import doctor
from iikata.config import LoraSettings
from iikata.core.bilingual import Both
from iikata.core.errors import IikataError
from iikata.core.io import sha256_of
from iikata.core.records import Arm, Gate
from iikata.pipeline.bringing import prompts, proof_prompts
from iikata.pipeline.context import RunContext
from iikata.pipeline.signature import digest
from iikata.pipeline.stages.train import stopped
from iikata.run_folder import read_object
from iikata.tokenize import encode_all

if TYPE_CHECKING:
    from iikata.model.adapters.adapter_file import Stored


def check_arms(ctx: RunContext) -> list[Gate]:
    """Return the gates that need no model: training was sound, templates are kept and differ."""
    gates = list(doctor.distinct_templates({name: [*prompts(ctx, name), *_rows(ctx, name)] for name in ctx.templates}))
    for arm in ctx.experiment.arms():
        folder = ctx.store.arm(arm)
        if ctx.recipe(arm).adapters:
            unknown = Both("trained elsewhere: its losses are not known", "ほかで学習したもので、損失は分かりません")
            gates.append(Gate.of("sound_training", arm.name, True, unknown))
        else:
            gates.append(doctor.sound_training(arm.name, ctx.store.read_steps(arm), stopped(ctx, arm)))
        template = ctx.templates[ctx.recipe(arm).variant.templates[0]]
        gates.append(doctor.template_kept(arm.name, folder, template))
    return gates


def proved(ctx: RunContext, arm: Arm) -> Gate | None:
    """Return the gate by which an arm was proved live, if it was."""
    found = [gate for gate in ctx.store.read_gates() if (gate.name, gate.subject) == ("live_adapter", arm.name)]
    return found[-1] if found and found[-1].passed else None


def proof(ctx: RunContext, arm: Arm) -> str:
    """Return a hash of what a proof follows from: the adapter's file and the prompts."""
    from iikata.model.adapters.adapter_file import WEIGHTS

    path = ctx.store.arm(arm) / WEIGHTS
    return digest([sha256_of(path) if path.is_file() else "", proof_prompts(ctx, arm)])


def reopen(ctx: RunContext, arm: Arm) -> bool:
    """Open from disk an arm that has been proved live; return False for one that has not."""
    from iikata.model.adapters import adapter_file

    if not proved(ctx, arm):
        return False
    if arm not in ctx.merged:
        ctx.adapters.load(arm.name, adapter_file.read(ctx.store.arm(arm))[0])
    return True


def whole_adapter(folder: Path, lora: LoraSettings | None, language: str = "en") -> "Stored":
    """Return the adapter in `folder`. Raises IikataError where it is not what was trained, or any part of it is dead.

    `lora` is how the arm was trained; None where that is not known. What is dead is told in the `language`.
    """
    from iikata.model.adapters import adapter_file
    from iikata.model.adapters.liveness import faults, liveness

    path = folder / adapter_file.WEIGHTS
    stored = adapter_file.read_stored(folder, whole=True)
    stored.refuse_inexact()
    files = read_object(folder / "DONE").get("files")
    trained = files.get(adapter_file.WEIGHTS) if isinstance(files, dict) else None  # an adapter from elsewhere has none
    if trained and sha256_of(path) != str(trained):
        raise IikataError(f"{path}: other bytes than were trained (damaged or edited). iikata run trains it again.")
    shape = None if stored.beyond else stored.same_shape()[1]
    if lora and shape and (shape.r, shape.alpha, shape.use_rslora) != (lora.r, lora.alpha, lora.use_rslora):
        raise IikataError(
            f'{folder / adapter_file.CONFIG}: "r" {shape.r} and "lora_alpha" {shape.alpha:g}, where the experiment '
            f"has train.lora.r {lora.r} and train.lora.alpha {lora.alpha}. Put back what the arm was trained with."
        )
    # Of an arm that was trained here the base has said which modules it calls; whose bytes these are, is checked.
    if (dead := faults(found := liveness(stored))) and (not trained or all(one.dead for one in found)):
        raise IikataError(f"{path}: {'; '.join(getattr(fault, language) for fault in dead)}. {adapter_file.AGAIN}")
    return stored


def _rows(ctx: RunContext, template: str) -> list[tuple[int, ...]]:
    rows, one = ctx.data.validation[:24], ctx.templates[template]
    return [row.input_ids for row in encode_all(rows, one, ctx.tokenizer, ctx.experiment.train.cutoff_len)]
