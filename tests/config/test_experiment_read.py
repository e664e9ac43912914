"""An experiment file gives an experiment, or one error that names everything wrong and where."""

import subprocess
import sys
import textwrap

import pytest

from iikata.config import explain, read
from iikata.config.other_names import OTHER_NAMES
from iikata.config.settings import Experiment
from iikata.core.errors import IikataError

SMALLEST = "data: {train: rows.jsonl}\ntemplates: alpaca\n"


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text):
        data = text if isinstance(text, bytes) else textwrap.dedent(text).encode()
        (tmp_path / "exp.yaml").write_bytes(data)
        return "exp.yaml"

    return write


def errors(path):
    with pytest.raises(IikataError) as caught:
        read(path)
    return str(caught.value).splitlines()


def test_smallest_file_takes_every_default_and_its_own_name(file):
    experiment = read(file(SMALLEST))
    assert experiment.name == "exp"
    assert experiment.templates == ("alpaca",)
    assert experiment.data.train == ("rows.jsonl",)
    assert (experiment.model.base, experiment.train.seeds) == ("smollm2", (0, 1, 2))
    assert (experiment.probes, experiment.score.primary, experiment.compare.alpha) == (None, "nll", 0.05)


def test_yaml_is_1_2(file):
    # PyYAML (YAML 1.1) reads these as the text "3e-4", False, the number 8 and a date.
    text = SMALLEST + "name: no\nmodel: {base: on, revision: 2024-01-01}\ntrain: {learning_rate: 3e-4, seeds: [010]}\n"
    experiment = read(file(text))
    assert experiment.train.learning_rate == 0.0003
    assert (experiment.name, experiment.model.base, experiment.model.revision) == ("no", "on", "2024-01-01")
    assert experiment.train.seeds == (10,)


def test_all_errors_come_at_once_with_line_and_column(file):
    path = file("""\
        # 日本語の行
        modle: {}
        data: {trian: x.json, validation: 1.5}
        templates: [dolly_ja, sub/dolly_ja.json]
        train:
          epochs: -1
          seeds: [0, 0]
          schedule: liner
          lora: {r: 1.5}
        epochs: 3
        compare: {margin: {nll: -1}}
        """)
    starts = [
        ("exp.yaml:2:1: modle: unknown setting", '(did you mean "model"?)'),
        ("exp.yaml:3:8: data.trian: unknown setting", '(did you mean "train"?)'),
        ("exp.yaml:3:35: data.validation: 1.5 was seen", "a share between 0 and 1"),
        ("exp.yaml:4:12: templates:", "dolly_ja is there twice"),
        ("exp.yaml:6:11: train.epochs: -1 was seen", "greater than or equal to 1"),
        ("exp.yaml:7:10: train.seeds: [0, 0] was seen", "0 is there twice"),
        ('exp.yaml:8:13: train.schedule: "liner" was seen', '(did you mean "linear"?)'),
        ("exp.yaml:9:13: train.lora.r: 1.5 was seen", "valid integer"),
        ("exp.yaml:10:1: epochs: unknown setting", '(did you mean "train.epochs"?)'),
        ('exp.yaml:11:19: compare.margin: {"nll": -1} was seen', "a number above 0"),
    ]
    lines = errors(path)
    assert len(lines) == len(starts)
    for line, (start, words) in zip(lines, starts, strict=True):
        assert line.startswith(start)
        assert words in line


@pytest.mark.parametrize(
    ("meant", "settings"),
    [
        ("train.learning_rate", ["train: {lr: 1e-4}"]),
        ("train.epochs", ["train: {num_train_epochs: 1}", "num_epochs: 1"]),
        ("train.batch_size", ["train: {per_device_train_batch_size: 1}"]),
        ("train.lora.alpha", ["train: {lora_alpha: 1}"]),
        ("train.lora.r", ["train: {lora: {rank: 1}}", "lora_r: 8"]),
        ("train.cutoff_len", ["train: {max_seq_length: 1}", "cutoff_length: 1", "train: {maxLength: 1}"]),
        ("generate.max_new_tokens", ["generate: {max_length: 1}"]),
        ("model.dtype", ["bf16: true"]),
        ("model.quantize", ["model: {load_in_4bit: true}"]),
        ("data.train", ["data_path: x"]),
        ("data.validation", ["val_set_size: 1"]),
        ("train.seeds", ["seed: 1", "train: {seed: 1}"]),
        ("train.lora", ["lora: {r: 8}"]),
    ],
)
def test_name_that_other_tools_use_leads_to_the_setting(file, meant, settings):
    for setting in settings:
        assert any(f'(did you mean "{meant}"?)' in line for line in errors(file(f"{SMALLEST}{setting}\n")))


def test_every_other_name_leads_to_a_setting():
    assert set(OTHER_NAMES) <= set(explain.dotted_names())


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("name：x\n" + SMALLEST, "exp.yaml:1:5: write a half-width colon"),
        (SMALLEST.replace(": ", "："), "exp.yaml:1:5: write a half-width colon"),
        ("name:x\n" + SMALLEST, "exp.yaml:1:5: write a half-width colon and a blank"),
        (SMALLEST + "train:\n　epochs: 3\n", "exp.yaml:4:1: epochs: unknown setting"),
        (SMALLEST + "train: {epochs：3}\n", "exp.yaml:3:9: train.epochs：3: unknown setting"),
    ],
)
def test_full_width_punctuation_is_named(file, text, start):
    assert any(line.startswith(start) for line in errors(file(text)))


