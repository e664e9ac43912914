"""A broken experiment is refused at its place with the cure by every command, and leaves nothing behind."""

import io
import os
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusal import files_in, refused
from ruamel.yaml import YAML

from iikata.config import read
from iikata.config.read import parse
from iikata.core.errors import IikataError
from tiny_experiment import write_files

SMALLEST = "data: {train: train.jsonl}\ntemplates: [alpaca_short]\n"
COMMANDS = (["run"], ["plan"], ["check"], ["encode"], ["run", "--force"], ["check", "--json"])


def with_line(line: str) -> str:
    """Return the smallest experiment with a third line."""
    return f"{SMALLEST}{line}\n"


def bomb(levels: int = 9) -> str:
    """Return nested aliases that stand for 10 ** levels values."""
    names = [f"n{i}" for i in range(levels + 1)]
    steps = [f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in pairwise(names)]
    return "n0: &n0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(steps)


NOT_YAML = {
    "empty": ("", "exp.yaml:1:1", "the file is empty", "`data:` and `templates:` are needed"),
    "only_a_mark": (b"\xef\xbb\xbf", "exp.yaml:1:1", "the file is empty"),
    "null": ("~", "exp.yaml:1:1", "the file is empty"),
    "a_list": ("- data\n- templates\n", "exp.yaml:1:1", "a line each, as in `name: first`"),
    "prose": ("Please train my model.\nThank you.", "exp.yaml:1:1", "made of settings"),
    "tab": ("data:\n\ttrain: train.jsonl\n", "exp.yaml:2:1", "Indent with spaces, not tabs"),
    "open_quote": ("name: 'tiny\ndata: {train: x}\n", "exp.yaml:3:1", "Check the quotes"),
    "open_list": ("templates: [alpaca\ndata: {train: x}\n", "exp.yaml:2:5", "YAML syntax", "Check"),
    "closed_twice": (with_line("train: {seeds: [0]]}"), "exp.yaml:3:19", "Check"),
    "two_colons": ("data: train: x\n", "exp.yaml:1:12", 'Put text that holds ": " in quotes'),
    "wild_indent": ("data:\n    train: x\n  validation: 1\n", "exp.yaml:3:3", "Check the indentation"),
    "star": ("templates: *.json\n", "exp.yaml:1:12", "quotes"),
    "at": ("data: {train: @mine}\n", "exp.yaml:1:15", "in quotes"),
    "no_anchor": (with_line("probes: *gone"), "exp.yaml:3:9", "Put text that begins with * in quotes"),
    "two_documents": ("---\na: 1\n---\nb: 2\n", "exp.yaml:3:1", "one experiment a file"),
    "bad_escape": (with_line(r'name: "\q"'), "exp.yaml:3:9", "Check"),
    "alias_bomb": (bomb(), "exp.yaml:2:1: n1: unknown setting"),
    "anchor_in_itself": ("a: &a [*a]\n", "exp.yaml:1:1: a: unknown setting"),
    "deep_lists": ("a: " + "[" * 600 + "]" * 600, "exp.yaml:1:1", "nested too deeply"),
    "deep_block": ("".join(" " * i + "a:\n" for i in range(500)), "exp.yaml:1:1", "nested too deeply"),
    "many_values": (with_line(f"train: {{seeds: [{'1, ' * 20_000}]}}"), "exp.yaml:3:16", "1 is there twice"),
    "huge": (with_line("# " + "x" * 1_100_000), "exp.yaml", "larger than 200,000 bytes", "Give an experiment file"),
    "escape_code": ("name: \x1b[31mred\n", "exp.yaml:1:7", "control character", "remove it"),
    "shift_jis": (with_line("name: 日本語").encode("cp932"), "exp.yaml:3:7", "cp932", "save it as UTF-8"),
    "latin_1": (with_line("name: caf\xe9").encode("latin-1"), "exp.yaml:3:10", "save it as UTF-8"),
    "torn_character": (with_line("name: 日本語").encode()[:-2], "exp.yaml:3:13", "not UTF-8", "save it as UTF-8"),
}

