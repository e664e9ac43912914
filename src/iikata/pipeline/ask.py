"""One question to every cell of a run, of one adapter or of the bare base: the answers as they are written."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata import tokenize
from iikata.config import Experiment, parse, read
from iikata.core.errors import IikataError
from iikata.core.lock import refuse_links
from iikata.core.records import NOTHING, Before
from iikata.core.registry import did_you_mean, lookup
from iikata.core.rng import stream_seed
from iikata.pipeline.context import RunContext
from iikata.pipeline.elsewhere import refuse_unmergeable
from iikata.pipeline.gates import whole_adapter
from iikata.pipeline.prompts import request, sampling_of
from iikata.pipeline.stages.train import finished_arms
from iikata.templates import TEMPLATES, Template, read_saved

if TYPE_CHECKING:
    from iikata.generate import Request
    from iikata.model.adapters.adapter_file import Stored
    from iikata.model.base import Base

Key = tuple[str, int]
"""A cell's name and a sample."""
OnAnswer = Callable[[Key, str, str], None]
"""Is told a row's answer so far, and how it ended: "" while it goes on, then "stop" or "length"."""
BASE = "base"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
ROWS = 48
PREFILL_TOKENS = 64
"""Few, so that the first cells begin to speak while others' prompts are still read."""


@dataclass(frozen=True)
class Respondents:
    ctx: RunContext
    adapters: dict[str, Path | None]
    """Arm -> its adapter's folder, None for the base."""
    templates: dict[str, Template]

    def cells(self) -> list[str]:
        return [f"{arm}@{template}" for arm in self.adapters for template in self.templates]

    def ask(self, instruction: str, input: str, samples: int, emit: OnAnswer, before: Before = NOTHING) -> None:
        """Let every cell answer `samples` times, side by side; arms that are merged into copies after one another."""
        asked = instruction, input, before
        alone = self._load()
        if together := [arm for arm in self.adapters if arm not in alone]:
            adapted = [arm for arm in together if self.adapters[arm] is not None]
            self._answer(self.ctx.base, together, adapted, asked, samples, emit)
        for arm, folder in alone.items():
            self._answer(self.ctx.copies.of(folder), [arm], [], asked, samples, emit)
        self.ctx.copies.drop()

    def _answer(
        self, base: "Base", arms: Sequence[str], adapted: Sequence[str], asked: tuple[str, str, Before], samples: int,
        emit: OnAnswer,
    ) -> None:  # fmt: skip
        from iikata.generate import Shapes, generate

        settings, sampling = self.ctx.experiment.generate, sampling_of(self.ctx.experiment)
        cells = [(arm, name) for arm in arms for name in self.templates]
        requests = [self._request(arm, arm in adapted, name, asked, samples) for arm, name in cells]
        longest = max(len(request.prompt_ids) for request in requests)
        rows = min(ROWS, sum(len(request.keys) for request in requests))
        shapes = Shapes(rows, longest + settings.max_new_tokens, PREFILL_TOKENS)

        def on_token(key: Any, ids: Sequence[int]) -> None:
            emit(key, self._text(key, ids), "")

        for reply in generate(base, adapted, requests, sampling, settings.max_new_tokens, shapes, on_token):
            emit(reply.key, self._text(reply.key, reply.ids, reply.finish), reply.finish)

    def _load(self) -> dict[str, Path]:
        """Load what the engine holds; return the folders of the adapters that it cannot hold."""
        alone = {}
        for arm, folder in self.adapters.items():
            if folder is None or arm in self.ctx.adapters:
                continue
            stored = whole_adapter(folder, self.ctx.lora_of(arm), self.ctx.language)
            if stored.beyond:
                refuse_unmergeable(self.ctx.experiment)
                alone[arm] = folder
                continue
            try:
                self.ctx.adapters.load(arm, stored.same_shape()[0])
            except IikataError as error:
                raise IikataError(f"{folder}: {error}") from None
        return alone

    def _request(self, arm: str, adapted: bool, name: str, asked: tuple[str, str, Before], samples: int) -> "Request":
        template, tokenizer, cell = self.templates[name], self.ctx.tokenizer, f"{arm}@{name}"
        seed, words = self.ctx.experiment.generate.seed, asked if asked[2] != NOTHING else asked[:2]
        keys = [(cell, sample) for sample in range(samples)]
        seeds = [stream_seed("ask", seed, cell, *words, sample) for sample in range(samples)]
        prompt = tuple(tokenize.encode_prompt(template, tokenizer, *asked))
        return request(template, tokenizer, prompt, keys, seeds, arm if adapted else None)

    def _text(self, key: Key, ids: Sequence[int], finish: str = "") -> str:
        template, tokenizer = self.templates[key[0].partition("@")[2]], self.ctx.tokenizer
        text = tokenizer.text(ids) if finish == "stop" else tokenizer.whole_text(ids)
        if not finish:  # what may become a stop string or a line break is held back
            marks = [mark for mark in (*template.stop, template.newline) if mark]
            halves = [n for mark in marks for n in range(1, len(mark)) if text.endswith(mark[:n])]
            text = text[: len(text) - max(halves, default=0)]
        return template.answer(text)