def test_an_empty_list_is_refused_in_plain_words(file):
    said = "exp.yaml:3:16: train.seeds: [] was seen; it should have at least 1 item, not 0."
    assert said in errors(file(SMALLEST + "train: {seeds: []}\n"))


@pytest.mark.parametrize(
    ("setting", "read_as"),
    [
        ("model: {dtype: fp16}", ("float16", "none", "linear")),
        ("model: {dtype: bf16}", ("bfloat16", "none", "linear")),
        ("model: {dtype: torch.float32}", ("float32", "none", "linear")),
        ("model: {dtype: half, quantize: 8}", ("float16", "8bit", "linear")),
        ("model: {quantize: nf4}", ("auto", "4bit", "linear")),
        ("train: {schedule: constant_with_warmup}", ("auto", "none", "constant")),
    ],
)
def test_short_names_of_values_mean_what_they_mean_elsewhere(file, setting, read_as):
    experiment = read(file(f"{SMALLEST}{setting}\n"))
    assert (experiment.model.dtype, experiment.model.quantize, experiment.train.schedule) == read_as


def test_byte_order_mark_windows_lines_aliases_and_merges_are_fine(file):
    text = "\ufeffdata: {train: &t rows.jsonl}\r\ntemplates: [alpaca]\r\nprobes: *t\r\n<<: {name: merged}\r\n"
    experiment = read(file(text))
    assert (experiment.probes, experiment.name) == ("rows.jsonl", "merged")
    assert read(file(text.removeprefix("\ufeff").encode("utf-16"))).resolved() == experiment.resolved()


def test_set_overrides_the_file_and_is_read_as_yaml(file):
    overrides = [
        "train.epochs=1",
        "train.seeds=[3, 4]",
        "train.learning_rate=1e-3",
        "compare.margin=.1",
        "probes=",
    ]
    experiment = read(file(SMALLEST + "probes: p.jsonl\ntrain: {epochs: wrong}\n"), overrides)
    assert (experiment.train.epochs, experiment.train.seeds) == (1, (3, 4))
    assert (experiment.train.learning_rate, experiment.margins) == (0.001, {"nll": 0.1})
    assert experiment.probes is None


def test_several_files_are_one_level_of_the_data(file):
    files = "[[a.jsonl, sub/b.jsonl], c.jsonl]"
    recipes = read(file(SMALLEST), [f"vary={{data.train: {files}}}", "templates=[plain]"]).recipes
    assert {name: recipe.data for name, recipe in recipes.items()} == {
        "plain+a,b": ("a.jsonl", "sub/b.jsonl"),
        "plain+c": ("c.jsonl",),
    }


@pytest.mark.parametrize(
    ("levels", "told"),
    [
        ("train.epochs: 3", "train.epochs: a list of values, or {name: value}, is allowed"),
        ("train.loss_on: all", "train.loss_on: a list of values, or {name: value}, is allowed"),
        ("train.loss_on: [al]", "train.loss_on: al was seen; it should be 'completion', 'last' or 'all'"),
        ("train.lora: {a: {r: x}}", "train.lora.r: x was seen; it should be a valid integer"),
        ("data.train: [3]", "data.train: 3 was seen; it should be a valid string (put it in quotes)"),
    ],
)
def test_levels_that_are_none_are_refused(file, levels, told):
    with pytest.raises(IikataError) as caught:
        read(file(SMALLEST), [f"vary={{{levels}}}"])
    assert told in str(caught.value)


def test_a_variant_sets_what_can_vary_and_no_other(file):
    variant = "{name: own, template: plain, train: {%s}}"
    with pytest.raises(IikataError, match=r"train.seeds cannot vary: every variant has every seed"):
        read(file(SMALLEST), [f"variants=[{variant % 'seeds: [7]'}]"])
    with pytest.raises(IikataError, match=r'train.epoch is no setting that can vary \(did you mean "train.epochs"'):
        read(file(SMALLEST), [f"variants=[{variant % 'epoch: 1'}]"])
    with pytest.raises(IikataError, match=r"train.lora.1 is no setting that can vary"):
        read(file(SMALLEST), [f"variants=[{variant % 'lora: {1: 2}'}]"])
    with pytest.raises(IikataError, match=r"train.lora.r.x is no setting that can vary"):
        read(file(SMALLEST), [f"variants=[{variant % 'lora: {r: {x: 2}}'}]"])
    with pytest.raises(IikataError, match=r"variants.0: 3 was seen; settings are allowed: name, template, train, data"):
        read(file(SMALLEST), ["variants=[3]"])
    with pytest.raises(IikataError, match=r'variants.0.tran: unknown setting .did you mean "train"'):
        read(file(SMALLEST), ["variants=[{name: own, template: plain, tran: {}}]"])
    with pytest.raises(IikataError, match=r'variants.0.adapter: unknown setting .did you mean "adapters"'):
        read(file(SMALLEST), ["variants=[{name: own, template: plain, adapter: [a]}]"])


def test_import_needs_neither_torch_nor_pyyaml():
    code = "import sys, iikata.config; print([m for m in ('torch', 'yaml', 'numpy') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_every_setting_has_its_own_doc_string():
    def undocumented(section, name=""):
        for key, field in section.model_fields.items():
            if not field.description:
                yield f"{name}{key}"
            if hasattr(field.annotation, "model_fields"):
                yield from undocumented(field.annotation, f"{name}{key}.")

    assert list(undocumented(Experiment)) == []
