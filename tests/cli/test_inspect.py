"""`iikata inspect` tells what an adapter is, names what of it is dead, and leaves with 1 where anything is."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import models
import oracle
from iikata.cli import main
from iikata.cli.inspect import lines
from iikata.model.load import load

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory, llama_folder):
    """Give a folder of an adapter that peft saves over the tiny Llama; each kind is made once."""
    root = tmp_path_factory.mktemp("adapters")

    def make(name, **settings):
        common = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False}
        oracle.new_adapter(llama_folder, **common | settings).save_pretrained(root / name)
        return root / name

    return make


def harmed(folder: Path, copy: Path, change) -> Path:
    shutil.copytree(folder, copy)
    found = load_file(copy / WEIGHTS)
    change(found)
    save_file(found, copy / WEIGHTS)
    return copy


def told(capsys, *words: object) -> tuple[int, dict]:
    code = main(["inspect", *map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_live_adapter_is_told_in_full_and_its_numbers_are_those_of_the_file(made, llama_folder, capsys):
    folder = made("patterns", rank_pattern={"q_proj": 6}, alpha_pattern={"down_proj": 2}, use_rslora=True)
    code, found = told(capsys, folder)
    assert (code, found["live"], found["kind"], found["faults"]) == (0, True, "rsLoRA", [])
    assert (found["r"], found["ranks"]) == (4, {"4": 2, "6": 2})
    assert found["scales"] == pytest.approx([2 / 4**0.5, 8 / 6**0.5])
    kept = load_file(folder / WEIGHTS)
    assert found["parameters"] == sum(tensor.numel() for tensor in kept.values())
    one = next(one for one in found["modules"] if one["module"] == "model.layers.1.self_attn.q_proj")
    a, b = (kept[f"base_model.model.{one['module']}.lora_{side}.weight"] for side in "AB")
    assert one["norm_b"] == pytest.approx(float(b.norm()), rel=1e-5)
    assert one["norm_update"] == pytest.approx(8 / 6**0.5 * float((b @ a).norm()), rel=1e-5)
    assert found["base"]["name"] == str(llama_folder)
    assert found["template"] is None


def test_the_screen_groups_layers_and_names_the_dead_ones(made, tmp_path, capsys):
    folder = harmed(
        made("plain"),
        tmp_path / "half",
        lambda found: [t.zero_() for n, t in found.items() if "layers.1" in n and "lora_B" in n],
    )
    assert main(["inspect", str(folder)]) == 1
    out = capsys.readouterr().out
    assert "layers 1" in next(line for line in out.splitlines() if line.startswith("q_proj"))
    assert "dead: 2 of 4 modules (50%) are dead (B or A is zero): model.layers.1.mlp.down_proj" in " ".join(out.split())


def test_thirty_two_layers_stay_a_line_a_kind():
    modules = [
        {"module": f"model.layers.{n}.mlp.{kind}", "r": 4, "norm_b": float(n), "norm_update": float(n),
         "zero_rows": float(n > 2), "dead": n in (0, 5, 6, 7, 31), "torn": n == 9}
        for n in range(32) for kind in ("up_proj", "down_proj")
    ]  # fmt: skip
    found = {
        "kind": "LoRA", "ranks": {"4": 64}, "r": 4, "alpha": 8.0, "scales": [2.0], "parameters": 1, "targets": "all",
        "base": {"name": "owner/model", "revision": "abc"}, "template": None, "beyond_plain_lora": [], "asked": None,
        "modules": modules, "live": False, "faults": ["some"],
    }  # fmt: skip
    said = lines(found)
    assert len(said) < 14
    row = next(line for line in said if line.startswith("up_proj"))
    assert row.split("  ")[0] == "up_proj"
    assert "0 to 31" in row
    assert "layers 0, 5-7, 31; in part: layers 9" in row


def test_held_against_its_base_it_is_told_what_it_changes(made, llama_folder, capsys):
    code, found = told(capsys, made("plain"), "--base", llama_folder)
    asked = found["asked"]
    assert (code, asked["fits"], asked["same_base"]["same"], asked["same_base"]["by"]) == (0, True, True, "folder")
    assert set(asked["moves"]) == {one["module"] for one in found["modules"]}
    assert min(asked["moves"].values()) > 0.01
    assert "mean KL to the base" in asked["detail"]


def test_another_base_and_one_that_it_does_not_fit_are_told(made, llama_folder, tmp_path, capsys):
    other = models.llama(tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: tensor + 1e-3 for name, tensor in weights.items()}, other / "model.safetensors", {"format": "pt"})
    code, found = told(capsys, made("plain"), "--base", other)
    assert (code, found["asked"]["same_base"]["same"]) == (0, False)
    assert main(["inspect", str(made("plain")), "--base", str(other)]) == 0
    assert "ANOTHER BASE" in capsys.readouterr().out
    code, found = told(capsys, made("plain"), "--base", models.neox_parallel(tmp_path / "neox"))
    assert (code, found["live"], found["asked"]["fits"]) == (1, False, False)
    assert "4 of its 4 modules are no linear layers of this base" in found["faults"][0]


def test_a_layer_that_the_base_has_and_the_file_lacks_is_told(made, llama_folder, tmp_path, capsys):
    def lose(found):
        for name in [name for name in found if "layers.1" in name]:
            del found[name]

    folder = harmed(made("plain"), tmp_path / "less", lose)
    code, found = told(capsys, folder, "--base", llama_folder)
    assert code == 1
    assert "name 4 modules of the base, and 2 of them are not in" in found["faults"][0]


BEYOND = {
    "DoRA": ({"use_dora": True}, "DoRA"),
    "a whole module": ({"modules_to_save": ["lm_head"]}, "modules trained whole"),
    "tokens": ({"trainable_token_indices": [5]}, "single tokens trained"),
    "biases": ({"bias": "lora_only"}, "biases trained"),
    "an embedding": ({"target_modules": ["q_proj", "embed_tokens"]}, "an adapter on an embedding"),
}


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
@pytest.mark.parametrize(("settings", "said"), BEYOND.values(), ids=BEYOND)
def test_what_is_more_than_plain_lora_is_named_and_its_pairs_are_looked_at(settings, said, made, llama_folder, capsys):
    folder = made(said.replace(" ", "_"), **settings)
    code, found = told(capsys, folder, "--base", llama_folder)
    assert (code, found["held"], found["asked"]["fits"]) == (0, "merged", True)
    assert said in "; ".join(found["beyond_plain_lora"])
    assert "merged by peft in float32" in found["asked"]["detail"]
    assert main(["inspect", str(folder)]) == 0
    assert "A run merges it in float32 into a copy of the base" in capsys.readouterr().out
    assert all(one["norm_update"] > 0 for one in found["modules"])


def test_the_template_beside_the_adapter_is_told_and_held_against_the_bases(made, llama_folder, tmp_path, capsys):
    folder = tmp_path / "with"
    shutil.copytree(made("plain"), folder)
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!")
    _, found = told(capsys, folder)
    assert found["template"]["begins"] == "{{ messages[0]['content'] }}!"
    base = tmp_path / "base"
    shutil.copytree(llama_folder, base)
    (base / "chat_template.jinja").write_text("{{ messages[0]['content'] }}?")
    assert told(capsys, folder, "--base", base)[1]["asked"]["same_template"] is False
    (base / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!")
    assert told(capsys, folder, "--base", base)[1]["asked"]["same_template"] is True


def test_a_broken_folder_is_told_as_json_too(made, tmp_path, capsys):
    folder = tmp_path / "torn"
    shutil.copytree(made("plain"), folder)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-40])
    code, found = told(capsys, folder)
    assert (code, found["live"]) == (1, False)
    assert f"{folder / WEIGHTS}: truncated" in found["faults"][0]
    assert main(["inspect", str(folder)]) == 1
    assert "truncated" in capsys.readouterr().err


def test_no_model_is_loaded_unless_asked_for(made, monkeypatch, capsys):
    monkeypatch.setattr("iikata.model.load.load", lambda *args, **more: pytest.fail("the base was loaded"))
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *args, **more: pytest.fail("a model was loaded"))
    assert told(capsys, made("plain"))[0] == 0


def laid_over(monkeypatch, count: int) -> None:
    monkeypatch.setattr("iikata.pipeline.inspect.few_that_hold", lambda *_: [torch.device("cpu")] * count)


def test_over_a_base_that_fits_no_single_device_the_same_is_told(made, llama_folder, capsys, monkeypatch):
    folder, found, bases = made("plain"), [], []
    monkeypatch.setattr("iikata.model.load.load", lambda *a, load=load, **b: bases.append(load(*a, **b)) or bases[-1])
    for count in (1, 2):
        laid_over(monkeypatch, count)
        found.append(told(capsys, folder, "--base", llama_folder))
    assert [len(base.devices) for base in bases] == [1, 2]
    assert found[0] == found[1]
    assert found[0][0] == 0
    assert set(found[0][1]["asked"]["moves"]) == {one["module"] for one in found[0][1]["modules"]}


def test_what_must_be_merged_is_not_asked_over_a_base_that_fits_no_single_device(
    made, llama_folder, capsys, monkeypatch
):
    laid_over(monkeypatch, 2)
    code, found = told(capsys, made("dora", use_dora=True), "--base", llama_folder)
    assert code == 0
    assert "the base fits no GPU here" in found["asked"]["why_not"]