def respondents(
    target: str, overrides: Sequence[str] = (), arms: Sequence[str] = (), templates: Sequence[str] = ()
) -> Respondents:
    """Return who `target` holds: a run folder, a folder with one adapter, or a base model.

    `arms` and `templates` choose among them; a template that is not the run's may be built in, or a file.
    """
    folder = Path(target)
    if (folder / "experiment.yaml").is_file():
        whole = _run(folder, overrides)
    elif any((folder / name).exists() for name in ADAPTER_FILES):
        whole = _adapter(folder, overrides, needed=not templates)
    else:
        _refuse_misspelt(target)
        ctx = _context(_stand_in({"model": {"base": target}}, overrides), Path())
        name = "plain" if ctx.tokenizer.chat_template is None else "native"
        whole = Respondents(ctx, {BASE: None}, {name: ctx.load_template(name, Path())})
    asked = [lookup(name, {arm: arm for arm in whole.adapters}, "arm") for name in arms]
    chosen = {arm: whole.adapters[arm] for arm in asked or whole.adapters}
    found = [whole.templates.get(name) or whole.ctx.load_template(name, Path.cwd()) for name in templates]
    return Respondents(whole.ctx, chosen, {one.name: one for one in found} or whole.templates)


def _run(folder: Path, overrides: Sequence[str]) -> Respondents:
    refuse_links(folder)
    ctx = _context(read(folder / "experiment.yaml", overrides), folder)
    if (signed := ctx.signature["model"]["weights"]) != ctx.weights:
        raise IikataError(
            f"{ctx.model_folder}: not the model that {folder} was made with (weights {signed} -> {ctx.weights}). "
            "Put the run's own model back."
        )
    # What an arm was trained on lies beside it; the experiment's file may have moved since.
    kept = {
        ctx.recipe(arm).variant.templates[0]: ctx.store.arm(arm) / "template.json"
        for arm in reversed(finished_arms(ctx))
    }
    templates = {name: read_saved(path) for name, path in kept.items()}
    found = {name: templates.get(name) or ctx.load_template(spec) for name, spec in ctx.specs.items()}
    return Respondents(ctx, adapters_of(ctx), found)


def adapters_of(ctx: RunContext) -> dict[str, Path | None]:
    """Return the run's finished arms with their folders, then the base."""
    return {**{arm.name: ctx.store.arm(arm) for arm in finished_arms(ctx)}, BASE: None}


def _adapter(folder: Path, overrides: Sequence[str], needed: bool) -> Respondents:
    from iikata.model.adapters import adapter_file

    stored = adapter_file.read_stored(folder, whole=True)  # before the base, which may take minutes to load
    stored.refuse_inexact()
    made_by, config = folder / "run" / "experiment.yaml", folder / adapter_file.CONFIG
    experiment = read(made_by, overrides) if made_by.is_file() else _stand_in(_adapted(stored, overrides), overrides)
    if needed and not (folder / "template.json").is_file():
        raise IikataError(
            f"{folder}: no template.json, so how this adapter was trained to be prompted is not known. Give --template."
        )
    known = [read_saved(path) for path in [folder / "template.json"] if path.is_file()]
    ctx = _context(experiment, folder)
    try:
        ctx.tokenizer  # noqa: B018 - its base is looked for
    except IikataError as error:
        raise IikataError(f'{config}: "base_model_name_or_path": {error} Or: --set model.base=FOLDER') from None
    adapters: dict[str, Path | None] = {folder.resolve().name: folder, BASE: None}
    return Respondents(ctx, adapters, {template.name: template for template in known})


def _refuse_misspelt(target: str) -> None:
    """Raise IikataError where `target` is meant to lie here and does not: a hub would be asked for it in vain."""
    from iikata.model.files.locate import HUB_ID

    path = Path(target).expanduser()
    if path.exists() or target == "smollm2" or path.suffix.lower() == ".gguf":
        return
    runs = [file.parent for pattern in ("*", "*/*") for file in Path().glob(f"{pattern}/experiment.yaml")]
    beside = [file.parent for file in path.parent.glob("*/experiment.yaml")]
    shelves = {"runs", *(str(run.parent) for run in runs)}
    shelf = str(path.parent)
    near = did_you_mean(target, map(str, (*runs, *beside)))
    if HUB_ID.fullmatch(target) and not beside and shelf not in shelves and not did_you_mean(shelf, shelves):
        return
    raise IikataError(
        f"{target}: no such run folder{near}, nor an adapter's or a model's folder. "
        'A model of the hub is called owner/name; the embedded one is "smollm2".'
    )


def _context(experiment: Experiment, folder: Path) -> RunContext:
    return RunContext(experiment, folder, lambda event: None)


def _adapted(stored: "Stored", overrides: Sequence[str]) -> dict[str, Any]:
    """Return the settings of the model and adapter, from what PEFT wrote."""
    from iikata.model.adapters.adapter_config import CONFIG, MERGE
    from iikata.model.files import smollm2

    path, config = stored.folder / CONFIG, stored.config
    base = config.base_model_name_or_path
    if not base and not any(override.startswith("model.base=") for override in overrides):
        raise IikataError(f'{path}: "base_model_name_or_path" names no model. Say which: --set model.base=FOLDER')
    model = {"base": "smollm2" if base == smollm2.HUB_ID else base, "revision": config.revision or None}
    found = {"model": model if base else {}}
    if stored.beyond:
        return found
    shape = stored.same_shape()[1]
    if shape.alpha != int(shape.alpha):
        raise IikataError(f'{path}: "lora_alpha" is {shape.alpha:g}, no whole number. {MERGE}')
    lora: dict[str, Any] = {"r": shape.r, "alpha": int(shape.alpha), "target_modules": list(shape.target_modules)}
    return found | {"train": {"lora": lora | ({"use_rslora": True} if shape.use_rslora else {})}}


def _stand_in(settings: dict[str, Any], overrides: Sequence[str]) -> Experiment:
    """Return an experiment that trains nothing, for its model and sampling."""
    values = {**settings, "data": {"train": "none.jsonl"}, "templates": [next(iter(TEMPLATES))]}
    return parse(json.dumps(values), "iikata ask", Path.cwd(), overrides).without_places()
