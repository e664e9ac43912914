"""Write a model's experiment files; the rates and the margin that choose.yaml led to are filled in.

    python study/declare.py               the files of all models

Each model has choose.yaml (a rate for each template, on rows of its own), pilot.yaml (how large the planted effects
will be), test.yaml (what is tested), planted.yaml (those effects), again.yaml (six more seeds of one template) and for
one model loss.yaml. Until chosen.json is there, all but the first stand at the middle of the grid, and study/run.py
refuses to run them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
GRID = (1e-4, 3e-4, 1e-3)
CHOOSING, TESTING, MORE = (100, 101), (0, 1, 2, 3, 4, 5), (6, 7, 8, 9, 10, 11)
"""Seeds. None of those that choose is tested."""
CHOICE_MARGIN, CONTAINS_MARGIN = 0.03, 0.10
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


def _head(model: str, part: str, about: str) -> str:
    return f"# {about}\nname: study-{model}-{part}\nmodel: {{base: ../inputs/models/{model}.gguf}}\n"


def _data(study: Study, train: str, held_out: str) -> str:
    folder = f"../inputs/{study.language}"
    columns = "columns: {cluster: cluster}"
    return f"data: {{train: {folder}/{train}.jsonl, validation: {folder}/{held_out}.jsonl, {columns}}}\n"


def _list(items: tuple[Any, ...]) -> str:
    return f"[{', '.join(map(str, items))}]"


def _train(seeds: tuple[int, ...], rate: str = "") -> str:
    more = f", learning_rate: {rate}" if rate else ""
    return (
        f"train: {{seeds: {_list(seeds)}, epochs: 2, batch_size: 32{more}, schedule: linear, cutoff_len: 512,\n"
        "  loss_on: completion, lora: {r: 8, alpha: 16, dropout: 0.0}}\n"
    )


def _others(study: Study) -> str:
    """Let an arm of the control's template be prompted with all the others too."""
    others = tuple(one for one in study.templates if name_of(one) != study.control)
    return f"prompt_only: {_list((*others, study.asked))}\n"


def _asked(model: str) -> str:
    study, chosen = STUDIES[model], chosen_of(model)
    nll = chosen["margin"]["nll"] if chosen else "10% of gain"
    margins = [f"nll: {nll}"] * (nll is not None) + [f"choice: {CHOICE_MARGIN}", f"contains: {CONTAINS_MARGIN}"]
    return (
        f"generate: {{samples: 8, temperature: 0.9, max_new_tokens: {study.tokens}}}     # the post's temperature\n"
        f"probes: ../inputs/{study.language}/probes.jsonl\n"
        "score:\n"
        "  primary: nll                     # and choice beside it: PLAN.md\n"
        "  metrics: [nll, choice, choice_norm, contains, finish, leakage, length, repetition]\n"
        f"compare: {{factor: variant, margin: {{{', '.join(margins)}}}}}\n"
    )


def choose(model: str) -> str:
    study = STUDIES[model]
    return (
        _head(model, "choose", "Which learning rate each template likes best, and what tuning gains: the pilot.")
        + _data(study, "choose-train", "choose")
        + f"templates: {_list(study.templates)}\n"
        + f"vary: {{train.learning_rate: {_list(tuple(map(written, GRID)))}}}\n"
        + _train(CHOOSING)
        + f"untuned: {{shots: [0, 4], draws: {study.draws}}}\n"
        + "score: {metrics: [nll]}\ncompare: {factor: template, others: each}\n"
    )


def pilot(model: str) -> str:
    study = STUDIES[model]
    rate, folder = rates_of(model)[study.control], f"../inputs/{study.language}"
    variants = [f"  - {{name: clean, template: {study.control}}}\n"]
    variants += [
        f"  - {{name: shuffled-{n}, template: {study.control}, data: [{folder}/choose-shuffled-{n}.jsonl]}}\n"
        for n in PLANTED
    ]
    return (
        _head(model, "pilot", "What the planted effects will be: answers of 10% and 30% of the rows exchanged.")
        + _data(study, "choose-train", "choose")
        + f"variants:\n{''.join(variants)}"
        + _train(CHOOSING, rate)
        + "score: {metrics: [nll]}\ncompare: {factor: variant}\n"
    )


def test(model: str) -> str:
    study, rates = STUDIES[model], rates_of(model)
    lines = [
        f"  - {{name: {name_of(one)}, template: {one}, train: {{learning_rate: {rates[name_of(one)]}}}}}\n"
        for one in study.templates
    ]
    mixed = f"template: {_list(study.templates)}, train: {{learning_rate: {mixed_rate(rates)}}}"
    lines.append(f"  - {{name: mixed, {mixed}}}\n")
    return (
        _head(model, "test", "What is tested: each template at its own best rate, and a mixture of the four.")
        + _data(study, "train", "held-out")
        + f"variants:\n{''.join(lines)}"
        + f"prompt_only: [{study.asked}]\n"
        + _train(TESTING)
        + f"untuned: {{shots: [0, 4], draws: {study.draws}}}\n"
        + _asked(model)
    )


def planted(model: str) -> str:
    # A file of its own: the untuned model's examples are drawn from all rows of a file's levels.
    study, folder = STUDIES[model], f"../inputs/{STUDIES[model].language}"
    variants = [
        f"  - {{name: shuffled-{n}, template: {study.control}, data: [{folder}/shuffled-{n}.jsonl]}}\n" for n in PLANTED
    ]
    return (
        _head(model, "planted", "The positive control: answers of 10% and 30% of the rows exchanged.")
        + _data(study, "train", "held-out")
        + f"variants:\n{''.join(variants)}"
        + _others(study)
        + _train(TESTING, rates_of(model)[study.control])
        + _asked(model)
    )


def again(model: str) -> str:
    study = STUDIES[model]
    return (
        _head(model, "again", "Six more seeds of one template: with test.yaml's six they are the negative control.")
        + _data(study, "train", "held-out")
        + f"variants: [{{name: again, template: {study.control}}}]\n"
        + _others(study)
        + _train(MORE, rates_of(model)[study.control])
        + _asked(model)
    )


def loss(model: str) -> str:
    study, rates = STUDIES[model], rates_of(model)
    return (
        _head(model, "loss", "What the loss counts: the answers alone, or the prompts too as the post did.")
        + _data(study, "train", "held-out")
        + f"templates: [{study.control}]\nvary: {{train.loss_on: [completion, all]}}\n"
        + _train(TESTING, rates[study.control])
        + "score: {metrics: [nll]}\ncompare: {factor: train.loss_on}\n"
    )


def files(model: str) -> dict[str, str]:
    """Return the text of each of a model's experiment files."""
    made = {part.__name__: part(model) for part in (choose, pilot, test, planted, again)}
    return made | ({"loss": loss(model)} if STUDIES[model].loss else {})


def write(model: str) -> None:
    (HERE / model).mkdir(exist_ok=True)
    for part, text in files(model).items():
        (HERE / model / f"{part}.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    for each in STUDIES:
        write(each)
