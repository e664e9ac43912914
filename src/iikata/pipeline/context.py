"""What every stage of a run works with: model, tokenizer, templates, rows, probes; each opened when first asked for."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iikata import data, tokenize
from iikata.config import Experiment, LoraSettings, Recipe, lm_eval_task, local_path, template_name, wide
from iikata.core.encoded import Encoded
from iikata.core.errors import IikataError
from iikata.core.io import Appender
from iikata.core.records import Arm, Cell, Probe, Score
from iikata.core.rng import stream_seed
from iikata.pipeline import signature
from iikata.pipeline.buffer_plan import Work, choose
from iikata.pipeline.elsewhere import arms_from_elsewhere, stored_of
from iikata.pipeline.events import OnEvent, Warned
from iikata.pipeline.machine import Machine, machine_of
from iikata.pipeline.merged import Copies, make_ready
from iikata.pipeline.opening import devices_of, open_base
from iikata.pipeline.prompts import Prompts
from iikata.run_folder import RunFolder, read_json, write_json
from iikata.templates import Template, load

if TYPE_CHECKING:
    from torch import device

    from iikata.model.adapters.lora import Adapters
    from iikata.model.base import Base
    from iikata.pipeline.executor.crew import Crew


class RunContext:
    """An experiment and its run folder, and what both lead to."""

    def __init__(self, experiment: Experiment, out: Path, emit: OnEvent) -> None:
        self.experiment = experiment
        self.store = RunFolder(out)
        self.emit = emit
        self.force = False
        """Go on although the template doctor found an error."""
        self.language = "en"
        """Of what the template doctor found, where it is told while the run goes on; records hold both."""
        self.keep_states = False
        """Keep a finished arm's last state, so that it can be trained for more epochs."""
        self.measures = True
        """False for an adapter that is only trained: then nothing needs to decide."""
        self.crew: Crew | None = None
        """The workers, where several devices do what needs the base; then this process never loads it."""
        self._aside = False
        self._encoded: dict[tuple[Any, ...], list[Encoded]] = {}

    @cached_property
    def model_folder(self) -> Path:
        from iikata.model.files.locate import locate

        model = self.experiment.model
        with self.experiment.telling_where({}):
            return locate(model.base, model.revision, self.experiment.folder, self.trusted)

    @property
    def trusted(self) -> bool:
        """Whether the experiment says, by name, that the model's own Python files may run."""
        return self.experiment.model.trust_remote_code is not None

    @cached_property
    def tokenizer(self) -> tokenize.Tokenizer:
        return tokenize.load_tokenizer(self.model_folder)

    @cached_property
    def devices(self) -> "list[device]":
        """Where the base's layers lie in this process: on several devices where they do not fit one."""
        return devices_of(self.experiment, self.model_folder)

    @cached_property
    def base(self) -> "Base":
        """The frozen model with empty adapter slots."""
        loaded = open_base(self.experiment, self.model_folder, self.trusted, self.weights, self.devices, self.emit)
        make_ready(self.experiment, self.store, loaded, self.merged)
        return loaded

    @cached_property
    def merged(self) -> frozenset[Arm]:
        """The arms that are models of their own, since the engine cannot hold them."""
        brought = arms_from_elsewhere(self.experiment)
        return frozenset(arm for arm in brought if stored_of(self.experiment, self.store, arm).beyond)

    @cached_property
    def copies(self) -> Copies:
        return Copies(self.experiment, self.model_folder, self.weights, lambda: self.base)

    def speaker(self, arm: Arm) -> "tuple[Base, str | None]":
        """Return the model that answers as an arm, and which of its adapters does; None where it is as it is."""
        return self.copies.of(self.store.arm(arm)) if arm in self.merged else self.base, self.adapter_of(arm)

    def adapter_of(self, arm: Arm) -> str | None:
        return arm.name if arm.variant and arm not in self.merged else None

    @cached_property
    def machine(self) -> Machine:
        """What the signature says of the device that computes."""
        return self.crew.machine if self.crew else machine_of(self.base)

    @cached_property
    def weights(self) -> str:
        """The fingerprint of the model's files as they were when first asked for, which signing does."""
        return signature.model_fingerprint(self.model_folder, self.trusted)

    @property
    def adapters(self) -> "Adapters":
        assert self.base.adapters is not None
        return self.base.adapters

    @cached_property
    def templates(self) -> dict[str, Template]:
        return {name: self.template(spec) for name, spec in self.specs.items()}

    @property
    def specs(self) -> dict[str, str]:
        """Name -> how the experiment writes each template that anything is prompted with, those trained on first."""
        specs = (*self.experiment.trained_templates, *self.experiment.prompt_only)
        return {template_name(spec): spec for spec in specs}

    def template(self, spec: str) -> Template:
        """Return the template that the experiment calls `spec`; one that is not there is told with its line."""
        try:
            return self.load_template(spec)
        except IikataError as error:
            if (path := local_path(spec, self.experiment.folder, "template")) and path.is_file():
                raise  # the file's own line is named
            raise IikataError(f"{self.experiment.at_name(spec)}{error}{wide(spec)}") from None

    def load_template(self, spec: str, folder: Path | None = None) -> Template:
        """Return a template of any name or file; a file lies in `folder`, the experiment's own where that is None."""
        tokenizer = self.tokenizer
        return load(spec, folder or self.experiment.folder, tokenizer.chat_template, tokenizer.named_tokens)

    @cached_property
    def prompts(self) -> Prompts:
        return Prompts(self.templates, self.tokenizer, self.data.train)

    @cached_property
    def data(self) -> data.Dataset:
        levels = list(dict.fromkeys(recipe.data for recipe in self.experiment.recipes.values() if recipe.data))
        own = self.experiment.data
        specs = [*own.train, str(own.validation), *(spec for level in levels for spec in level)]
        with self.experiment.telling_where({spec: spec for spec in specs}):
            return data.read(own, self.experiment.folder, levels)

    @cached_property
    def probes(self) -> list[Probe]:
        spec, folder, system = self.experiment.probes, self.experiment.folder, self.experiment.data.system
        if spec is None:
            return []
        task = lm_eval_task(spec, folder)
        with self.experiment.telling_where({str(folder / spec): spec}):
            return data.read_task_probes(*task, system) if task else data.read_probes(folder / spec, system)

    @property
    def sampled(self) -> list[Probe]:
        """The probes that cells answer in words."""
        return [probe for probe in self.probes if probe.sampled]

    @cached_property
    def encoded(self) -> dict[str, list[Encoded]]:
        """The training rows under every template that is trained on."""
        names = [template_name(spec) for spec in self.experiment.trained_templates]
        return {name: self.encoded_with(self.templates[name]) for name in names}

    def encoded_with(self, template: Template, recipe: Recipe | None = None) -> list[Encoded]:
        """Return the training rows under `template`, as a variant's recipe cuts and counts them; tokenized once."""
        train = recipe.train if recipe else self.experiment.train
        rows = self.data.of(recipe.data) if recipe else self.data.train
        how = (train.cutoff_len, train.loss_on, train.too_long == "cut_at_turn")
        key = (template.hash, *how, id(rows))
        if key not in self._encoded:
            self._encoded[key] = list(tokenize.encode_all(rows, template, self.tokenizer, *how))
        return self._encoded[key]

    def recipe(self, arm: Arm) -> Recipe:
        return self.experiment.recipes[str(arm.variant)]

    def lora_of(self, name: str) -> LoraSettings | None:
        """Return the settings of an adapter by its name; None for a variant from elsewhere, which has its own."""
        recipe = next((self.recipe(arm) for arm in self.experiment.arms() if arm.name == name), None)
        return None if recipe and recipe.adapters else (recipe or self.experiment).train.lora

    def samples(self, arm: Arm) -> list[Encoded]:
        """Return the rows that an arm is trained on, none longer than its cutoff.

        Of a mixture each row is under one of its templates, drawn by the row and the seed.
        """
        recipe = self.recipe(arm)
        under = [self.encoded_with(self.templates[name], recipe) for name in recipe.variant.templates]
        if len(under) == 1:
            return [row for row in under[0] if not row.truncated]
        drawn = [stream_seed("mixture", int(arm.seed or 0), row.id) % len(under) for row in under[0]]
        picked = [under[which][i] for i, which in enumerate(drawn)]
        return [row for row in picked if not row.truncated]

    def rows_of_arms(self) -> Iterator[tuple[Recipe, list[Encoded], int]]:
        """Yield each recipe that is trained, an arm's rows and how many have these; of a mixture each seed its own."""
        seeds = self.experiment.train.seeds
        for name, recipe in ((n, one) for n, one in self.experiment.recipes.items() if not one.adapters):
            alike = len(seeds) if len(recipe.variant.templates) == 1 else 1
            for seed in seeds[:: max(1, alike)]:
                yield recipe, self.samples(Arm(name, seed)), alike

    @cached_property
    def buffer_plan(self) -> dict[str, int]:
        """Buffer and decoding shapes: chosen once and stored, since rounding follows them."""
        stored = read_json(self.store.shapes, {})
        if not isinstance(stored, dict) or any(type(value) is not int or value < 0 for value in stored.values()):
            raise IikataError(
                f"{self.store.shapes}: not the shapes that iikata stored there. Delete the file to have them chosen "
                "again; on another machine, or a GPU, what is made from then on may round otherwise."
            )
        work = self._work()
        chosen = self.crew.ask("shapes", work, stored) if self.crew else choose(self.base, work, stored)
        if chosen != stored:
            write_json(self.store.shapes, chosen)
        return chosen

    def _work(self) -> Work:
        settings, recipes = self.experiment.generate, self.experiment.recipes.values()
        longest: dict[str, int] = {}
        for name, template, recipe in ((t, self.templates[t], one) for one in recipes for t in one.variant.templates):
            lengths = [len(row.input_ids) for row in self.encoded_with(template, recipe) if not row.truncated]
            longest[f"template {name}: the longest row"] = max(lengths, default=0)
            if not (lengths or recipe.adapters):
                raise IikataError(
                    f"{recipe.place}variant {recipe.variant.name}: every row under {name} is longer than its "
                    f"train.cutoff_len {recipe.train.cutoff_len}, so there is nothing to train on. Raise it."
                )
        answer = longest["the longest probe with its answer"] = self.longest_prompt + settings.max_new_tokens
        an_arm = len(self.templates) * len(self.sampled) * settings.samples
        step = max(map(self.step_tokens, self.encoded))
        return Work(len(self.experiment.arms()), step, an_arm * (len(recipes) + 1), answer, longest)

    def step_tokens(self, template: str) -> float:
        """Return the tokens that a mean step of an arm of this template computes."""
        train, rows = self.experiment.train, [row for row in self.encoded[template] if not row.truncated]
        return self._computed(rows, train.lora, [template]) / max(1, len(rows)) * min(train.batch_size, len(rows))

    def computed(self, rows: Iterable[Encoded], recipe: Recipe) -> int:
        """Return the tokens of an epoch less those that samples share; a buffer's own share of these is little."""
        return self._computed(rows, recipe.train.lora, recipe.variant.templates)

    def _computed(self, rows: Iterable[Encoded], lora: LoraSettings, templates: Iterable[str]) -> int:
        from iikata.model.buffers import computed

        prefixes = [] if lora.dropout else [prefix for name in templates for prefix in self.prompts.prefixes[name]]
        return sum(computed(row, prefixes) for row in rows)

    @cached_property
    def longest_prompt(self) -> int:
        """Tokens of the longest probe under any template, examples included."""
        cells = [cell for arm in self.experiment.bases() for cell in self.cells_of(arm)]
        return max((len(self.prompts.ids(cell, probe)) for cell in cells for probe in self.sampled), default=0)

    def told(self, scores: Iterable[Score]) -> Iterator[Score]:
        """Return the scores with what their variant is, where that is more than a template's name."""
        recipes = self.experiment.recipes
        known = {n: one.variant for n, one in recipes.items() if one.variant.templates != (n,) or one.adapters}
        more: Any = {n: {"template": "|".join(v.templates), "levels": dict(v.levels)} for n, v in known.items()}
        return (replace(s, **more.get(str(s.trained_on), {})) for s in scores) if known else iter(scores)

    def cells_of(self, arm: Any) -> list[Cell]:
        return [Cell(arm, name) for name in self.experiment.prompts(arm)]

    def put_aside(self, why: str) -> None:
        """Keep a copy of the answers so far and what was concluded from them, once a process, and say why."""
        if not self._aside and (folder := self.store.put_aside()):
            self._aside = True
            told = f"{why}: the adapters stay, and the answers and scores that follow from it are made again. "
            self.emit(Warned(f"{told}The earlier ones are kept in {folder}, which is not read."))

    def made(self, what: Any) -> None:
        """Hear of an arm's files or of an answer; in one process they are already where they belong."""

    def halved(self, stage: str, to: int, unit: str) -> None:
        """Tell and keep for the report that memory ran out: from here on only rounding is promised."""
        self.emit(Warned(f"memory ran out: {to} {unit} from now on, which may round otherwise"))
        with Appender(self.store.halvings) as file:
            file.add({"stage": stage, "to": to})

    @cached_property
    def signature(self) -> dict[str, Any]:
        found = signature.read_signature(self.store.signature)
        if found is None:
            raise IikataError(f"{self.store.signature}: no such file, so no run began here. First: iikata run EXP.")
        return found
