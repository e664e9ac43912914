"""Write a model's experiment files; the rates and the margin that choose.yaml led to are filled in.

    python study/declare.py               the files of all models

Each model has choose.yaml (a rate for each template, on rows of its own), pilot.yaml (how large the planted effects
will be), test.yaml (what is tested), planted.yaml (those effects), again.yaml (six more seeds of one template) and for
one model loss.yaml. Until chosen.json is there, all but the first stand at the middle of the grid, and study/run.py
refuses to run them.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

HERE = Path(__file__).resolve().parent
GRID = (1e-4, 3e-4, 1e-3)
CHOOSING, TESTING, MORE = (100, 101), (0, 1, 2, 3, 4, 5), (6, 7, 8, 9, 10, 11)
"""Seeds. None of those that choose is tested."""
CHOICE_MARGIN, CONTAINS_MARGIN = 0.03, 0.10
LONG = 20
"""Characters from which on an answer counts as long."""
PLANTED = (10, 30)
"""Per cent of the rows whose answers are another row's."""


@dataclass(frozen=True)
class Study:
    """What differs between the models."""

    language: str
    templates: tuple[str, ...]
    asked: str
    """The post's wording that was sampled and never trained."""
    control: str
    """The template of the planted effects and of the negative control."""
    tokens: int
    """Longest answer."""
    draws: int = 16
    """Sets of examples that the untuned model is shown."""
    loss: bool = False
    """Whether what the loss counts is tested too."""


ENGLISH = ("alpaca", "../templates/dolly_en_rinna.json", "native", "plain"), "../templates/alpaca_asked.json", "alpaca"
STUDIES = {
    "smollm2": Study("en", *ENGLISH, 48, draws=6, loss=True),
    "gemma": Study(
        "ja",
        ("dolly_ja", "dolly_ja_rinna", "../templates/gemma_chat.jinja", "plain"),
        "dolly_ja_asked",
        "dolly_ja",
        96,
    ),
    "qwen": Study("en", *ENGLISH, 48),
}


def name_of(template: str) -> str:
    return Path(template).stem


def chosen_of(model: str) -> dict[str, Any] | None:
    """Return what the rule chose (study/rates.py), None before that."""
    path = HERE / model / "chosen.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def rates_of(model: str) -> dict[str, str]:
    """Return each template's learning rate, as text; the middle of the grid where none is chosen yet."""
    chosen = chosen_of(model)
    study = STUDIES[model]
    return chosen["rates"] if chosen else {name_of(one): written(GRID[1]) for one in study.templates}


