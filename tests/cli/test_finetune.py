"""`iikata finetune` means what the old finetune.py meant, and says where it does better."""

import json
import re
from pathlib import Path

import pytest
import torch

from iikata.cli import main
from iikata.cli.finetune import experiment_of, fitted, template_of
from iikata.cli.finetune_flags import FLAGS, in_flags
from iikata.cli.parser import parser
from iikata.config import declare, read
from iikata.core.records import Example
from iikata.doctor.conversations import CHOICES
from iikata.run_folder import read_json
from iikata.templates import TEMPLATES, load, read_saved, user_message
from iikata.tokenize import encode, load_tokenizer

# peft asks the model by a name that transformers renamed.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")

OLD_DEFAULTS = {
    "base_model": "", "data_path": "yahma/alpaca-cleaned", "output_dir": "./lora-alpaca", "batch_size": 128,
    "micro_batch_size": 4, "num_epochs": 3, "learning_rate": 3e-4, "cutoff_len": 256, "val_set_size": 2000, "lora_r": 8,
    "lora_alpha": 16, "lora_dropout": 0.05, "train_on_inputs": True, "add_eos_token": False, "group_by_length": False,
    "resume_from_checkpoint": None, "prompt_template_name": "alpaca", "gradient_checkpointing": False,
    "wandb_project": "", "wandb_run_name": "", "wandb_watch": "", "wandb_log_model": "",
}  # fmt: skip
"""Alpaca-LoRA's finetune.py, but lora_target_modules, which follow the model here."""
THE_POST = (
    "--base_model=rinna/japanese-gpt-neox-3.6b-instruction-sft --data_path=kunishou/databricks-dolly-15k-ja "
    "--batch_size=128 --micro_batch_size=2 --prompt_template_name=dolly_ja --cutoff_len=1024 --output_dir=out "
    "--num_epochs=2 --gradient_checkpointing=False --resume_from_checkpoint=out"
)


def given(text: str):
    return parser().parse_args(["finetune", *text.split()])


def test_every_flag_of_the_old_script_is_there_with_its_default():
    assert OLD_DEFAULTS.items() <= vars(given("")).items()
    assert {flag.name for flag in FLAGS} - OLD_DEFAULTS.keys() == {"lora_target_modules", "seed"}


def test_the_posts_command_is_read_in_both_forms():
    with_equals, with_blanks = given(THE_POST), given(THE_POST.replace("=", " "))
    assert {k: v for k, v in vars(with_equals).items() if k != "verb"} == {
        k: v for k, v in vars(with_blanks).items() if k != "verb"
    }
    experiment = declare(experiment_of(with_equals), Path.cwd())
    assert (experiment.train.batch_size, experiment.train.cutoff_len, experiment.train.epochs) == (128, 1024, 2)
    assert experiment.train.loss_on == "all"
    assert experiment.templates == ("dolly_ja",)
    everywhere = declare(experiment_of(given("--base_model=x --lora_target_modules=all-linear")), Path.cwd())
    assert everywhere.train.lora.target_modules == "all-linear"


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("--train_on_inputs", "train_on_inputs", True),
        ("--train_on_inputs=true", "train_on_inputs", True),
        ("--train_on_inputs 0", "train_on_inputs", False),
        ("--train_on_inputs no", "train_on_inputs", False),
        ("--train-on-inputs=False", "train_on_inputs", False),
        ("--notrain_on_inputs", "train_on_inputs", False),
        ("--no-train-on-inputs", "train_on_inputs", False),
        ("--noadd_eos_token --nogroup_by_length", "group_by_length", False),
        ("--lora_target_modules=[q_proj,v_proj]", "lora_target_modules", ["q_proj", "v_proj"]),
        ("--lora_target_modules=['q_proj','v_proj']", "lora_target_modules", ["q_proj", "v_proj"]),
        ("--lora_target_modules q_proj", "lora_target_modules", ["q_proj"]),
        ("--lora_target_modules=all-linear", "lora_target_modules", "all-linear"),
        ("--lora_target_modules=None", "lora_target_modules", None),
        ("--num_epochs=2.0", "num_epochs", 2),
        ("--batch_size=1e2", "batch_size", 100),
        ("--val_set_size=0.1", "val_set_size", 0.1),
        ("--wandb_project=p --wandb_watch=all --wandb_log_model=true", "wandb_watch", "all"),
        ("--resume_from_checkpoint=False", "resume_from_checkpoint", None),
    ],
)
def test_flags_are_spelt_and_read_as_fire_did(text, name, value):
    assert getattr(given(text), name) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--lora_target_modules=[]", "names no module"),
        ("--num_epochs=1.5", "not a whole number"),
        ("--batch_size=many", "not a whole number"),
        ("--train_on_inputs=maybe", "'maybe' is not True or False"),
    ],
)
def test_what_no_flag_can_mean_is_wrong_usage(text, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        given(text)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("x: train.epochs changed (2 -> 3)", "x: --num_epochs changed (2 -> 3)"),
        ("train.lora.r: 0 was seen", "--lora_r: 0 was seen"),
        ("train.lora changed", "--lora_r, --lora_alpha, --lora_dropout or --lora_target_modules changed"),
        ("templates.alpaca changed", "--prompt_template_name.alpaca changed"),
        ("or start another run with --out DIR.", "or start another run with --output_dir=DIR."),
        ("a model, model.quantize, train.cutoff_len or generate.max_new_tokens.", "a model, --cutoff_len."),
        ("data.columns: x.",
         "data.columns: x. finetune has no flag for data.columns; an experiment file does: iikata run."),
        (CHOICES.en, f"{CHOICES.en} finetune has no flag for data.system; an experiment file does: iikata run."),
        ("a/data.train.json stays", "a/data.train.json stays"),
    ],
)  # fmt: skip
def test_messages_speak_of_flags(message, told):
    assert in_flags(message) == told


