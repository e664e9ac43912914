"""An experiment: its sections together, and what follows from them: variants, arms, cells, margins."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator

from iikata.config.kinds import (
    AnyTexts,
    Devices,
    Name,
    Plain,
    Settings,
    Text,
    Tracker,
    fits_a_file_name,
    refuse_repeats,
)
from iikata.config.places import absolute_path, lm_eval_task, local_path, template_name
from iikata.config.sections import (
    DATA,
    DEFAULT_MARGIN,
    CompareSettings,
    DataSettings,
    GenerateSettings,
    ModelSettings,
    Recipe,
    ScoreSettings,
    TrainSettings,
    UntunedSettings,
    VariantSettings,
)
from iikata.core.errors import IikataError
from iikata.core.records import Arm, Cell


class Experiment(Settings):
    """One base model, one data set, several templates: does the template matter, and was LoRA needed?"""

    name: Name = "experiment"
    """Name of the run; a file's own name where it gives none."""
    model: ModelSettings = ModelSettings()
    """The base model."""
    data: DataSettings = DataSettings()
    """The rows; `train` where anything is trained."""
    templates: AnyTexts = ()
    """Templates to train: built-in names, Alpaca JSON or Jinja files; native is the model's own."""
    vary: Plain = Field(default={})
    """Further settings that vary, each with its levels: a list of values, or names with values; every combination
    with every template is a variant."""
    variants: tuple[VariantSettings, ...] = Field(default=(), strict=False)
    """Variants one by one, beside those."""
    prompt_only: AnyTexts = ()
    """Templates that arms and base are prompted with but never trained on."""
    train: TrainSettings = TrainSettings()
    """Training."""
    untuned: UntunedSettings = UntunedSettings()
    """Examples in the untuned model's prompt."""
    generate: GenerateSettings = GenerateSettings()
    """Sampling."""
    probes: Text | None = None
    """File of the held-out prompts (jsonl or json), or lm_eval:TASK for the documents of a task of lm-eval
    (lm_eval:TASK:200 for the first 200); without probes nothing is generated."""
    score: ScoreSettings = ScoreSettings()
    """Metrics."""
    compare: CompareSettings = CompareSettings()
    """Statistics."""
    devices: Devices = "auto"
    """What computes: auto (every GPU of this machine, else its CPU), cpu, 1, ray (the Ray cluster of this machine), or
    ray://HOST:PORT."""
    mixed_devices: bool = False
    """Let devices of different kinds share the work: an arm's numbers then also follow from who made it."""
    report_to: tuple[Tracker, ...] = Field(default=(), strict=False)
    """Trackers that are told losses, final scores and the verdict: tensorboard, wandb, mlflow, trackio."""

    _folder: Path = PrivateAttr(default_factory=Path.cwd)
    _recipes: dict[str, Recipe] = PrivateAttr(default_factory=dict)
    _place: Callable[[tuple[str | int, ...]], str] | None = PrivateAttr(default=None)

    @field_validator("templates", "prompt_only")
    @classmethod
    def _name_each_once(cls, specs: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        trained = info.data.get("templates", ())
        names = [template_name(spec) for spec in (*trained, *specs)]
        refuse_repeats(names, " (a file goes by its name without the ending)")
        for name in names[len(trained) :]:
            if not fits_a_file_name(name) or len(name.encode()) > 100:
                raise ValueError(f'a name that can be part of a file name is allowed, and "{name}" cannot')
        return specs

    @field_validator("compare")
    @classmethod
    def _weigh_known_metrics(cls, compare: CompareSettings, info: ValidationInfo) -> CompareSettings:
        known = info.data["score"].names if "score" in info.data else ()
        for metric in compare.margin if isinstance(compare.margin, dict) and known else ():
            if metric not in (*known, *DEFAULT_MARGIN):
                raise ValueError(f'"{metric}" is not among score.metrics ({", ".join(known)})')
        return compare

    @property
    def folder(self) -> Path:
        """Where relative paths count from: the experiment file's folder."""
        return self._folder

    def at(self, *key: str | int) -> str:
        """Return where a setting was written, as `file:line:column: `; "" where that is not known."""
        return f"{place}: " if self._place and (place := self._place(key)) else ""

    def at_name(self, name: str) -> str:
        """Return where a template or a file of rows is named, as `at` does."""
        for section, names in (("templates", self.templates), ("prompt_only", self.prompt_only)):
            if name in names:
                return self.at(section, names.index(name))
        if name in self.data.train:
            return self.at("data", "train", self.data.train.index(name))
        single = {self.data.validation: ("data", "validation"), self.probes: ("probes",)}
        return self.at(*single.get(name, ("vary" if self.vary else "variants",)))

    @contextmanager
    def telling_where(self, names: Mapping[str, str]) -> Iterator[None]:
        """Put the place before an error about a setting or a whole file; `names` is file -> how it is written."""
        try:
            yield
        except IikataError as error:
            about = (name for file, name in names.items() if str(error).startswith((f"{file}: ", f'"{file}" ')))
            setting = re.match(r"((?:data|probes|model)(?:\.\w+)*)[: ]", str(error))
            place = self.at(*setting[1].split(".")) if setting else next(map(self.at_name, about), "")
            raise IikataError(f"{place}{error}") from None

    def without_places(self) -> Self:
        """Return it as another process can have it, which has no file to point at."""
        copy = self.model_copy()
        copy._place = None
        return copy

    @property
    def margins(self) -> dict[str, float | str]:
        """The margin of each metric that has one."""
        margin = self.compare.margin
        margins = margin if isinstance(margin, dict) else {self.score.primary: margin}
        return {metric: margins[metric] for metric in self.score.names if metric in margins}

    @property
    def recipes(self) -> dict[str, Recipe]:
        """Every variant's recipe, by its name."""
        return self._recipes

    @property
    def trained_templates(self) -> tuple[str, ...]:
        """Every template that something is trained on, as it was written."""
        named = [spec for variant in self.variants for spec in variant.template]
        return tuple(dict.fromkeys((*self.templates, *named)))

    def arms(self) -> list[Arm]:
        """Return what is to be trained, seed by seed, so that a run cut short has all arms of its first seeds.

        Behind them stand the adapters from elsewhere, numbered in the order of their list.
        """
        elsewhere = {name: range(len(one.adapters)) for name, one in self.recipes.items() if one.adapters}
        trained = [Arm(name, seed) for seed in self.train.seeds for name in self.recipes if name not in elsewhere]
        return trained + [Arm(name, number) for name, numbers in elsewhere.items() for number in numbers]

    @property
    def trains(self) -> bool:
        """Whether anything is trained here: not where every variant is an adapter from elsewhere."""
        return not all(recipe.adapters for recipe in self.recipes.values())

    @property
    def holds_out(self) -> bool:
        """Whether there are rows to measure by: those of a file, or some of those to train on."""
        trained = any(recipe.data for recipe in self.recipes.values())
        return isinstance(self.data.validation, str) or (trained and self.data.validation != 0)

    def seeds_of(self, variant: str) -> Sequence[int]:
        """Return a variant's seeds; of one from elsewhere the numbers of its folders."""
        folders = self.recipes[variant].adapters
        return range(len(folders)) if folders else self.train.seeds

    def bases(self) -> list[Arm]:
        """Return the untuned model, and once more for each draw of examples that it is shown."""
        draws = range(self.untuned.draws) if any(self.untuned.shots) else ()
        return [Arm(), *(Arm(None, draw) for draw in draws)]

    def prompts(self, arm: Arm) -> list[str]:
        """Return what an arm is prompted with: templates, or those with examples."""
        names = [template_name(spec) for spec in (*self.trained_templates, *self.prompt_only)]
        if arm.variant is None and arm.seed is not None:
            return [f"{name}+{shots}shots" for name in names for shots in self.untuned.shots if shots]
        return names

    def cells(self) -> list[Cell]:
        """Return every arm, then the base, under all that each is prompted with."""
        return [Cell(arm, name) for arm in (*self.arms(), *self.bases()) for name in self.prompts(arm)]

    def resolved(self) -> dict[str, Any]:
        """Return all settings, defaults too, as YAML or JSON can write them, local files by absolute path."""
        plain = self.model_dump(mode="json")
        first, given = ("r", "alpha", "dropout", "target_modules"), self.train.lora.model_dump(exclude_defaults=True)
        # A later setting is written where it is used only, so that runs signed before there was one stay valid.
        plain["train"]["lora"] = {k: v for k, v in plain["train"]["lora"].items() if k in first or k in given}

        def place(holder: dict[str, Any], key: str, kind: str) -> None:
            holder[key] = _absolute(holder[key], self.folder, kind)

        place(plain["model"], "base", "model")
        plain["model"]["trust_remote_code"] = self.model.trust_remote_code and plain["model"]["base"]
        place(plain["data"], "train", "data")
        place(plain["data"], "validation", "data")
        for given in plain["variants"]:
            place(given, "template", "template")
            place(given, "data", "data")
            given["adapters"] = [str(absolute_path(spec, self.folder)) for spec in given["adapters"]]
        if DATA in plain["vary"]:
            place(plain["vary"], DATA, "data")
        place(plain, "templates", "template")
        place(plain, "prompt_only", "template")
        if self.probes:
            task = lm_eval_task(self.probes, self.folder)
            named = ":".join(["lm_eval", *(str(part) for part in task if part)]) if task else ""
            plain["probes"] = named or str(absolute_path(self.probes, self.folder))
        return plain


def _absolute(value: Any, folder: Path, kind: str) -> Any:
    """Return a spec, or a list or dict of them, with local files by absolute path."""
    if isinstance(value, str):
        return str(local_path(value, folder, kind) or value)
    if isinstance(value, dict):
        return {name: _absolute(item, folder, kind) for name, item in value.items()}
    return [_absolute(item, folder, kind) for item in value] if isinstance(value, list) else value
