"""Stage train: every arm that is not trained yet, all over one base, saved as it finishes."""

import shutil
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata.core import signals
from iikata.core.errors import IikataError
from iikata.core.io import sha256_of
from iikata.core.records import Arm
from iikata.core.registry import lookup
from iikata.pipeline import signature
from iikata.pipeline.bringing import bring_in, write_beside, write_done
from iikata.pipeline.checkpoints import ArmLog, Checkpoints, restore
from iikata.pipeline.context import RunContext
from iikata.pipeline.evaluating import Evaluator
from iikata.pipeline.events import Progress, Stage, Stepped, Warned
from iikata.pipeline.executor.training import note_of, train_away
from iikata.pipeline.signature import digest
from iikata.pipeline.signing import signature_now
from iikata.run_folder import read_lines, read_object, write_json, write_lines

if TYPE_CHECKING:
    from iikata.train import ArmRun

COMPILE_FROM = 2_000_000
"""Tokens from which on compiling the layers, some 20 s, is sooner paid back."""
COMPILE_RECORDED_FROM = 10_000_000
"""The same where turns are recorded as graphs: those are half as fast as compiled ones, not a tenth."""


def train(ctx: RunContext) -> dict[str, int]:
    """Train what is missing. A killed run goes on from the last saved state and ends with the same bytes."""
    waiting = [arm for arm in ctx.experiment.arms() if not _whole(ctx, arm)]
    ctx.emit(Stage("train", len(waiting), "arms"))
    if not waiting:
        return {"tokens": 0}
    brought = [arm for arm in waiting if ctx.recipe(arm).adapters]
    own = [arm for arm in waiting if arm not in brought]
    if ctx.crew:
        return {"tokens": train_away(ctx, ctx.crew, own, brought)}
    for arm in brought:
        bring_in(ctx, arm, arm_signature(ctx, arm))
    return {"tokens": train_arms(ctx, own) if own else 0}


def train_arms(ctx: RunContext, waiting: Sequence[Arm], tokens_in_all: int = 0) -> int:
    """Train these arms here, from their last saved states on; return how many tokens that took.

    `tokens_in_all` is what is to be trained here with what follows, where that is more.
    """
    from iikata.train import train as steps_of

    _lay_side_by_side(ctx, waiting)
    runs = {arm.name: _open(ctx, arm) for arm in waiting}
    total, tokens = sum(run.steps for run in runs.values()), 0
    work = sum(len(row.input_ids) * run.args.epochs for run in runs.values() for row in run.samples)
    _run_layers(ctx, list(runs.values()), max(work, tokens_in_all))
    before = sum(run.step for run in runs.values())
    logged, evaluator = {name: run.step for name, run in runs.items()}, Evaluator(ctx)
    seen = deque([(time.monotonic(), 0)], maxlen=64)  # when how many tokens were done: the speed of the last steps
    with ExitStack() as stack:
        logs = {
            name: stack.enter_context(ArmLog(ctx.store, run.arm, evaluator.earlier(run.arm, run.step), evaluator.on))
            for name, run in runs.items()
        }
        checkpoints = stack.enter_context(Checkpoints(ctx, list(runs.values()), logs))
        stop_asked = stack.enter_context(signals.deferred())
        for name, run in runs.items():
            if run.step == 0 and evaluator.due(run):
                logs[name].evaluated(evaluator.evaluated(run))
            _finish_if_done(ctx, run, logs[name])

        def wanted(run: "ArmRun") -> bool:
            return stop_asked() or checkpoints.due or evaluator.due(run, run.asked)

        for step in steps_of(list(runs.values()), partial(ctx.halved, "train", unit="tokens a buffer"), wanted):
            tokens += step.tokens
            logs[step.arm].add(step)
            logged[step.arm] = step.step
            run = runs[step.arm]
            seen.append((time.monotonic(), tokens))
            seconds = seen[-1][0] - seen[0][0]
            ctx.emit(Stepped(step, run.steps, (tokens - seen[0][1]) / seconds if seconds else 0.0))
            if evaluator.due(run):
                logs[step.arm].evaluated(evaluator.evaluated(run))
            ctx.emit(Progress("train", sum(r.step for r in runs.values()), total, note_of(step, run.steps), before))
            if run.done:
                checkpoints.wait()
                if ctx.keep_states and not run.stopped:
                    checkpoints.keep(run)
                _finish_if_done(ctx, run, logs[step.arm])
            # Arms side by side have all done their step before the first is told; a state never outruns the log.
            still = all(logged[name] == run.step == run.asked for name, run in runs.items())
            if still and (stop_asked() or checkpoints.due):
                checkpoints.save()
                if stop_asked():
                    break
        checkpoints.wait()
    ctx.base.graphs.clear()
    return tokens


