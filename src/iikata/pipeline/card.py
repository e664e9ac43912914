"""The model card of an exported arm: how to prompt it, what it was trained on, and what is known of it."""

import json
from dataclasses import dataclass, field

from iikata.config import shown_name
from iikata.core.errors import IikataError
from iikata.core.records import Arm
from iikata.pipeline.context import RunContext
from iikata.pipeline.integrity import object_of
from iikata.report.markup import fenced, markdown
from iikata.templates import Template

USE = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForCausalLM.from_pretrained(FOLDER)
message = MESSAGE
ids = tokenizer.apply_chat_template([message], add_generation_prompt=True, return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, max_new_tokens=128)[0]))
```"""
MESSAGE = {
    "alpaca": '{"role": "user", "content": "...", "instruction": "...", "input": ""}',
    "jinja": '{"role": "user", "content": instruction}  # with an input: instruction + "\\n\\n" + input',
}
INPUT = (
    "`instruction` and `input` choose between the template's two prompts; without them `content` is an instruction "
    "without an input. A server that drops such fields (vLLM's chat endpoint) can prompt it without an input only; "
    "for one with an input, send the rendered text to the completions endpoint."
)


@dataclass(frozen=True)
class Export:
    """What is written where, and what is to be known of it."""

    arm: Arm
    template: Template
    base: str | None
    """The base's hub id; None only for merged weights."""
    revision: str | None
    merged: bool
    remarks: list[str] = field(default_factory=list)
    repo: str = ""
    """Its own hub id, where it has one."""
    file: str = ""
    """The .gguf file that holds all of it, where one does."""


def card(ctx: RunContext, made: Export) -> str:
    """Return README.md. No path of this machine stands in it."""
    base = f"base_model: {made.base}\n" if made.base else ""
    head = f"---\nlibrary_name: {'transformers' if made.merged else 'peft'}\n{base}tags: [iikata, lora]\n---"
    kind = "Merged weights" if made.merged else "LoRA adapter"
    origin = "trained elsewhere and asked" if ctx.recipe(made.arm).adapters else "trained"
    place = json.dumps(made.repo or "FOLDER") + (f', gguf_file="{made.file}"' if made.file else "")
    over = f"{made.base or ctx.model_folder.name}" + (f" at revision {made.revision}" if made.revision else "")
    parts = [
        head,
        f"# {made.arm.name}",
        f"{kind} over {over}, {origin} by iikata in the experiment {ctx.experiment.name}.",
        "## Prompting",
        USE.replace("MESSAGE", MESSAGE[made.template.kind]).replace("FOLDER", place),
        *([INPUT] if made.template.kind == "alpaca" else []),
        *(f"- {markdown(remark)}" for remark in made.remarks),
        f"## Template: {made.arm.variant}",
        fenced(made.template.render("{instruction}").prompt),
        fenced(made.template.render("{instruction}", "{input}").prompt),
        "## Data and settings",
        *_trained_by(ctx, made.arm),
        "## Verdict of the experiment",
        *_verdict(ctx),
        "## What was checked",
        *_checked(ctx, made),
    ]
    return "\n\n".join(parts) + "\n"


def _trained_by(ctx: RunContext, arm: Arm) -> list[str]:
    if ctx.recipe(arm).adapters:
        return ["It was trained elsewhere: on which rows, and with which settings and template, is not known here."]
    settings = ctx.experiment.resolved()["train"] | {"seeds": [arm.seed]}
    names = [shown_name(spec, ctx.experiment.folder, "data") for spec in ctx.experiment.data.train]
    rows = f"{len(ctx.data.train):,} rows trained on, {len(ctx.data.validation):,} held out"
    data = f"{markdown(', '.join(names))}: {rows} (hash {ctx.signature['data']['train']})."
    return [data, fenced(json.dumps(settings, indent=1))]


def _verdict(ctx: RunContext) -> list[str]:
    if not ctx.store.comparisons.exists():
        return ["Nothing has been compared yet."]
    verdict = object_of(ctx.store.comparisons, {"verdict": dict})["verdict"]
    if not {"sentence_en", "sentence_ja"} <= verdict.keys():
        raise IikataError(f"{ctx.store.comparisons}: the verdict is not whole. iikata compare makes it again.")
    return [str(verdict["sentence_en"]), str(verdict["sentence_ja"])]


def _checked(ctx: RunContext, made: Export) -> list[str]:
    gates = [gate for gate in ctx.store.read_gates() if gate.subject in (made.arm.name, made.arm.variant)]
    found = [f for f in ctx.store.read_findings() if f.template in (None, made.arm.variant)]
    lines = [f"- {gate.name}: {'passed' if gate.passed else 'FAILED'} ({markdown(gate.detail)})" for gate in gates]
    lines += [f"- {finding.severity}, {finding.rule}: {markdown(finding.message)}" for finding in found]
    nothing = "found nothing" if ctx.store.findings.is_file() else "has not looked at it"
    return ["\n".join(lines) or f"The template doctor {nothing}."]
