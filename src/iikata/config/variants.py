"""Turn what varies into recipes: every combination of the levels, and the variants that are named one by one."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import PurePath
from typing import Any

from pydantic import TypeAdapter, ValidationError

from iikata.config.explain import allowed
from iikata.config.kinds import Texts, safe_name
from iikata.config.places import absolute_path, template_name
from iikata.config.sections import DATA, Recipe
from iikata.config.settings import Experiment
from iikata.core.errors import IikataError
from iikata.core.records import ELSEWHERE, Variant
from iikata.core.registry import did_you_mean

SHORT = {
    "learning_rate": "lr",
    "batch_size": "bs",
    "epochs": "ep",
    "warmup_steps": "warm",
    "weight_decay": "wd",
    "max_grad_norm": "norm",
    "cutoff_len": "len",
    "lora.r": "r",
    "lora.alpha": "alpha",
    "lora.dropout": "drop",
}
"""What stands before a number in a variant's name."""
FIXED = {
    "seeds": "every variant has every seed of train.seeds",
    **dict.fromkeys(("checkpoint_seconds", "eval_steps", "eval_rows"), "it changes no result"),
}
"""Settings of `train` that cannot vary, and why; no adapter follows from their value."""
Level = tuple[str, str, str, Any, str]
"""(setting, level, its part of a variant's name, value, place) of a factor."""


def recipes(experiment: Experiment) -> dict[str, Recipe]:
    """Return every variant's recipe by its name. Raises IikataError for all that is wrong, each with its place."""
    faults: list[str] = []
    made: dict[str, Recipe] = {}
    for recipe in (*_combined(experiment, faults), *_named(experiment, faults)):
        name = recipe.variant.name
        twin = next((one for one in made.values() if one.content == recipe.content), None)
        if name in made:
            faults.append(f'{recipe.place}"{name}" is the name of two variants; give one of them another.')
        elif twin is not None:
            faults.append(f'{recipe.place}"{name}" and "{twin.variant.name}" are trained the same way; keep one.')
        else:
            made[name] = recipe
    _refuse_one_folder_twice(made.values(), faults)
    _refuse_no_rows(experiment, made.values(), faults)
    if faults:
        raise IikataError("\n".join(dict.fromkeys(faults)))
    if not made:
        raise IikataError(f"{experiment.at('templates')}nothing to train: `templates:` or `variants:` is needed.")
    return made


def _combined(experiment: Experiment, faults: list[str]) -> Iterator[Recipe]:
    """Yield each template with each combination of the levels."""
    factors = [list(_levels(experiment, key, levels, faults)) for key, levels in experiment.vary.items()]
    for template in map(template_name, experiment.templates):
        for combination in product(*factors):
            name = "+".join([template, *(part for _, _, part, _, _ in combination)])
            place = combination[0][4] if combination else experiment.at("templates")
            variant = Variant(name, (template,), tuple((key, level) for key, level, _, _, _ in combination))
            recipe = Recipe(variant, experiment.train, experiment.data.train, place)
            for key, _, _, value, where in combination:
                recipe = _with(recipe, key, value, where, faults)
            try:
                safe_name(name)
            except ValueError as why:
                faults.append(f'{place}the variant would be called "{name}": {why}. Name its levels: {{short: value}}.')
            yield recipe


def _named(experiment: Experiment, faults: list[str]) -> Iterator[Recipe]:
    """Yield the variants of `variants:`, each what the experiment says but for its own settings."""
    for index, given in enumerate(experiment.variants):
        place = experiment.at("variants", index)
        names = tuple(template_name(spec) for spec in given.template)
        if given.adapters:
            folders = tuple(str(absolute_path(spec, experiment.folder)) for spec in given.adapters)
            variant = Variant(given.name, names, (ELSEWHERE,))
            yield Recipe(variant, experiment.train, experiment.data.train, place, folders)
            continue
        recipe = Recipe(Variant(given.name, names), experiment.train, given.data or experiment.data.train, place)
        where = experiment.at("variants", index, "train")
        for key, value in _flat(given.train):
            if fault := _key_fault(experiment, f"train.{key}"):
                faults.append(f"{where}{fault}")
            else:
                recipe = _with(recipe, f"train.{key}", value, where, faults)
        levels = {f"train.{key}": level_text(value) for key, value in _flat(given.train)}
        levels |= {DATA: data_name(given.data)} if given.data else {}
        yield Recipe(Variant(given.name, names, tuple(levels.items())), recipe.train, recipe.data, place)