def _run_layers(ctx: RunContext, runs: "Sequence[ArmRun]", tokens: float) -> None:
    from iikata.train import recordable

    checkpointed = bool(ctx.buffer_plan["checkpoint"])
    ctx.base.run_layers(compiled=False, checkpointed=checkpointed)
    compiled_from = COMPILE_RECORDED_FROM if all(map(recordable, runs)) else COMPILE_FROM
    ctx.base.run_layers(compiled=tokens >= compiled_from, checkpointed=checkpointed)


def _lay_side_by_side(ctx: RunContext, arms: Sequence[Arm]) -> None:
    """Let small models' arms share buffers, as many as the run's shapes say."""
    # A run that began on one device may go on over several, whose buffers hold one arm each.
    size = 1 if ctx.base.laid_over else ctx.buffer_plan["mixed_arms"]
    alike: dict[Any, list[Arm]] = {}
    for arm in arms if size > 1 else ():
        alike.setdefault(ctx.adapters.shape_of(arm.name), []).append(arm)
    for same in alike.values():
        for some in (same[start : start + size] for start in range(0, len(same), size)):
            for arm in some:
                ctx.adapters.initialise(arm.name, int(arm.seed or 0))
            ctx.adapters.group([arm.name for arm in some])


def finished_arm(ctx: RunContext, name: str) -> Arm:
    """Return the arm of this name. Raises IikataError where it has no adapter that could be used."""
    arm = lookup(name, {arm.name: arm for arm in ctx.experiment.arms()}, "arm")
    if not trained(ctx, arm) or stopped(ctx, arm):
        why = stopped(ctx, arm) or "not trained yet; first: iikata run EXP"
        raise IikataError(f"{ctx.store.arm(arm)}: this arm has no finished adapter ({why}).")
    return arm


def finished_arms(ctx: RunContext) -> list[Arm]:
    """Return the arms that have an adapter."""
    return [arm for arm in ctx.experiment.arms() if trained(ctx, arm) and not stopped(ctx, arm)]


def trained(ctx: RunContext, arm: Arm) -> bool:
    """Return whether the arm is finished, or was given up."""
    return bool(_done(ctx, arm))


def stopped(ctx: RunContext, arm: Arm) -> str:
    """Return why the arm was given up, "" where it was not."""
    return str(_done(ctx, arm).get("stopped", ""))


def _done(ctx: RunContext, arm: Arm) -> dict[str, Any]:
    return read_object(ctx.store.arm(arm) / "DONE")


def _whole(ctx: RunContext, arm: Arm) -> bool:
    """Return whether the arm is finished and its files are those that were written then."""
    done, folder = _done(ctx, arm), ctx.store.arm(arm)
    files = done.get("files")
    if not isinstance(files, dict):
        if done:
            ctx.emit(Warned(f"{folder / 'DONE'}: no hashes of the arm's files in it; the arm is trained again"))
        return False
    for path, wanted in ((folder / name, wanted) for name, wanted in files.items()):
        if not path.is_file() or sha256_of(path) != wanted:
            ctx.emit(Warned(f"{path}: missing or not as it was written (damaged or edited); the arm is trained again"))
            (folder / "DONE").unlink()
            return False
    return True


