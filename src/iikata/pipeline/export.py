"""Hand an arm on: a folder that transformers, peft and vLLM load as it is, its tokens proved the same."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata import tokenize
from iikata.core.errors import IikataError
from iikata.core.io import write_text
from iikata.core.lock import refuse_links
from iikata.core.records import Arm, Before, Example
from iikata.core.system import replace as rename
from iikata.pipeline.bringing import copy
from iikata.pipeline.card import Export, card
from iikata.pipeline.context import RunContext
from iikata.pipeline.elsewhere import refuse_unmergeable
from iikata.pipeline.gates import whole_adapter
from iikata.pipeline.gguf_family import writable
from iikata.pipeline.gguf_file import FILE, modelfile
from iikata.pipeline.gguf_file import write as write_gguf
from iikata.pipeline.gguf_vocabulary import vocabulary
from iikata.pipeline.stages.train import finished_arm
from iikata.run_folder import write_json
from iikata.templates import Template, messages, read_saved, saved
from iikata.tokenize.settings import read_object

if TYPE_CHECKING:
    from iikata.model.adapters.adapter_file import Stored

MERGE_PROMPTS = 3


def export(
    ctx: RunContext, arm_name: str, dest: Path, merge: bool = False, base: str | None = None, repo: str = "",
    gguf: bool = False, ollama: bool = False,
) -> Export:  # fmt: skip
    """Write the arm to `dest`, which must not be there yet; `base` is the base's hub id where the run cannot know it.

    `repo` is the hub id that its card calls it by; the base must then have one, too. `gguf`: one file instead, the
    adapter merged in; `ollama`: a Modelfile beside it.

    Raises IikataError where the arm is not trained, or where transformers would give one row other prompt tokens.
    """
    refuse_links(ctx.store.path)
    from iikata.model.adapters import adapter_file

    source = ctx.store.arm(arm := finished_arm(ctx, arm_name))
    if dest.exists():
        raise IikataError(f"{dest} is there already and is not overwritten. Name another, or remove it first.")
    stored = whole_adapter(source, ctx.lora_of(arm.name), ctx.language)
    size = writable(ctx.model_folder)["vocab_size"] if gguf else 0  # refused before anything is merged
    merge = merge or gguf
    made = _named(
        ctx, Export(arm, read_saved(source / "template.json"), base, None, merge, repo=repo, file=FILE if gguf else "")
    )
    dest.parent.mkdir(parents=True, exist_ok=True)
    folder = dest.with_name(f".{dest.name}.part")  # always the same name, so that one left by a kill goes
    shutil.rmtree(folder, ignore_errors=True)
    try:
        write_tokenizer(ctx.tokenizer, made.template, folder)
        made.remarks.extend(check_tokens(folder, made.template, ctx.tokenizer, rows_of(ctx)))
        words = vocabulary(ctx.tokenizer, made.template, folder, rows_of(ctx), size) if gguf else {}
        if merge:
            _write_merged(ctx, made, stored, folder)
        else:
            if stored.beyond:
                copy(stored, folder, str(made.base), made.revision)
            else:
                adapter_file.save(folder, *stored.same_shape(), base=str(made.base), revision=made.revision)
            made.remarks.extend(_resizing(folder, ctx.model_folder))
        _write_ends(ctx.model_folder, ctx.tokenizer, made.template, folder)
        write_text(folder / "template.json", saved(made.template))
        if gguf:
            _write_gguf(ctx, made, folder, words, ollama)
        write_text(folder / "README.md", card(ctx, made))
        rename(folder, dest)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return made


def export_command(ctx: RunContext, verdict: Mapping[str, Any]) -> str | None:
    """Return what to type to export the arm that the verdict recommends; None where it recommends none."""
    found = verdict.get("recommended")
    if not found:
        return None
    arm = Arm(found["trained_on"], found["seed"]).name
    return shlex.join(["iikata", "export", str(ctx.store.path), arm, arm, *_base_flags(ctx)])


def _base_flags(ctx: RunContext) -> list[str]:
    """Return what export must be told of a local model, which an adapter cannot name by itself."""
    from iikata.model.files.locate import hub_name

    base = ctx.experiment.model.base
    local = ctx.experiment.folder / os.path.expanduser(base)
    if base == "smollm2" or not local.exists():
        return []
    if local.is_file():
        return ["--merge"]
    return [] if hub_name(base, local)[0] else ["--base", str(local)]


def _named(ctx: RunContext, made: Export) -> Export:
    """Return `made` with the base's hub id and revision. Raises IikataError where an adapter would name neither."""
    from iikata.model.files.locate import HUB_ID, hub_name

    model = ctx.experiment.model
    if made.repo and made.base and not HUB_ID.fullmatch(made.base):
        raise IikataError(f"--base {made.base}: on the hub a base is named as owner/name.")
    known, commit = hub_name(model.base, ctx.model_folder)
    base, revision = made.base or known, None if made.base else commit or model.revision
    if base is None and not made.merged:
        raise IikataError(
            f"the run was made on a local model ({ctx.model_folder.name}), and an adapter must name its base as others "
            "find it. Give the base's hub id with --base OWNER/NAME, or a path that is right where the adapter will be "
            "used (--base ./folder works); or merge the adapter with --merge."
        )
    done = "Asked" if ctx.recipe(made.arm).adapters else "Trained"
    if model.base == "smollm2":
        over = "Merged into it." if made.merged else "Over the hub's own weights the logits are near, not the same."
        made.remarks.append(f"{done} over a 4-bit file (Q4_1) of {base}. {over}")
    if model.quantize != "none":
        made.remarks.append(f"{done} over the base in {model.quantize}; over unquantized weights the logits differ.")
    return replace(made, base=base, revision=revision)


