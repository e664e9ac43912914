"""Stage train: every arm that is not trained yet, all over one base, saved as it finishes."""

import shutil
import time
from collections import deque
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata import stopping
from iikata.disk import Appender, sha256_of, write_text
from iikata.encode import chat_template_for
from iikata.errors import IikataError
from iikata.lab import signature
from iikata.lab.checkpoints import Checkpoints, restore
from iikata.lab.events import Progress, Stage, Stepped, Warned
from iikata.lab.halving import note_halving
from iikata.lab.materials import Materials
from iikata.lab.signature import digest
from iikata.records import Arm, TrainStep, plain
from iikata.store import read_lines, read_object, write_json, write_lines
from iikata.templates import saved

if TYPE_CHECKING:
    from iikata.train import ArmRun

COMPILE_FROM = 2_000_000
"""Tokens from which on compiling the layers, some 20 s, is sooner paid back."""


def train(lab: Materials) -> dict[str, int]:
    """Train what is missing. A killed run goes on from the last saved state and ends with the same bytes."""
    from iikata.train import train as steps_of

    waiting = [arm for arm in lab.experiment.arms() if not _whole(lab, arm)]
    lab.tell(Stage("train", len(waiting), "arms"))
    if not waiting:
        return {"tokens": 0}
    _lay_side_by_side(lab, waiting)
    runs = {arm.name: _open(lab, arm) for arm in waiting}
    total, tokens = sum(run.steps for run in runs.values()), 0
    work = sum(len(row.input_ids) for run in runs.values() for row in run.samples) * lab.experiment.train.epochs
    lab.base.run_layers(compiled=work >= COMPILE_FROM, checkpointed=bool(lab.shapes["checkpoint"]))
    before = sum(run.step for run in runs.values())
    speed, logged = _Speed(), {name: run.step for name, run in runs.items()}
    with ExitStack() as stack:
        files = {name: stack.enter_context(Appender(lab.store.steps(run.arm))) for name, run in runs.items()}
        checkpoints = stack.enter_context(Checkpoints(lab, list(runs.values()), files))
        stop_asked = stack.enter_context(stopping.held())
        for name, run in runs.items():
            _finish_if_done(lab, run, files[name])
        for step in steps_of(list(runs.values()), partial(_halved, lab)):
            tokens += step.tokens
            files[step.arm].add(plain(step))
            logged[step.arm] = step.step
            run = runs[step.arm]
            lab.tell(Stepped(step, run.steps, speed(step.tokens)))
            lab.tell(Progress("train", sum(r.step for r in runs.values()), total, _note(step, run), before))
            if run.done:
                checkpoints.wait()
                if lab.keep_states and not run.stopped:
                    checkpoints.keep(run)
                _finish_if_done(lab, run, files[step.arm])
            # Arms side by side have all done their step before the first is told; a state never outruns the log.
            if all(logged[name] == run.step for name, run in runs.items()) and (stop_asked() or checkpoints.due):
                checkpoints.save()
                if stop_asked():
                    break
        checkpoints.wait()
    return {"tokens": tokens}


def _halved(lab: Materials, tokens: int) -> None:
    note_halving(lab, "train", tokens, "tokens a buffer")


class _Speed:
    """Tokens a second over the last steps, as the user's clock sees them."""

    def __init__(self) -> None:
        self.seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)], maxlen=64)

    def __call__(self, tokens: int) -> float:
        self.seen.append((time.monotonic(), tokens))
        seconds = self.seen[-1][0] - self.seen[0][0]
        return sum(count for _, count in list(self.seen)[1:]) / seconds if seconds else 0.0


def _lay_side_by_side(lab: Materials, arms: list[Arm]) -> None:
    """Let small models' arms share buffers, as many as the run's shapes say."""
    size = lab.shapes["mixed_arms"]
    for start in range(0, len(arms), size) if size > 1 else ():
        names = []
        for arm in arms[start : start + size]:
            lab.adapters.initialise(arm.name, int(arm.seed or 0))
            names.append(arm.name)
        lab.adapters.stack(names)


def trained(lab: Materials, arm: Arm) -> bool:
    """Return whether the arm is finished, or was given up."""
    return bool(_done(lab, arm))


def stopped(lab: Materials, arm: Arm) -> str:
    """Return why the arm was given up, "" where it was not."""
    return str(_done(lab, arm).get("stopped", ""))


def _done(lab: Materials, arm: Arm) -> dict[str, Any]:
    """Return what DONE says; nothing where it is not there or torn, for then the arm is trained again."""
    return read_object(lab.store.arm(arm) / "DONE")