def arm_signature(ctx: RunContext, arm: Arm) -> str:
    """Return a hash of all that the arm's weights follow from."""
    if arm.variant is None:
        return digest(ctx.signature["model"])
    parts = {key: ctx.signature[key] for key in ("model", "data", "train")}
    if own := ctx.signature["variants"].get(arm.variant):
        parts = {"model": ctx.signature["model"], "variant": own}
        if brought := ctx.signature["variants"].get(arm.name):
            parts["adapter"] = brought
    hashes = [ctx.templates[name].hash for name in ctx.recipe(arm).variant.templates]
    templates = hashes[0] if len(hashes) == 1 else hashes
    return digest([parts, templates, arm.seed, ctx.buffer_plan["buffer_tokens"]])


def prolong(ctx: RunContext) -> None:
    """Let the run's arms, finished or not, go on to the experiment's epochs; IikataError where more than they differ.

    The rate goes on as if all epochs had been asked for from the beginning, as transformers' Trainer resumes.
    """
    stored = signature.read_signature(ctx.store.signature) or {}
    longer = {**stored, "train": {**stored["train"], "epochs": ctx.experiment.train.epochs}}
    signature.extend(longer, signature_now(ctx), str(ctx.store.path))
    for arm in ctx.experiment.arms():
        if not any(ctx.store.state(arm).glob("*.json")):
            raise IikataError(
                f"{ctx.store.state(arm)}: no state of the optimizer was kept, so {arm.name} cannot go on. "
                "Train it from the beginning in another folder: --out DIR."
            )
        (ctx.store.arm(arm) / "DONE").unlink(missing_ok=True)
    write_json(ctx.store.signature, longer)


def _open(ctx: RunContext, arm: Arm) -> "ArmRun":
    """Return the arm at its last saved state, its step log cut back to it."""
    from iikata.train import ArmRun, TrainingArgs

    declared, buffer = ctx.recipe(arm), "buffer_tokens"
    settings = {one.name: getattr(declared.train, one.name) for one in fields(TrainingArgs) if one.name != buffer}
    args = TrainingArgs(**settings, buffer_tokens=ctx.buffer_plan[buffer])
    prefixes = [prefix for name in declared.variant.templates for prefix in ctx.prompts.prefixes[name]]
    run = ArmRun(arm, ctx.samples(arm), prefixes, args, ctx.base)
    steps = list(read_lines(ctx.store.steps(arm)))
    restore(ctx, run, len(steps))
    write_lines(ctx.store.steps(arm), steps[: run.step])
    return run


def _finish_if_done(ctx: RunContext, run: "ArmRun", log: ArmLog) -> None:
    """Save a finished arm: its adapter, its template's whole text, and last of all DONE with their hashes."""
    if not run.done:
        return
    log.sync()
    folder = ctx.store.arm(run.arm)
    if run.stopped:
        ctx.emit(Warned(f"arm {run.arm.name} was given up at {run.stopped}; nothing is concluded from it"))
    else:
        _save_adapter(ctx, run, folder)
    write_done(folder, steps=run.step, stopped=run.stopped, signature=arm_signature(ctx, run.arm))
    if not ctx.keep_states:
        shutil.rmtree(ctx.store.state(run.arm), ignore_errors=True)
    ctx.adapters.drop(run.arm.name)
    ctx.made(run.arm)


def _save_adapter(ctx: RunContext, run: "ArmRun", folder: Path) -> None:
    from iikata.model.adapters import adapter_file
    from iikata.model.files.locate import hub_name

    base, commit = hub_name(ctx.experiment.model.base, ctx.model_folder)
    base = base or ctx.model_folder.name
    folder.mkdir(parents=True, exist_ok=True)
    adapter_file.save(
        folder,
        ctx.adapters.weights(run.arm.name),
        ctx.adapters.shape_of(run.arm.name),
        base=base,
        revision=commit or ctx.experiment.model.revision,
    )
    recipe = ctx.recipe(run.arm)
    train, names = recipe.train, "`, `".join(recipe.variant.templates)
    about = (
        f"trained by iikata in the experiment {ctx.experiment.name}: template "
        f"`{names}` (its whole text is in template.json; prompt the adapter with no other), seed {run.arm.seed}, "
        f"{len(ctx.data.of(recipe.data))} rows, {train.epochs} epochs of batches of {train.batch_size}, "
        f"learning rate {train.learning_rate:g}, loss on {train.loss_on}."
    )
    write_beside(ctx, run.arm, base, about)
