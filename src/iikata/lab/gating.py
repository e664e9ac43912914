"""Gates of a run: which arms and templates may be believed."""

from iikata import checks
from iikata.lab.materials import Materials
from iikata.lab.training import stopped
from iikata.records import Arm, Gate

PROOF_PROMPTS = 3
"""Prompts after which an adapter must differ from the base."""


def check_arms(lab: Materials) -> list[Gate]:
    """Return the gates that need no model: training was sound, templates are kept and differ."""
    gates = list(checks.distinct_templates({name: _prompts(lab, name) for name in lab.templates}))
    for arm in lab.experiment.arms():
        folder = lab.store.arm(arm)
        gates.append(checks.sound_training(arm.name, lab.store.read_steps(arm), stopped(lab, arm)))
        gates.append(checks.template_kept(arm.name, folder, lab.templates[str(arm.template)]))
    return gates


def prove(lab: Materials, arm: Arm) -> Gate:
    """Open the arm's adapter from disk and prove it live."""
    prompts = _prompts(lab, str(arm.template))[:PROOF_PROMPTS]
    return checks.live_adapter(lab.base, arm.name, lab.store.arm(arm), prompts)


def reopen(lab: Materials, arm: Arm) -> bool:
    """Open from disk an arm that has been proved live; return False for one that has not."""
    from iikata.model import adapter_file

    proved = [gate for gate in lab.store.read_gates() if (gate.name, gate.subject) == ("live_adapter", arm.name)]
    if not (proved and proved[-1].passed):
        return False
    lab.adapters.load(arm.name, adapter_file.read(lab.store.arm(arm))[0])
    return True


def _prompts(lab: Materials, template: str) -> list[tuple[int, ...]]:
    from iikata.encode import encode_prompt

    texts = [(p.instruction, p.input) for p in lab.probes] or [(r.instruction, r.input) for r in lab.data.train]
    one = lab.templates[template]
    return [tuple(encode_prompt(one, lab.tokenizer, *text)) for text in texts[:24]]
