"""Bring an adapter from elsewhere into the run: proved live over the base, and kept there as an arm's own."""

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata import doctor
from iikata.core.errors import IikataError
from iikata.core.io import read_json, sha256_of, write_bytes, write_text
from iikata.core.records import Arm, Gate
from iikata.pipeline.context import RunContext
from iikata.pipeline.elsewhere import content_of, folder_of, stored_of
from iikata.run_folder import write_json
from iikata.templates import saved
from iikata.tokenize import chat_template_for, encode_prompt

if TYPE_CHECKING:
    from iikata.model.adapters.adapter_file import Stored

PROOF_PROMPTS = 3


def bring_in(ctx: RunContext, arm: Arm, signature: str) -> None:
    """Write the adapter to the arm's folder, with its template, and DONE last of all.

    Raises IikataError, before anything is written, where it does not fit the base or any part of it is dead.
    """
    from iikata.model.adapters import adapter_file

    stored = stored_of(ctx.experiment, ctx.store, arm)
    gate = prove(ctx, arm, stored.folder)
    if not gate.passed:
        why = gate.detail_ja if ctx.language == "ja" and gate.detail_ja else gate.detail
        raise IikataError(
            f"{stored.folder}: {why}. Nothing could be concluded from such an adapter: take it out. Or: "
            f"{adapter_file.AGAIN} iikata inspect {stored.folder} shows each module."
        )
    folder, base = ctx.store.arm(arm), stored.config.base_model_name_or_path or ctx.model_folder.name
    base = Path(base).name if Path(base).is_absolute() else base  # no path of this machine is handed on
    if stored.beyond:
        copy(stored, folder, base)
    else:
        ctx.adapters.drop(arm.name)
        adapter_file.save(folder, *stored.same_shape(), base=base, revision=stored.config.revision)
    about = (
        f"that was trained elsewhere (folder {folder_of(ctx.experiment, arm).name}), as iikata holds it in the "
        f"experiment {ctx.experiment.name}. On which rows and with which template it was trained is not known."
    )
    write_beside(ctx, arm, base, about)
    brought = content_of(ctx.experiment, ctx.store, arm)
    write_done(folder, steps=0, stopped="", signature=signature, brought=brought)


def write_beside(ctx: RunContext, arm: Arm, base: str, about: str) -> None:
    """Write the whole text of an arm's templates, its first also as Jinja where that can be exact, and its card."""
    folder, (first, *more) = ctx.store.arm(arm), ctx.recipe(arm).variant.templates
    write_text(folder / "template.json", saved(ctx.templates[first]))
    for name in more:
        write_text(folder / f"template.{name}.json", saved(ctx.templates[name]))
    with suppress(IikataError):
        write_text(folder / "chat_template.jinja", chat_template_for(ctx.templates[first], ctx.tokenizer))
    head = f"---\nlibrary_name: peft\nbase_model: {base}\n---\n\n# {arm.name}\n\n"
    write_text(folder / "README.md", f"{head}LoRA adapter {about}\n")


def write_done(folder: Path, **said: Any) -> None:
    """Write DONE, last of all, with the hashes of the arm's files."""
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != "DONE"}
    write_json(folder / "DONE", {**said, "files": files})


def prove(ctx: RunContext, arm: Arm, folder: Path) -> Gate:
    """Prove live the adapter in `folder`, from disk: on the base, or as a model of its own."""
    asked = proof_prompts(ctx, arm)
    if arm in ctx.merged:
        return doctor.live_copy(ctx.base, ctx.copies.of(folder), arm.name, folder, asked)
    return doctor.live_adapter(ctx.base, arm.name, folder, asked)


def proof_prompts(ctx: RunContext, arm: Arm) -> list[tuple[int, ...]]:
    """Return the prompts after which an arm must differ from the base."""
    return prompts(ctx, ctx.recipe(arm).variant.templates[0])[:PROOF_PROMPTS]


def copy(stored: "Stored", folder: Path, base: str, revision: str | None = None) -> None:
    """Write an adapter as it is, but for the base that it names."""
    from iikata.model.adapters.adapter_file import CONFIG, WEIGHTS

    config = read_json(stored.folder / CONFIG, dict[str, Any], "")
    config |= {"base_model_name_or_path": base} | ({"revision": revision} if revision else {})
    write_text(folder / CONFIG, json.dumps(config, indent=2, ensure_ascii=False))
    write_bytes(folder / WEIGHTS, (stored.folder / WEIGHTS).read_bytes())


def prompts(ctx: RunContext, template: str) -> list[tuple[int, ...]]:
    """Return the first probes, or rows, as prompts."""
    texts = [one.asked for one in ctx.probes or ctx.data.train or ctx.data.validation]
    one = ctx.templates[template]
    return [tuple(encode_prompt(one, ctx.tokenizer, *text)) for text in texts[:24]]
