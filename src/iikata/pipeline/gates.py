"""Gates of a run: which arms and templates may be believed."""

from iikata import doctor
from iikata.core.records import Arm, Gate
from iikata.pipeline.context import RunContext
from iikata.pipeline.stages.train import stopped

PROOF_PROMPTS = 3
"""Prompts after which an adapter must differ from the base."""


def check_arms(ctx: RunContext) -> list[Gate]:
    """Return the gates that need no model: training was sound, templates are kept and differ."""
    gates = list(doctor.distinct_templates({name: [*_prompts(ctx, name), *_rows(ctx, name)] for name in ctx.templates}))
    for arm in ctx.experiment.arms():
        folder = ctx.store.arm(arm)
        gates.append(doctor.sound_training(arm.name, ctx.store.read_steps(arm), stopped(ctx, arm)))
        gates.append(doctor.template_kept(arm.name, folder, ctx.templates[str(arm.template)]))
    return gates


def prove(ctx: RunContext, arm: Arm) -> Gate:
    """Open the arm's adapter from disk and prove it live."""
    prompts = _prompts(ctx, str(arm.template))[:PROOF_PROMPTS]
    return doctor.live_adapter(ctx.base, arm.name, ctx.store.arm(arm), prompts)


def reopen(ctx: RunContext, arm: Arm) -> bool:
    """Open from disk an arm that has been proved live; return False for one that has not."""
    from iikata.model.adapters import adapter_file

    proved = [gate for gate in ctx.store.read_gates() if (gate.name, gate.subject) == ("live_adapter", arm.name)]
    if not (proved and proved[-1].passed):
        return False
    ctx.adapters.load(arm.name, adapter_file.read(ctx.store.arm(arm))[0])
    return True


def _prompts(ctx: RunContext, template: str) -> list[tuple[int, ...]]:
    from iikata.tokenize import encode_prompt

    texts = [(p.instruction, p.input) for p in ctx.probes] or [(r.instruction, r.input) for r in ctx.data.train]
    one = ctx.templates[template]
    return [tuple(encode_prompt(one, ctx.tokenizer, *text)) for text in texts[:24]]


def _rows(ctx: RunContext, template: str) -> list[tuple[int, ...]]:
    from iikata.tokenize import encode

    rows, one = ctx.data.validation[:24], ctx.templates[template]
    return [encode(row, one, ctx.tokenizer, ctx.experiment.train.cutoff_len).input_ids for row in rows]