WRONG = {
    "unknown_key": ("modle: {}", "exp.yaml:3:1: modle: unknown setting", 'did you mean "model"?'),
    "misspelt_elsewhere": ("epoch: 3", "exp.yaml:3:1: epoch", 'did you mean "train.epochs"?'),
    "number_for_key": ("1: x", "exp.yaml:3:1: 1: ", "should be strings"),
    "endless_key": (f"{'k' * 900}: x", "exp.yaml:3:1: kkk", "unknown setting", "allowed here"),
    "hidden_key": ('"na\\u202eme\\x1b": x', "exp.yaml:3:1: na", "unknown setting"),
    "key_twice": ("name: a\nname: b", 'exp.yaml:4:1: YAML syntax: found duplicate key "name"', "Keep one"),
    "key_twice_below": ("train: {epochs: 1, epochs: 2}", 'exp.yaml:3:20: YAML syntax: found duplicate key "epochs"'),
    "list_for_key": ("? [a]\n: b", "exp.yaml:1:1: the experiment", "should be strings"),
    "python_object": ("name: !!python/object/apply:os.system [ls]", "exp.yaml:3:7", "Leave it out"),
    "tag_on_a_key": ("!secret name: x", "exp.yaml:3:1", "the tag !secret is not used here. Leave it out"),
    "empty_int": ("train: {epochs: !!int ''}", "exp.yaml:3:17", "cannot be read as int. Put text in quotes"),
    "no_bool": ("train: {epochs: !!bool perhaps}", "exp.yaml:3:17", "cannot be read as bool"),
    "hex_without_end": (f"train: {{epochs: 0x{'f' * 5000}}}", "exp.yaml:3:17", "cannot be read as int"),
    "digits_without_end": (f"train: {{epochs: {'9' * 5000}}}", "exp.yaml:3:17", "cannot be read as int"),
    "model_is_text": ("model: smollm2", "exp.yaml:3:8: model", "settings are allowed: base, revision"),
    "lora_is_a_number": ("train: {lora: 8}", "exp.yaml:3:15: train.lora", "settings are allowed: r, alpha"),
    "generate_is_nothing": ("generate:", "exp.yaml:3:1: generate: nothing was seen", "settings are allowed: samples"),
    "probes_is_a_list": ("probes: [p.jsonl]", "exp.yaml:3:9: probes", "a valid string"),
    "prompt_only_of_maps": ("prompt_only: [{a: 1}]", "exp.yaml:3:15: prompt_only.0", "a valid string"),
    "seed_is_text": ("train: {seeds: [0, one]}", "exp.yaml:3:20: train.seeds.1", "it should be a valid integer"),
    "seed_beyond": ("train: {seeds: [4294967296]}", "exp.yaml:3:17: train.seeds.0", "less than 4294967296"),
    "epochs_true": ("train: {epochs: true}", "exp.yaml:3:17", "it should be a valid integer"),
    "epochs_beyond": ("train: {epochs: 9999999999}", "exp.yaml:3:17", "less than 2147483648"),
    "rate_in_quotes": ("train: {learning_rate: '3e-4'}", "exp.yaml:3:24", "valid number"),
    "no_seeds": ("train: {seeds: []}", "exp.yaml:3:16", "at least 1 item"),
    "seeds_counted": ("train: {seeds: 2}", "exp.yaml:3:16", "[2] for the seed 2; [0, ..., 1] for 2 seeds"),
    "dtype_unknown": ("model: {dtype: fp8}", "exp.yaml:3:16", "'auto', 'bfloat16', 'float16' or 'float32'"),
    "no_probability": ("generate: {top_p: 0}", "exp.yaml:3:19", "greater than 0"),
    "revision_read_as_number": ("model: {revision: 1e10}", "exp.yaml:3:19", "in quotes"),
    "rate_nan": ("train: {learning_rate: .nan}", "exp.yaml:3:24", "a finite number"),
    "modules_of_lists": (
        "train: {lora: {target_modules: [[a]]}}",
        "exp.yaml:3:32",
        "auto, all-linear or a list of module names",
    ),
    "modules_misspelled": ("train: {lora: {target_modules: al-linear}}", "exp.yaml:3:32", "auto, all-linear or a list"),
    "margin_of_nothing": ("compare: {margin: {nll: }}", "exp.yaml:3:19: compare.margin", "a number above 0"),
    "margin_of_a_stranger": ("compare: {margin: {bleu: 1}}", "exp.yaml:3:10", "is not among score.metrics (nll"),
    **{
        f"name_{name}": (f"name: {name}", "exp.yaml:3:7: name", "part of a file name is allowed")
        for name in ("../up", "/etc/passwd", '".."', "a\\b", "con|x", "tiny.", "--force", '"a\\u202etxt.b"')
    },
    "name_long": (f"name: {'n' * 81}", "exp.yaml:3:7: name", "at most 80 characters"),
    "name_long_in_bytes": (f"name: {'😀' * 60}", "exp.yaml:3:7: name", "200 bytes in UTF-8"),
    "template_dots": ("prompt_only: [..]", "exp.yaml:3:14: prompt_only", '".." cannot'),
    "template_long": (f"prompt_only: [{'t' * 101}]", "exp.yaml:3:14: prompt_only", "part of a file name"),
    "template_twice": ("prompt_only: [../x/alpaca_short.json]", "exp.yaml:3:14", "alpaca_short is there twice"),
    "template_two_lines": ('prompt_only: ["a\\nb"]', "exp.yaml:3:15", "text on one line"),
    "lone_surrogate": ('probes: "\\ud800"', "exp.yaml:3:9", "as a unicode string"),
    **{
        f"judge_{url}": (
            f'score: {{judge: {{url: "{url}", model: m}}}}',
            "exp.yaml:3:22: score.judge.url",
            "http://HOST/v1 or https://HOST/v1 is allowed, without user, ? or #; the key goes into the environment "
            "variable IIKATA_JUDGE_KEY",
        )
        for url in (
            *("https://me:sk-12345678@h/v1", "https://h/v1?api-key=sk-12345678", "https://h/v1#sk-12345678"),
            *("file:///etc/passwd", "http:///v1", "http://h:99999/v1", "http://h/v1\\r\\nX: y"),
        )
    },
    "metric_twice": ("score: {metrics: [nll, nll]}", "exp.yaml:3:18", "nll is there twice"),
    "primary_absent": ("score: {primary: bleu}", "exp.yaml:3:8", '"bleu" must be among score.metrics'),
    "metric_of_elsewhere": ("score: {metrics: [bleu]}", 'score.metrics: metric "bleu" is unknown', '"chrf"'),
    "primary_left_out": ("score: {metrics: [contains]}", "score.primary: nll decides", "not among score.metrics"),
    "metric_unknown": ("score: {metrics: [nll, chrff]}", 'score.metrics: metric "chrff" is unknown', '"chrf"?'),
    "metric_no_module": ("score: {metrics: [nll, 'no.such:thing']}", "score.metrics", 'Write "package.module:name"'),
    "metric_no_name": ("score: {metrics: [nll, 'json:nothing']}", "score.metrics", "has no attribute 'nothing'"),
    "metric_function": ("score: {metrics: [nll, 'json:dumps']}", "score.metrics", "must be a metric"),
    "metric_needs_more": ("score: {metrics: [nll, 'subprocess:Popen']}", "score.metrics", "must be a metric"),
    "held_out_list": ("data: {train: x, validation: [1]}", "exp.yaml:1:30: data.validation", "a number of rows"),
    "no_train": ("data: {}", "exp.yaml:1:7: data.train is missing", "Hub id"),
    "no_template": ("templates: []", "exp.yaml:1:12: ", "nothing to train"),
    "column_twice": (
        "data: {train: x, columns: {output: input}}",
        "exp.yaml:1:27: data.columns",
        "input is there twice",
    ),
}