def _refuse_one_folder_twice(made: Iterable[Recipe], faults: list[str]) -> None:
    seen: dict[str, str] = {}
    for recipe, folder in ((one, folder) for one in made for folder in one.adapters):
        if (first := seen.setdefault(os.path.realpath(folder), folder)) is not folder:
            faults.append(
                f"{recipe.place}{folder}: the same folder as {first}; an adapter counts once. Take one of them out."
            )


def _refuse_no_rows(experiment: Experiment, made: Iterable[Recipe], faults: list[str]) -> None:
    """Note what needs rows to train on where there are none."""
    rows, data = "Hub id, or json / jsonl / csv / parquet file, or a list of them.", experiment.data
    if untrained := [one.variant.name for one in made if not (one.adapters or one.data)]:
        faults.append(f"{experiment.at('data')}data.train is missing, and {untrained[0]} is trained on it: {rows}")
    elif any(experiment.untuned.shots) and not data.train:
        place = experiment.at("untuned", "shots")
        faults.append(f"{place}untuned.shots: examples are rows of data.train, which is missing: {rows}")
    elif data.validation and not isinstance(data.validation, str) and not any(one.data for one in made):
        place = experiment.at("data", "validation")
        faults.append(
            f"{place}data.validation: {data.validation} rows can be held out of data.train alone; give a file."
        )


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        yield from _flat(value, f"{before}{key}.") if isinstance(value, dict) else [(f"{before}{key}", value)]


def _levels(experiment: Experiment, key: str, levels: Any, faults: list[str]) -> Iterator[Level]:
    if fault := _key_fault(experiment, key):
        faults.append(f"{experiment.at('vary', key)}{fault}")
        return
    named = isinstance(levels, dict)
    listed = list(levels.items()) if named else list(enumerate(levels)) if isinstance(levels, list) else []
    if not listed or (named and not all(isinstance(name, str) for name, _ in listed)):
        faults.append(f"{experiment.at('vary', key)}{key}: a list of values, or {{name: value}}, is allowed.")
        return
    for name, value in listed:
        place = experiment.at("vary", key, name)
        if not named and isinstance(value, dict):
            faults.append(f"{place}{key}: settings that go together need a name, {{r8: {{r: 8, alpha: 16}}}}.")
            continue
        files = value if isinstance(value, list) else (value,)
        level = str(name) if named else data_name(files) if key == DATA else level_text(value)
        short = SHORT.get(key.removeprefix("train."), "") or key.rpartition(".")[2]
        yield key, level, level if named or key == DATA or isinstance(value, str) else short + level, value, place


def _key_fault(experiment: Experiment, key: str) -> str:
    """Return what is wrong with a factor's name; "" where it is a setting that can vary."""
    if key in ("template", "templates"):
        return "the template varies through `templates:`; list them there."
    if reason := FIXED.get(key.removeprefix("train.")):
        return f"{key} cannot vary: {reason}."
    names = [name for name, _ in _flat(experiment.train.model_dump()) if name not in FIXED]
    allowed = [*(f"train.{name}" for name in names), "train.lora", DATA]
    if key in allowed:
        return ""
    return f"{key} is no setting that can vary{did_you_mean(key, allowed)}. Allowed: {', '.join(allowed)}."


def _with(recipe: Recipe, key: str, value: Any, place: str, faults: list[str]) -> Recipe:
    """Return the recipe with one setting changed."""
    try:
        if key == DATA:
            return Recipe(recipe.variant, recipe.train, TypeAdapter(Texts).validate_python(value), recipe.place)
        settings = recipe.train.model_dump()
        *path, last = key.removeprefix("train.").split(".")
        section = settings
        for part in path:
            section = section[part]
        section[last] = {**section[last], **value} if isinstance(value, dict) else value
        return Recipe(recipe.variant, type(recipe.train).model_validate(settings), recipe.data, recipe.place)
    except (ValidationError, TypeError) as error:
        said = "settings are expected there"
        if isinstance(error, ValidationError):
            wrong = error.errors()[0]
            said = allowed(wrong, tuple(key.split(".")))
            if key != DATA and wrong["loc"]:  # a part of what was given, where it is a section
                key, value = ".".join(("train", *map(str, wrong["loc"]))), wrong["input"]
        faults.append(f"{place}{key}: {level_text(value)} was seen; {said}.")
        return recipe


def level_text(value: Any) -> str:
    """Return a value as a level is written: 3e-4, not 0.0003."""
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    if value == 0 or 0.01 <= abs(value) < 1e6:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:.6e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def data_name(specs: Iterable[Any]) -> str:
    """Return what a level of the data is called: its files' names without their endings."""
    return ",".join(PurePath(str(spec)).stem for spec in specs)