def _whole(lab: Materials, arm: Arm) -> bool:
    """Return whether the arm is finished and its files are those that were written then."""
    done, folder = _done(lab, arm), lab.store.arm(arm)
    files = done.get("files")
    if not isinstance(files, dict):
        if done:
            lab.tell(Warned(f"{folder / 'DONE'}: no hashes of the arm's files in it; the arm is trained anew"))
        return False
    for name, wanted in files.items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != wanted:
            lab.tell(Warned(f"{path}: missing or not as it was written (damaged or edited); the arm is trained anew"))
            (folder / "DONE").unlink()
            return False
    return True


def arm_signature(lab: Materials, arm: Arm) -> str:
    """Return a hash of all that the arm's weights follow from."""
    if arm.template is None:
        return digest(lab.signature["model"])
    parts = {key: lab.signature[key] for key in ("model", "data", "train")}
    return digest([parts, lab.templates[arm.template].hash, arm.seed, lab.shapes["buffer_tokens"]])


def prolong(lab: Materials) -> None:
    """Let the run's arms, finished or not, go on to the experiment's epochs; IikataError where more than they differ.

    The rate goes on as if all epochs had been asked for from the beginning, as transformers' Trainer resumes.
    """
    stored = signature.read_signature(lab.store.signature) or {}
    longer = {**stored, "train": {**stored["train"], "epochs": lab.experiment.train.epochs}}
    signature.extend(longer, lab.signature_now(), str(lab.store.path))
    for arm in lab.experiment.arms():
        if not any(lab.store.state(arm).glob("*.json")):
            raise IikataError(
                f"{lab.store.state(arm)}: no state of the optimizer was kept, so {arm.name} cannot go on. "
                "Train it from the beginning in another folder: --out DIR."
            )
        (lab.store.arm(arm) / "DONE").unlink(missing_ok=True)
    write_json(lab.store.signature, longer)


def _open(lab: Materials, arm: Arm) -> "ArmRun":
    """Return the arm at its last saved state, its step log cut back to it."""
    from iikata.train import ArmRun, Recipe

    settings = lab.experiment.train
    assert arm.template is not None
    recipe = Recipe(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        schedule=settings.schedule,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        buffer_tokens=lab.shapes["buffer_tokens"],
    )
    samples = [row for row in lab.encoded[arm.template] if not row.truncated]
    run = ArmRun(arm, samples, lab.prefixes[arm.template], recipe, lab.base)
    steps = list(read_lines(lab.store.steps(arm)))
    restore(lab, run, len(steps))
    write_lines(lab.store.steps(arm), steps[: run.step])
    return run


def _finish_if_done(lab: Materials, run: "ArmRun", log: Appender) -> None:
    """Save a finished arm: its adapter, its template's whole text, and last of all DONE with their hashes."""
    if not run.done:
        return
    log.sync()
    folder = lab.store.arm(run.arm)
    if run.stopped:
        lab.tell(Warned(f"arm {run.arm.name} was given up at {run.stopped}; nothing is concluded from it"))
    else:
        _save_adapter(lab, run, folder)
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != "DONE"}
    done = {"steps": run.step, "stopped": run.stopped, "signature": arm_signature(lab, run.arm), "files": files}
    write_json(folder / "DONE", done)
    if not lab.keep_states:
        shutil.rmtree(lab.store.state(run.arm), ignore_errors=True)
    lab.adapters.drop(run.arm.name)


def _save_adapter(lab: Materials, run: "ArmRun", folder: Path) -> None:
    from iikata.model import adapter_file
    from iikata.model.locate import hub_name

    template = lab.templates[str(run.arm.template)]
    base, commit = hub_name(lab.experiment.model.base, lab.model_folder)
    base = base or lab.model_folder.name
    folder.mkdir(parents=True, exist_ok=True)
    adapter_file.save(
        folder,
        lab.adapters.weights(run.arm.name),
        lab.adapters.shape,
        base=base,
        revision=commit or lab.experiment.model.revision,
    )
    write_text(folder / "template.json", saved(template))
    with suppress(IikataError):  # a template that cannot be written exactly as Jinja goes without
        write_text(folder / "chat_template.jinja", chat_template_for(template, lab.tokenizer))
    write_text(folder / "README.md", _card(lab, run.arm, base))


def _card(lab: Materials, arm: Arm, base: str) -> str:
    train = lab.experiment.train
    return (
        f"---\nlibrary_name: peft\nbase_model: {base}\n---\n\n"
        f"# {arm.name}\n\nLoRA adapter trained by iikata in the experiment {lab.experiment.name}: template "
        f"`{arm.template}` (its whole text is in template.json; prompt the adapter with no other), seed {arm.seed}, "
        f"{len(lab.data.train)} rows, {train.epochs} epochs of batches of {train.batch_size}, "
        f"learning rate {train.learning_rate:g}, loss on {train.loss_on}.\n"
    )


def _note(step: TrainStep, run: "ArmRun") -> str:
    return f"{step.arm} {step.step}/{run.steps} loss {step.loss:.3f}"