def written(rate: float) -> str:
    """Return a learning rate as it stands in a file: 3e-4."""
    mantissa, _, exponent = f"{rate:e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def mixed_rate(rates: dict[str, str]) -> str:
    """Return the mixture's rate: the lower median of its templates'."""
    return sorted(rates.values(), key=float)[(len(rates) - 1) // 2]


HEAD = """\
# $about
name: study-$model-$part
model: {base: ../inputs/models/$model.gguf}
data: {train: $folder/$train.jsonl, validation: $folder/$held_out.jsonl, columns: {cluster: cluster}}
"""
TRAIN = """\
train: {seeds: $seeds, epochs: 2, batch_size: 32$rate, schedule: linear, cutoff_len: 512,
  loss_on: completion, lora: {r: 8, alpha: 16, dropout: 0.0}}
"""
UNTUNED = "untuned: {shots: [0, 4], draws: $draws}\n"
ASKED = """\
generate: {samples: 8, temperature: 0.9, max_new_tokens: $tokens}     # the post's temperature
probes: $folder/probes.jsonl
score:
  primary: nll                     # and choice beside it: PLAN.md
  metrics: [nll, choice, choice_norm, contains, finish, leakage, length, repetition]
compare: {factor: variant, margin: {$margins}}
"""
LOSS = "score: {metrics: [nll]}\ncompare: {factor: $factor}\n"


@dataclass(frozen=True)
class Part:
    """What differs between a model's experiment files; `recipes` and `ends` with fields as $name."""

    about: str
    recipes: str
    seeds: tuple[int, ...]
    ends: str
    rows: tuple[str, str] = ("train", "held-out")
    factor: str = "variant"
    rated: bool = True
    """Whether all arms have the control's rate."""


ROWS = ("choose-train", "choose")
"""Of what chooses; all of them among the training rows of the test."""
# `planted` is a file of its own: the untuned model's examples are drawn from all rows of a file's levels.
PARTS = {
    "choose": Part(
        "Which learning rate each template likes best, and what tuning gains: the pilot.",
        "templates: $templates\nvary: {train.learning_rate: $grid}\n",
        CHOOSING, UNTUNED + LOSS, ROWS, "template, others: each", rated=False,
    ),
    "pilot": Part(
        "What the planted effects will be: answers of 10% and 30% of the rows exchanged.",
        "variants:\n  - {name: clean, template: $control}\n${tried}",
        CHOOSING, LOSS, ROWS,
    ),
    "test": Part(
        "What is tested: each template at its own best rate, and a mixture of the four.",
        "variants:\n${own}prompt_only: [$asked]\n",
        TESTING, UNTUNED + ASKED, rated=False,
    ),
    "planted": Part(
        "The positive control: answers of 10% and 30% of the rows exchanged.",
        "variants:\n${exchanged}prompt_only: $others\n",
        TESTING, ASKED,
    ),
    "again": Part(
        "Six more seeds of one template: with test.yaml's six they are the negative control.",
        "variants: [{name: again, template: $control}]\nprompt_only: $others\n",
        MORE, ASKED,
    ),
    "loss": Part(
        "What the loss counts: the answers alone, or the prompts too as the post did.",
        "templates: [$control]\nvary: {train.loss_on: [completion, all]}\n",
        TESTING, LOSS, factor="train.loss_on",
    ),
}  # fmt: skip


def _list(items: Iterable[Any]) -> str:
    return f"[{', '.join(map(str, items))}]"


def _fields(model: str) -> dict[str, Any]:
    """Return what a model's files say beside what their part says."""
    study, rates, chosen = STUDIES[model], rates_of(model), chosen_of(model)
    folder, control = f"../inputs/{study.language}", study.control

    def variant(name: str, more: str, template: str = control) -> str:
        return f"  - {{name: {name}, template: {template}, {more}}}\n"

    def exchanged(rows: str) -> str:
        """Return the planted effects, whose rows lie in files of these names."""
        return "".join(variant(f"shuffled-{n}", f"data: [{folder}/{rows}-{n}.jsonl]") for n in PLANTED)

    own = [(one, name_of(one)) for one in study.templates]
    rated = [(name, rates[name], one) for one, name in own]
    rated.append(("mixed", mixed_rate(rates), _list(study.templates)))
    nll = chosen["margin"]["nll"] if chosen else "10% of gain"
    margins = [f"nll: {nll}"] * (nll is not None) + [f"choice: {CHOICE_MARGIN}", f"contains: {CONTAINS_MARGIN}"]
    return {
        **{name: getattr(study, name) for name in ("asked", "control", "draws", "tokens")},
        "model": model,
        "folder": folder,
        "templates": _list(study.templates),
        "others": _list([*(one for one, name in own if name != control), study.asked]),
        "grid": _list(map(written, GRID)),
        "own": "".join(variant(name, f"train: {{learning_rate: {rate}}}", of) for name, rate, of in rated),
        "tried": exchanged("choose-shuffled"),
        "exchanged": exchanged("shuffled"),
        "margins": ", ".join(margins),
    }


def files(model: str) -> dict[str, str]:
    """Return the text of each of a model's experiment files."""
    fields, made = _fields(model), {}
    for name, part in PARTS.items():
        if name != "loss" or STUDIES[model].loss:
            train, held_out = part.rows
            rate = f", learning_rate: {rates_of(model)[STUDIES[model].control]}" if part.rated else ""
            own = {"about": part.about, "part": name, "train": train, "held_out": held_out, "factor": part.factor}
            text = Template(HEAD + part.recipes + TRAIN + part.ends)
            made[name] = text.substitute(fields, **own, seeds=_list(part.seeds), rate=rate)
    return made


def write(model: str) -> None:
    (HERE / model).mkdir(exist_ok=True)
    for part, text in files(model).items():
        (HERE / model / f"{part}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for each in STUDIES:
        write(each)