def test_a_japanese_message_speaks_of_flags_too(command, monkeypatch, capsys):
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    assert main([*command, "--learning_rate=-1"]) == 1
    assert "--learning_rate: -1.0 は使えません。0 より大きい値にしてください。" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "whole", "fits"),
    [(2000, 15015, 2000), (2000, 4000, 2000), (2000, 3999, 399), (2000, 5, 0), (100, 202, 100)],
)
def test_held_out_rows_and_warm_up_are_as_asked_where_half_is_left(asked, whole, fits, capsys):
    assert fitted("val_set_size", asked, whole, "rows") == fits
    assert ("too much" in capsys.readouterr().err) == (fits != asked)


def test_template_file_of_the_old_scripts_folder_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert template_of("dolly_ja") == "dolly_ja"
    assert template_of("") == "alpaca"
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "mine.json").write_text(
        '{"prompt_input": "{input}{instruction}", "prompt_no_input": "{instruction}:"}'
    )
    assert load(template_of("mine"), tmp_path).render("x").prompt == "x:"


@pytest.mark.parametrize("train_on_inputs", [True, False])
def test_labels_are_those_of_the_old_script(byte_bpe_folder, train_on_inputs):
    # finetune.py: labels are the ids themselves, and -100 on the prompt's tokens unless train_on_inputs.
    from transformers import AutoTokenizer

    tokenizer, old = load_tokenizer(byte_bpe_folder), AutoTokenizer.from_pretrained(byte_bpe_folder)
    example, template = Example("a", "Name three colours.", "paint", "red, blue and yellow"), TEMPLATES["alpaca"]
    rendered = template.render(example.instruction, example.input, example.output)
    labels = [*old(rendered.prompt + rendered.completion).input_ids, old.eos_token_id]
    if not train_on_inputs:
        masked = len(old(rendered.prompt).input_ids)
        labels[:masked] = [-100] * masked
    encoded = encode(example, template, tokenizer, 10_000, "all" if train_on_inputs else "completion")
    pairs = zip(encoded.input_ids, encoded.completion_mask, strict=True)
    assert [id if counts else -100 for id, counts in pairs] == labels


