"""An experiment file gives an experiment, or one error that names everything wrong and where."""

import re
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iikata.config import explain, read
from iikata.config.document import load, position
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


def errors(path, *overrides):
    with pytest.raises(IikataError) as caught:
        read(path, overrides)
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
        ("exp.yaml:3:1: data.train is missing", "Hub id"),
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
    ("setting", "place", "words"),
    [
        ("prompt_only: alpaca", "3:14", "alpaca is there twice"),
        ("score: {primary: bleu}", "3:8", '"bleu" must be among'),
        ("score: {metrics: [nll, nll]}", "3:18", "nll is there twice"),
        ("compare: {margin: {nl: 0.1}}", "3:10", '"nl" is not among'),
        ("train: {learning_rate: '3e-4'}", "3:24", "valid number"),
        ("train: {learning_rate: .inf}", "3:24", "a finite number"),
        ("train: {epochs: true}", "3:17", "valid integer"),
        ("train: {lora: {target_modules: al-linear}}", "3:32", "auto, all-linear or a list"),
        ("train: {seeds: []}", "3:16", "at least 1 item"),
        ("train: {seeds: 2}", "3:16", "a list is needed: [2] for the seed 2; [0, ..., 1] for 2 seeds"),
        ("model: {dtype: fp8}", "3:16", "'auto', 'bfloat16', 'float16' or 'float32'"),
        ("name: ../up", "3:7", "part of a file name"),
        ("prompt_only: [a@b]", "3:14", "part of a file name"),
        ("generate:", "3:1", "samples, temperature"),
        ("generate: {top_p: 0}", "3:19", "greater than 0"),
        ("model: {revision: 1e10}", "3:19", "in quotes"),
        ("model: {revision: !mine x}", "3:19", "the tag !mine"),
        ("train: {epochs: !!int x}", "3:17", "cannot be read as int"),
        ("train: {epochs: 1, epochs: 2}", "3:20", 'found duplicate key "epochs"'),
        ("? [1]\n: 2", "1:1", "should be strings"),
        ('probes: "a\\nb"', "3:9", "text on one line"),
        ('probes: "\\ud800"', "3:9", "as a unicode string"),
    ],
)
def test_wrong_value_is_named_at_its_place(file, setting, place, words):
    assert any(
        line.startswith(f"exp.yaml:{place}: ") and words in line for line in errors(file(f"{SMALLEST}{setting}\n"))
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("# nothing but this\n", "the file is empty"),
        ("[1, 2]", "made of settings"),
        ("data:\n\ttrain: x", "exp.yaml:2:1: YAML syntax"),
        ("templates: *.json", "exp.yaml:1:12: YAML syntax"),
        ("data: x: y", 'holds ": " in quotes'),
        ("a: 'open", "exp.yaml:1:9: YAML syntax"),
        ("---\na: 1\n---\nb: 2", "exp.yaml:3:1: YAML syntax"),
        ("a: \x01", "exp.yaml:1:4: the control character"),
        ("- " * 2000, "nested too deeply"),
        ("#" * 200_001, "larger than 200,000 bytes"),
        ("name: x\ndata: 日本語".encode("cp932"), "exp.yaml:2:7: not UTF-8 (it can be read as cp932)"),
        ("data: 日本語".encode("utf-16-le"), "(it can be read as utf-16-le)"),
    ],
)
def test_file_that_is_no_experiment_is_refused_in_one_line(file, text, words):
    (line,) = errors(file(text))
    assert words in line


@pytest.mark.parametrize(
    ("setting", "meant"),
    [
        ("train: {lr: 1e-4}", "train.learning_rate"),
        ("train: {num_train_epochs: 1}", "train.epochs"),
        ("num_epochs: 1", "train.epochs"),
        ("train: {per_device_train_batch_size: 1}", "train.batch_size"),
        ("train: {lora_alpha: 1}", "train.lora.alpha"),
        ("train: {lora: {rank: 1}}", "train.lora.r"),
        ("lora_r: 8", "train.lora.r"),
        ("train: {max_seq_length: 1}", "train.cutoff_len"),
        ("cutoff_length: 1", "train.cutoff_len"),
        ("train: {maxLength: 1}", "train.cutoff_len"),
        ("generate: {max_length: 1}", "generate.max_new_tokens"),
        ("bf16: true", "model.dtype"),
        ("model: {load_in_4bit: true}", "model.quantize"),
        ("data_path: x", "data.train"),
        ("val_set_size: 1", "data.validation"),
        ("seed: 1", "train.seeds"),
        ("train: {seed: 1}", "train.seeds"),
        ("lora: {r: 8}", "train.lora"),
    ],
)
def test_name_that_other_tools_use_leads_to_the_setting(file, setting, meant):
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


def test_missing_file_and_folder_are_told_apart(file, tmp_path):
    file(SMALLEST)
    assert errors("exq.yaml") == ['exq.yaml: no such file (did you mean "exp.yaml"?). Name another file.']
    assert "a folder" in errors(tmp_path)[0]


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


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.epoch=1", '(did you mean "epochs"?)'),
        ("epochs=1", '(did you mean "train.epochs"?)'),
        ("trian.epochs=1", '(did you mean "train"?)'),
        ("train.epochs=x", '"x" was seen; it should be a valid integer'),
        ("templates.0=x", "templates holds no settings"),
        ("epochs", "as in --set train.epochs=1"),
        ("generate={samples: 0}", "generate.samples: 0 was seen"),
    ],
)
def test_wrong_set_is_named_as_it_was_typed(file, override, words):
    (line,) = errors(file(SMALLEST + "generate: {samples: 3}\n"), override)
    assert line.startswith(f"--set {override}: ")
    assert words in line


def test_set_with_broken_yaml_says_so(file):
    assert errors(file(SMALLEST), "train.seeds=[1")[0].startswith('--set "train.seeds=[1":1:3: YAML syntax')


@settings(deadline=None)
@given(st.text(alphabet="ab:[]{}-&*!#'\"\n\t ,1.\\%日|>?", max_size=40))
def test_any_text_gives_an_experiment_or_an_iikata_error(text):
    try:
        values = load(text, "exp.yaml")
        seen = [f"exp.yaml:{position(values, (key,))}" for key in values] if isinstance(values, dict) else []
    except IikataError as error:
        seen = [str(error)]
    assert all(re.match(r"exp\.yaml:\d+:\d+", place) for place in seen)


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