SET = {
    "no_equals": ("train.epochs", "a setting and a value are needed, as in --set train.epochs=1"),
    "no_name": ("=1", "as in --set train.epochs=1"),
    "unknown": ("train.epoch=1", 'did you mean "epochs"?'),
    "elsewhere": ("epochs=1", '(did you mean "train.epochs"?)'),
    "section_misspelt": ("trian.epochs=1", '(did you mean "train"?)'),
    "below": ("generate={samples: 0}", "generate={samples: 0}: generate.samples: 0 was seen"),
    "not_a_section": ("templates.0=x", "templates holds no settings; give all of it"),
    "too_deep": ("train.epochs.more=1", "train.epochs", "it should be a valid integer"),
    "wrong_type": ("train.epochs=many", "it should be a valid integer"),
    "broken_yaml": ("train.seeds=[1", "YAML syntax", "Check"),
    "bomb": (f"train.seeds={{{bomb().replace(chr(10), ', ')}}}", "train.seeds: {", "it should be a list"),
    "tag": ("name=!!python/object:os.system x", "Leave it out"),
    "control": ("name=a\x1bb", "control character", "remove it"),
    "endless": ("name=" + "x" * 100_000, "at most 80 characters"),
    "up": ("name=../../up", "part of a file name"),
    "nothing_for_data": ("data=", "data: nothing was seen", "settings are allowed: train"),
}


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with rows and probes, in which the commands run."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    return tmp_path