@pytest.fixture
def command(tmp_path, llama_folder, monkeypatch):
    """The arguments of a small run; its output folder is out/."""
    monkeypatch.chdir(tmp_path)
    rows = [{"instruction": f"Name {i}.", "input": "", "output": f"{i} it is."} for i in range(12)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    small = {"batch_size": 4, "micro_batch_size": 8, "num_epochs": 2, "learning_rate": 0.01, "lora_dropout": 0.0}
    flags = {"base_model": llama_folder, "data_path": "rows.json", "output_dir": "out", **small}
    return ["finetune", "--force", *(f"--{name}={value}" for name, value in flags.items())]


@pytest.fixture
def trained(command):
    """The same, where it has ended already."""
    assert main(command) == 0
    return command


def test_adapter_gives_the_same_logits_in_plain_peft_as_here(command, tmp_path, llama_folder, capsys):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from iikata.model.adapters import adapter_file
    from iikata.model.load import load as load_model

    assert main(command) == 0
    ids = torch.tensor([load_tokenizer(llama_folder).ids(TEMPLATES["alpaca"].render("Name 3.").prompt)])
    plain = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    ours = load_model(llama_folder, "float32")
    weights, shape = adapter_file.read(tmp_path / "out")
    assert ours.adapt(shape.r, shape.alpha, 0.0, shape.target_modules)
    ours.adapters.load("arm", weights)
    with torch.inference_mode():
        untuned = plain(ids).logits
        theirs = PeftModel.from_pretrained(plain, tmp_path / "out").eval()(ids).logits
        ours.set_adapter("arm")
        here = ours.logits(ours.hidden(ids, torch.arange(ids.shape[1])[None]))
    torch.testing.assert_close(theirs, here, rtol=1e-4, atol=1e-4)
    assert (theirs - untuned).norm() > 0.01 * untuned.norm()
    assert read_saved(tmp_path / "out" / "template.json").hash == TEMPLATES["alpaca"].hash
    assert str(llama_folder) not in (tmp_path / "out" / "adapter_config.json").read_text()
    told = AutoTokenizer.from_pretrained(tmp_path / "out").apply_chat_template(
        [user_message("Name 3.", "")], add_generation_prompt=True, return_dict=False
    )
    assert told == ids[0].tolist()
    said = capsys.readouterr().err
    assert "add_eos_token=False would train answers that never end" in said
    assert "batch_size 4 is below micro_batch_size 8" in said
    assert "val_set_size 2000 is too much for 12 rows; it is 1." in said
    assert "warm-up 100 is too much for 6 steps; it is 0." in said


def test_resume_from_an_empty_folder_starts_fresh_and_the_same_command_goes_on(command, tmp_path, capsys):
    command.append("--resume_from_checkpoint=out")
    assert main(command) == 0
    assert "nothing in out yet, so this starts fresh" in capsys.readouterr().err
    weights = (tmp_path / "out" / "adapter_model.safetensors").read_bytes()
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "starts fresh" not in said
    assert "all there" in said
    assert (tmp_path / "out" / "adapter_model.safetensors").read_bytes() == weights


def test_more_epochs_go_on_from_where_the_first_ended(trained, tmp_path, capsys):
    log, more = tmp_path / "out" / "run" / "train" / "alpaca.s42" / "steps.jsonl", [*trained, "--num_epochs=3"]
    first = log.read_text()
    assert main(more) == 1
    assert "--num_epochs=3 --resume_from_checkpoint=out goes on from there" in capsys.readouterr().err
    assert main([*more, "--resume_from_checkpoint=out"]) == 0
    said = capsys.readouterr().err
    assert "going on from epoch 2 to 3" in said
    assert "add_eos_token" not in said
    assert log.read_text().startswith(first)
    assert len(log.read_text().splitlines()) == len(first.splitlines()) * 3 // 2
    assert main([*more, "--resume_from_checkpoint=out"]) == 0
    assert "all there" in capsys.readouterr().err
    assert main([*trained, "--resume_from_checkpoint=out"]) == 1
    assert "trained for 3 epochs, and --num_epochs is 2. Give another --output_dir." in capsys.readouterr().err


def test_held_out_loss_is_the_trainers(command, tmp_path, llama_folder, capsys):
    from transformers import AutoModelForCausalLM

    from iikata.data import read as read_rows

    assert main([*command, "--val_set_size=4", "--wandb_project=p"]) == 0
    out = capsys.readouterr()
    assert "wandb_project: nothing is sent to Weights & Biases" in out.err
    values = experiment_of(given("--base_model=x --data_path=rows.json"))
    values["data"]["validation"] = 4
    held_out = read_rows(declare(values, tmp_path).data, tmp_path).validation
    tokenizer, model = load_tokenizer(llama_folder), AutoModelForCausalLM.from_pretrained(llama_folder)
    losses = []
    for row in held_out:
        ids = torch.tensor([encode(row, TEMPLATES["alpaca"], tokenizer, 256, "all").input_ids])
        with torch.inference_mode():
            logits = model(ids).logits[0, :-1].float()
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none"))
    rows, before = re.search(r"\((\d+) rows; before training ([\d.]+)\)", out.out).groups()
    assert rows == "4"
    assert float(before) == pytest.approx(float(torch.cat(losses).mean()), rel=2e-3)  # bfloat16 where there is AMX


def test_held_out_loss_is_told_every_so_many_steps_and_the_lowest_by_its_step(command, tmp_path, monkeypatch, capsys):
    from iikata.cli import finetune

    monkeypatch.setattr(finetune, "EVAL_STEPS", 3)
    assert main([*command, "--val_set_size=4", "--num_epochs=4"]) == 0
    said = capsys.readouterr()
    curve = [json.loads(line) for line in (tmp_path / "out" / "eval.jsonl").read_text().splitlines()]
    steps = len((tmp_path / "out" / "steps.jsonl").read_text().splitlines())
    assert [one["step"] for one in curve] == [0, 3, 6, 8]
    assert {(one["metric"], one["rows"]) for one in curve} == {("loss", 4)}
    for one in curve:
        assert f"train: alpaca.s42@alpaca {one['step']}/{steps} held-out loss {one['value']:.4f}" in said.err
    best = min(curve, key=lambda one: one["value"])
    assert f"held-out loss is lowest at step {best['step']} of {steps}: {best['value']:.4f}" in said.err
    last, first = curve[-1]["value"], curve[0]["value"]
    assert f"held-out loss: {last:.4f} (4 rows; before training {first:.4f})" in said.out


def test_killed_run_goes_on_to_the_same_weights(trained, tmp_path, monkeypatch):
    from iikata.cli import console
    from iikata.pipeline import Progress

    whole = (tmp_path / "out" / "adapter_model.safetensors").read_bytes()
    command = [*trained, "--output_dir=again"]
    emit = console.Console.__call__

    def killed(self, event):
        emit(self, event)
        if isinstance(event, Progress) and event.done == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(console.Console, "__call__", killed)
        assert main(command) == 130
    assert not (tmp_path / "again" / "adapter_model.safetensors").exists()
    assert main(command) == 0
    assert (tmp_path / "again" / "adapter_model.safetensors").read_bytes() == whole


def test_a_missing_base_and_weights_of_another_folder_are_refused(command, capsys):
    assert main(["finetune"]) == 1
    assert "--base_model=NAME" in capsys.readouterr().err
    assert main([*command, "--resume_from_checkpoint=elsewhere"]) == 1
    assert "another folder's weights may come from another template" in capsys.readouterr().err


def test_an_adapter_is_not_put_into_the_folder_of_its_base(command, llama_folder, tmp_path, capsys):
    (tmp_path / "same").symlink_to(llama_folder)
    before = sorted(llama_folder.iterdir())
    assert main([*command, "--output_dir=same"]) == 1
    assert "same is the base's own folder" in capsys.readouterr().err
    assert sorted(llama_folder.iterdir()) == before


def test_adapter_of_the_old_script_is_not_written_over(command, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "adapter_model.bin").write_bytes(b"x" * 443)
    assert main([*command, "--resume_from_checkpoint=out"]) == 1
    assert "adapter_model.bin: an adapter is here without the run it came from" in capsys.readouterr().err


def test_other_settings_in_the_same_folder_are_refused_by_name(trained, capsys):
    assert main([*trained, "--learning_rate=0.02"]) == 1
    assert "--learning_rate changed (0.01 -> 0.02)" in (said := capsys.readouterr().err)
    assert "--output_dir=DIR" in said


def test_ask_uses_the_template_stored_in_the_folder(command, tmp_path, capsys):
    assert main([*command, "--prompt_template_name=plain"]) == 0
    assert main(["ask", "out", "Name 3.", "--set", "generate.max_new_tokens=2"]) == 0
    heads = [line for line in capsys.readouterr().out.splitlines() if line.startswith("--- ")]
    assert heads == ["--- out@plain", "--- base@plain"]


def test_hub_id_offline_names_the_id_and_the_way_out(command, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main([*command, "--base_model=nobody/no-such-model"]) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("iikata: ")]
    assert len(said) == 1
    assert '"nobody/no-such-model"' in said[0]
    assert "--base_model=./path/to/folder" in said[0]


def test_the_posts_experiment_is_read_without_error():
    folder = Path(__file__).parents[2] / "examples"
    experiment = read(folder / "rinna_dolly_ja.yaml")
    flags = given(THE_POST)
    assert experiment.model.base == flags.base_model
    assert (experiment.train.epochs, experiment.train.batch_size) == (flags.num_epochs, flags.batch_size)
    assert experiment.train.learning_rate == flags.learning_rate
    assert (experiment.train.lora.r, experiment.train.lora.dropout) == (flags.lora_r, flags.lora_dropout)
    assert len(experiment.arms()) == 15

    from iikata.data import read_probes

    probes = read_probes(folder / str(experiment.probes))
    assert [probe.instruction for probe in probes[:2]] == [
        "色の三原色を教えてください",
        "日本で最も高い山を教えてください",
    ]
    assert len({probe.cluster for probe in probes}) >= 10


def test_a_finetune_folder_holds_its_settings_and_is_exported(trained, tmp_path, capsys):
    stored = read_json(tmp_path / "out" / "run" / "signature.json")["train"]
    assert (stored["loss_on"], stored["lora"]["r"], stored["warmup_steps"]) == ("all", 8, 0)
    assert main(["export", "out", "alpaca.s42", "exported", "--base", "owner/name"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "exported"
    names = {path.name for path in (tmp_path / "exported").iterdir()}
    assert names >= {"adapter_model.safetensors", "tokenizer.json", "chat_template.jinja", "template.json", "README.md"}