def rows_of(ctx: RunContext) -> list[Example]:
    """Return all that the run trains on or asks."""
    probes = [Example(p.id, p.instruction, p.input, "".join(p.references[:1]), before=p.before) for p in ctx.probes]
    return [*ctx.data.train, *ctx.data.validation, *probes]


def check_tokens(folder: Path, template: Template, tokenizer: tokenize.Tokenizer, rows: Sequence[Example]) -> list[str]:
    """Compare transformers' tokens in `folder` with ours on `rows`; return what is not the same and may differ.

    Raises IikataError with the first text whose tokens, or prompt tokens, differ.
    """
    from transformers import AutoTokenizer

    reloaded: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    apart: list[str] = []
    ends: set[tuple[str, str]] = set()
    for row in rows:
        ours = tokenize.encode(row, template, tokenizer, sys.maxsize)
        before = row.before if template.takes_system else Before("", row.before.turns)
        text, said = ours.prompt + ours.completion, messages(row.instruction, row.input, before)
        prompt = reloaded.apply_chat_template(said, add_generation_prompt=True, return_dict=False)
        _same(text, reloaded(text, add_special_tokens=False).input_ids, tokenizer.ids(text))
        _same(ours.prompt, prompt, tokenize.encode_prompt(template, tokenizer, *row.asked))
        answered = [*said, {"role": "assistant", "content": row.output}]
        whole = reloaded.apply_chat_template(answered, return_dict=False)
        *body, end = ours.input_ids
        if whole[: len(body)] != body:
            apart.append(ours.completion)
        elif whole[len(body) :] != [end]:
            ends.add((tokenizer.token(end), reloaded.decode(whole[len(body) :])))
    return _remarks(apart, ends, len(rows))


def _remarks(apart: list[str], ends: set[tuple[str, str]], rows: int) -> list[str]:
    said = [f"Answers end with {end!r} alone in the run; there the chat template writes {t!r}." for end, t in ends]
    if apart:
        said.append(
            f"In {len(apart)} of {rows} rows a token would span the border of prompt and answer, or the answer quotes "
            "a special token. There the answer was tokenized apart, as it is when the model generates, and "
            "apply_chat_template of the finished conversation gives other ids than were trained. "
            f"Prompts are exact in every row. First such answer: {apart[0][:60]!r}."
        )
    return said


def _same(text: str, theirs: Sequence[int], ours: Sequence[int]) -> None:
    if list(theirs) != list(ours):
        at = next((i for i, pair in enumerate(zip(theirs, ours, strict=False)) if pair[0] != pair[1]), -1)
        raise IikataError(
            f"transformers would give other tokens than were trained, so nothing is exported. First text that differs "
            f"(at token {at}: {list(theirs)[at : at + 3]}, not {list(ours)[at : at + 3]}): {text[:200]!r}"
        )


def write_tokenizer(tokenizer: tokenize.Tokenizer, template: Template, folder: Path) -> None:
    """Write the tokenizer and the template as transformers loads them. Raises IikataError where it cannot be."""
    write_text(folder / "tokenizer.json", tokenize.tokenizer_json(tokenizer))
    write_json(folder / "tokenizer_config.json", tokenize.tokenizer_config(tokenizer))
    write_text(folder / "chat_template.jinja", tokenize.chat_template_for(template, tokenizer))


def _write_ends(model_folder: Path, tokenizer: tokenize.Tokenizer, template: Template, folder: Path) -> None:
    """Write generation_config.json, where transformers and vLLM look for the tokens that end an answer."""
    settings = read_object(model_folder / "generation_config.json")
    end = tokenize.end_id(template, tokenizer)
    others = sorted(tokenize.stop_ids(template, tokenizer) - {end})
    write_json(folder / "generation_config.json", {**settings, "eos_token_id": [end, *others]})


def _resizing(folder: Path, base: Path) -> list[str]:
    """Return what a reader must do who loads an adapter with other embeddings than its base's."""
    from iikata.model.adapters.adapter_file import WEIGHTS
    from iikata.model.adapters.beside import end_rows

    config = read_object(base / "config.json")
    rows, own = end_rows(folder / WEIGHTS), config.get("vocab_size")
    if not rows or own in (rows, None):
        return []
    call = f"model.resize_token_embeddings({rows})"
    return [f"It brings {rows} embeddings, the base has {own}: call {call} before peft loads it, or export --merge."]


def _write_gguf(ctx: RunContext, made: Export, folder: Path, words: Mapping[str, Any], ollama: bool) -> None:
    """Put one file in the place of the merged folder's."""
    write_gguf(folder, words)
    if ollama:
        write_text(folder / "Modelfile", modelfile(made.template, ctx.tokenizer))
    for path in folder.iterdir():
        if path.name not in (FILE, "Modelfile", "template.json", "chat_template.jinja"):
            path.unlink()
    made.remarks.append(f"{FILE} holds weights, tokenizer and chat template for llama.cpp and Ollama.")


def _write_merged(ctx: RunContext, made: Export, stored: "Stored", folder: Path) -> None:
    from iikata.model.adapters.merge import merge

    rows = rows_of(ctx)[:MERGE_PROMPTS]
    prompts = [tokenize.encode_prompt(made.template, ctx.tokenizer, *row.asked) for row in rows]
    if stored.beyond:
        refuse_unmergeable(ctx.experiment)
    moved = merge(ctx.model_folder, stored.folder, folder, prompts, ctx.trusted, whole=bool(stored.beyond))
    made.remarks.append(f"Merging moved the logits by {moved:.1g} of their size (||merged - adapter|| / ||adapter||).")
