"""The model card of an exported arm: how to prompt it, what it was trained on, and what is known of it."""

import json
from pathlib import PurePath
from typing import TYPE_CHECKING

from iikata.errors import IikataError
from iikata.experiment import local_path
from iikata.lab.materials import Materials
from iikata.lab.whole import object_of
from iikata.report.visible import fenced, markdown

if TYPE_CHECKING:
    from iikata.lab.exporting import Export

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


def card(lab: Materials, made: "Export") -> str:
    """Return README.md. No path of this machine stands in it."""
    base = f"base_model: {made.base}\n" if made.base else ""
    head = f"---\nlibrary_name: {'transformers' if made.merged else 'peft'}\n{base}tags: [iikata, lora]\n---"
    kind = "Merged weights" if made.merged else "LoRA adapter"
    over = f"{made.base or lab.model_folder.name}" + (f" at revision {made.revision}" if made.revision else "")
    parts = [
        head,
        f"# {made.arm.name}",
        f"{kind} over {over}, trained by iikata in the experiment {lab.experiment.name}.",
        "## Prompting",
        USE.replace("MESSAGE", MESSAGE[made.template.kind]),
        *([INPUT] if made.template.kind == "alpaca" else []),
        *(f"- {markdown(remark)}" for remark in made.remarks),
        f"## Template: {made.arm.template}",
        fenced(made.template.render("{instruction}").prompt),
        fenced(made.template.render("{instruction}", "{input}").prompt),
        "## Data and settings",
        _data(lab),
        fenced(json.dumps(lab.experiment.resolved()["train"] | {"seeds": [made.arm.seed]}, indent=1)),
        "## Verdict of the experiment",
        *_verdict(lab),
        "## What was checked",
        *_checked(lab, made),
    ]
    return "\n\n".join(parts) + "\n"


def _data(lab: Materials) -> str:
    folder = lab.experiment.folder
    names = [PurePath(spec).name if local_path(spec, folder, "data") else spec for spec in lab.experiment.data.train]
    rows = f"{len(lab.data.train):,} rows trained on, {len(lab.data.validation):,} held out"
    return f"{markdown(', '.join(names))}: {rows} (hash {lab.signature['data']['train']})."


def _verdict(lab: Materials) -> list[str]:
    if not lab.store.comparisons.exists():
        return ["Nothing has been compared yet."]
    verdict = object_of(lab.store.comparisons, {"verdict": dict})["verdict"]
    if not {"sentence_en", "sentence_ja"} <= verdict.keys():
        raise IikataError(f"{lab.store.comparisons}: the verdict is not whole. iikata compare makes it anew.")
    return [str(verdict["sentence_en"]), str(verdict["sentence_ja"])]


def _checked(lab: Materials, made: "Export") -> list[str]:
    gates = [gate for gate in lab.store.read_gates() if gate.subject in (made.arm.name, made.arm.template)]
    found = [f for f in lab.store.read_findings() if f.template in (None, made.arm.template)]
    lines = [f"- {gate.name}: {'passed' if gate.passed else 'FAILED'} ({markdown(gate.detail)})" for gate in gates]
    lines += [f"- {finding.severity}, {finding.rule}: {markdown(finding.message)}" for finding in found]
    if not lines:
        looked = lab.store.findings.is_file()
        lines = ["The template doctor found nothing." if looked else "The template doctor has not looked at it."]
    return ["\n".join(lines)]