@pytest.fixture
def refuse(workplace, capsys, tally):
    """Refuse the experiment by a command, and see that nothing was written by it."""

    def _refuse(content, command, *said):
        data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        (workplace / "exp.yaml").write_bytes(data)
        before = files_in(workplace)
        tally("inputs tried")
        message = refused([command[0], "exp.yaml", *command[1:]], capsys, *said)
        assert files_in(workplace) == before
        assert not (workplace / "runs" / "exp").exists()
        return message

    return _refuse


def command_of(name: str) -> list[str]:
    """Return one of the commands, so that all of them meet broken files."""
    return COMMANDS[sum(name.encode()) % len(COMMANDS)]


@pytest.mark.parametrize("name", NOT_YAML)
def test_file_that_is_no_experiment_is_refused_at_its_place(refuse, name):
    content, *said = NOT_YAML[name]
    refuse(content, command_of(name), *said)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_setting_is_refused_at_its_place(refuse, name):
    line, *said = WRONG[name]
    first, second = SMALLEST.splitlines()
    whole = {"data": f"{line}\n{second}\n", "templates": f"{line}\n{first}\n"}.get(line.partition(":")[0])
    message = refuse(whole or with_line(line), command_of(name), *said)
    assert "sk-12345678" not in message


@pytest.mark.parametrize("name", SET)
def test_wrong_set_is_refused_as_it_was_typed(refuse, name):
    override, *said = SET[name]
    refuse(SMALLEST, [*command_of(name), "--set", override], "--set", *said)


def test_hundreds_of_faults_are_told_on_one_screen(refuse):
    message = refuse(
        SMALLEST + "".join(f"k{i}: 1\n" for i in range(500)), ["check"], "exp.yaml:3:1: k0", "480 more like"
    )
    assert len(message.splitlines()) == 21


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda path: path.mkdir(), ["no experiment.yaml in this folder"]),
        (os.mkfifo, ["a pipe or a device", "Give an experiment file"]),
        (lambda path: path.symlink_to("/dev/zero"), ["a pipe or a device", "Give an experiment file"]),
        (lambda path: path.symlink_to("/dev/null"), ["a pipe or a device", "Give an experiment file"]),
        (lambda path: path.symlink_to(path), ["cannot be read", "Give an experiment file"]),
        (lambda path: path.symlink_to("gone.yaml"), ["a link to gone.yaml", "Give an experiment file"]),
        (lambda path: None, ["exp.yaml: no such file"]),
    ],
    ids=["folder", "pipe", "zero", "null", "link_to_itself", "link_to_nothing", "nothing"],
)
def test_what_is_no_file_is_refused_at_once(workplace, capsys, tally, made, said):
    made(workplace / "exp.yaml")
    tally("inputs tried")
    refused(["run", "exp.yaml"], capsys, "exp.yaml", *said)
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize("name", ["x" * 500, "gone/exp.yaml", "train.jsonl/exp.yaml", "a\0b"])
def test_name_that_no_file_can_have_is_refused(workplace, capsys, tally, name):
    tally("inputs tried")
    refused(["check", name], capsys, "file")


def test_path_that_is_longer_than_any_is_refused(refuse):
    refuse(with_line(f"model: {{base: {'m' * 5000}}}"), ["check"], "exp.yaml:3:15", "at most 4096 characters")


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60) | st.text("ab:[]{}-&*!#'\"\n\t ,1.\\%日|>?", max_size=40).map(str.encode))
def test_any_bytes_give_an_experiment_or_a_refusal(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    with pytest.raises(IikataError, match=r"any\.yaml"):
        read(path)


@settings(deadline=None, max_examples=100)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_any_value_anywhere_gives_an_experiment_or_a_refusal(tmp_path_factory, value):
    written = io.StringIO()
    YAML(typ="safe", pure=True).dump({"x": value}, written)
    text = written.getvalue().partition("x: ")[2] or "~"
    for setting in ("name", "data.validation", "train.lora.target_modules", "compare.margin", "score.judge"):
        try:
            parse(SMALLEST, "exp.yaml", tmp_path_factory.getbasetemp(), [f"{setting}={text}"])
            said = "--set"
        except IikataError as error:
            said = str(error)
        assert said.startswith("--set")
