"""Adapters that other trainers saved are variants: proved live, asked as peft would answer, never paired."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import models
import oracle
from iikata import tokenize
from iikata.cli import main
from iikata.core.errors import IikataError
from iikata.pipeline import Pipeline
from iikata.pipeline.export import export
from iikata.pipeline.stages.check import examine
from iikata.templates import TEMPLATES
from tiny_experiment import ONE_ARM, contents, experiment, values

WEIGHTS = "adapter_model.safetensors"
SETTINGS = {
    "a": {"target_modules": "all-linear", "r": 4, "lora_alpha": 8},
    "b": {"target_modules": ["q_proj", "up_proj"], "r": 4, "lora_alpha": 6, "rank_pattern": {"up_proj": 7}},
    "c": {"target_modules": r".*layers\.1.*_proj", "r": 9, "lora_alpha": 3, "use_rslora": True},
    "d": {"target_modules": ["v_proj"], "r": 2, "lora_alpha": 8, "layers_to_transform": [0]},
}


@pytest.fixture(scope="module")
def adapters(tmp_path_factory, llama_folder):
    """A folder with peft's adapters a to d."""
    root = tmp_path_factory.mktemp("peft")
    for number, (name, settings) in enumerate(SETTINGS.items()):
        torch.manual_seed(number)
        oracle.new_adapter(llama_folder, **settings, init_lora_weights=False).save_pretrained(root / name)
    return root


def declared(folder, model, theirs, others=(), /, template="plain", **changes):
    variants = [{"name": "theirs", "template": template, "adapters": list(map(str, theirs))}]
    variants += [{"name": "others", "template": "alpaca_short", "adapters": list(map(str, others))}] if others else []
    wanted = {"templates": [], "variants": variants, "generate": {"samples": 1, "max_new_tokens": 3}}
    return experiment(folder, model, **wanted | changes)


def run(folder, *args, to="report", **changes):
    told = []
    made = Pipeline(declared(folder, *args, **changes), folder / "run", told.append)
    made.run(to)
    return made.context, [event.message for event in told if type(event).__name__ == "Warned"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, llama_folder, adapters):
    """A run of two variants from elsewhere, and what it warned of."""
    folder = tmp_path_factory.mktemp("elsewhere")
    return run(folder, llama_folder, [adapters / "a", adapters / "b", adapters / "c"], [adapters / "d"])


def scored(context, cell):
    found = context.store.read_scores("nll")
    return {one.probe: one.value for one in found if f"{one.trained_on}.s{one.seed}@{one.prompted_with}" == cell}


@pytest.mark.parametrize(
    ("arm", "name"), [("theirs.s0", "a"), ("theirs.s1", "b"), ("theirs.s2", "c"), ("others.s0", "d")]
)
def test_a_cell_scores_what_peft_itself_gives_its_adapter(arm, name, finished, adapters, llama_folder):
    context, _ = finished
    model = oracle.with_adapter(llama_folder, adapters / name)
    tokenizer, found = tokenize.load_tokenizer(llama_folder), scored(context, f"{arm}@plain")
    assert len(found) == len(context.data.validation)
    for row in context.data.validation[:4]:
        wanted = oracle.bits_per_byte(model, tokenizer, TEMPLATES["plain"], row)
        assert found[row.id] == pytest.approx(wanted, rel=1e-4)


def test_nothing_is_trained_and_every_cell_is_there(finished):
    context, warned = finished
    done = json.loads((context.store.path / "train" / "theirs.s2" / "DONE").read_text())
    assert (done["steps"], done["stopped"]) == (0, "")
    config = json.loads((context.store.path / "train" / "theirs.s2" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == context.model_folder.name  # no path of this machine is handed on
    gates = [gate for gate in context.store.read_gates() if gate.subject == "theirs.s2"]
    assert {gate.name: gate.passed for gate in gates} == {
        "sound_training": True, "template_kept": True, "live_adapter": True,
    }  # fmt: skip
    found = json.loads(context.store.comparisons.read_text())
    (matched,) = (c for c in found["comparisons"] if (c["question"], c["metric"]) == ("matched", "nll"))
    assert (matched["treatment"]["seeds"], matched["control"]["seeds"]) == ([0, 1, 2], [0])
    assert (matched["detail"]["paired"], matched["scope"]) == (False, "these_adapters")
    assert found["verdict"]["factor"] == "variant"
    assert "may be among them" in found["verdict"]["sentence_en"]
    assert sum("rows that it was trained on are not known" in text for text in warned) == 2
    line = json.loads(context.store.scores("nll").read_text().splitlines()[0])
    assert (line["template"], line["levels"]) == ("plain", {"adapters": "elsewhere"})


def test_the_order_of_the_folders_changes_no_comparison(finished, tmp_path, llama_folder, adapters):
    context, _ = finished
    other, _ = run(tmp_path, llama_folder, [adapters / "c", adapters / "a", adapters / "b"], [adapters / "d"])
    one, two = (json.loads(c.store.comparisons.read_text())["comparisons"] for c in (context, other))
    for first, second in zip(one, two, strict=True):
        assert (first["question"], first["metric"]) == (second["question"], second["metric"])
        for key in ("difference", "p") if first["metric"] == "nll" else ():  # answers are drawn by their arm's number
            assert first[key] == (None if second[key] is None else pytest.approx(second[key], abs=1e-9))


def test_a_folder_more_extends_the_run_and_the_others_answers_stay(tmp_path, llama_folder, adapters):
    run(tmp_path, llama_folder, [adapters / "a", adapters / "b"])
    answers = tmp_path / "run" / "generate" / "theirs.s0@plain.jsonl"
    before = contents(tmp_path / "run"), answers.stat().st_mtime_ns
    run(tmp_path, llama_folder, [adapters / "a", adapters / "b", adapters / "c"])
    assert answers.stat().st_mtime_ns == before[1]
    after = contents(tmp_path / "run")
    assert "train/theirs.s2/DONE" in after
    assert all(after[name] == content for name, content in before[0].items() if name.startswith(("train", "generate")))


def test_an_adapter_that_changed_is_refused_by_name_and_one_that_is_gone_goes_on(tmp_path, llama_folder, adapters):
    shutil.copytree(adapters / "a", tmp_path / "mine")
    run(tmp_path, llama_folder, [tmp_path / "mine"], to="train")
    kept = load_file(tmp_path / "mine" / WEIGHTS)
    save_file({name: tensor * 1.5 for name, tensor in kept.items()}, tmp_path / "mine" / WEIGHTS)
    with pytest.raises(IikataError, match=r"variants.theirs.s0 changed"):
        run(tmp_path, llama_folder, [tmp_path / "mine"])
    shutil.rmtree(tmp_path / "mine")
    context, _ = run(tmp_path, llama_folder, [tmp_path / "mine"])
    assert scored(context, "theirs.s0@plain")


def test_beside_arms_that_are_trained_here_both_have_their_own_seeds(tmp_path, llama_folder, adapters):
    train = ONE_ARM | {"seeds": [4, 7]}
    theirs = [adapters / "a", adapters / "b", adapters / "c"]
    context, _ = run(tmp_path, llama_folder, theirs, templates=["plain"], train=train)
    found = json.loads(context.store.comparisons.read_text())["comparisons"]
    (matched,) = (c for c in found if (c["question"], c["metric"]) == ("matched", "nll"))
    assert {c["trained_on"]: c["seeds"] for c in (matched["treatment"], matched["control"])} == {
        "plain": [4, 7], "theirs": [0, 1, 2],
    }  # fmt: skip


def harm(folder, copy, change):
    shutil.copytree(folder, copy)
    found = load_file(copy / WEIGHTS)
    change(found)
    save_file(found, copy / WEIGHTS)
    return copy


def test_a_half_dead_adapter_is_refused_by_name_before_anything_is_concluded(tmp_path, llama_folder, adapters):
    half = harm(
        adapters / "a",
        tmp_path / "half",
        lambda found: [t.zero_() for n, t in found.items() if "layers.1" in n and "lora_B" in n],
    )
    with pytest.raises(IikataError, match=r"half: .*7 of 14 modules \(50%\) are dead .* iikata inspect"):
        run(tmp_path, llama_folder, [adapters / "b", half])
    assert not (tmp_path / "run" / "train" / "theirs.s1").exists()


REFUSED = [
    ({"init_lora_weights": "pissa"}, {}, r'"init_lora_weights" is "pissa" \(a start.*merge_and_unload'),
    ({"peft_type": "IA3"}, {}, r'"peft_type" is "IA3" \(another kind of adapter.*merge_and_unload'),
    ({"use_dora": True}, {"quantize": "8bit"}, r"model.quantize: 8bit: an adapter that is more than plain LoRA"),
    ({"use_dora": True}, {"trust_remote_code": True}, r"model.trust_remote_code: an adapter that is more than plain"),
]


@pytest.mark.parametrize(("settings", "model", "said"), REFUSED)
def test_what_cannot_be_held_exactly_is_refused_before_the_base_is_loaded(
    settings, model, said, tmp_path, llama_folder, monkeypatch
):
    oracle.new_adapter(llama_folder, target_modules=["q_proj"], r=2, init_lora_weights=False).save_pretrained(
        tmp_path / "more"
    )
    config = json.loads((tmp_path / "more" / "adapter_config.json").read_text())
    (tmp_path / "more" / "adapter_config.json").write_text(json.dumps(config | settings))
    base = {**values(llama_folder)["model"], **model}
    base |= {"trust_remote_code": base["base"]} if "trust_remote_code" in model else {}
    monkeypatch.setattr("iikata.model.load.load", lambda *args, **more: pytest.fail("the base was loaded"))
    with pytest.raises(IikataError, match=said):
        run(tmp_path, llama_folder, [tmp_path / "more"], model=base)
    assert not (tmp_path / "run" / "signature.json").exists()


def test_the_same_adapter_under_two_names_is_told(tmp_path, llama_folder, adapters):
    (tmp_path / "link").symlink_to(adapters / "a")
    with pytest.raises(IikataError, match=r"link: the same folder as .*a; an adapter counts once"):
        declared(tmp_path, llama_folder, [adapters / "a", tmp_path / "link"])
    shutil.copytree(adapters / "a", tmp_path / "copy")
    with pytest.raises(IikataError, match=r"copy: the same adapter as in .*a; it counts once"):
        run(tmp_path, llama_folder, [adapters / "a", tmp_path / "copy"])


def test_settings_of_a_training_are_refused_at_their_line(tmp_path, llama_folder, adapters):
    theirs = [{"name": "theirs", "template": "plain", "adapters": [str(adapters / "a")], "train": {"epochs": 3}}]
    with pytest.raises(IikataError, match=r"no train and no data: they are trained"):
        experiment(tmp_path, llama_folder, templates=[], variants=theirs)


def test_another_base_and_another_template_are_told_before_training(tmp_path, llama_folder, adapters):
    base = models.llama(tmp_path / "base")
    (base / "chat_template.jinja").write_text("{{ messages[0]['content'] }}\n")
    weights = load_file(base / "model.safetensors")
    save_file({name: tensor + 1e-3 for name, tensor in weights.items()}, base / "model.safetensors", {"format": "pt"})
    shutil.copytree(adapters / "a", tmp_path / "mine")
    (tmp_path / "mine" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}!\n")
    context = Pipeline(declared(tmp_path, base, [tmp_path / "mine"], template="native"), tmp_path / "run").context
    said = [finding.message for finding in examine(context) if finding.rule == "design"]
    assert any("names another base, by folder" in text for text in said)
    assert any("the chat template in its tokenizer differs" in text for text in said)


def test_a_base_whose_name_cannot_be_compared_is_told(tmp_path, llama_folder, adapters):
    shutil.copytree(adapters / "a", tmp_path / "mine")
    config = json.loads((tmp_path / "mine" / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "owner/other"
    (tmp_path / "mine" / "adapter_config.json").write_text(json.dumps(config))
    made = declared(tmp_path, llama_folder, [tmp_path / "mine", adapters / "b"])
    context = Pipeline(made, tmp_path / "run").context
    said = [one.message for one in examine(context) if "cannot be known" in one.message]
    assert len(said) == 1
    assert f"names owner/other as its base; whether {llama_folder} is that" in said[0]


def test_an_adapter_that_does_not_fit_the_base_is_refused_by_module(tmp_path, llama_folder, model_folder, adapters):
    with pytest.raises(IikataError, match=r"14 of its 14 modules are no linear layers of this base's decoder"):
        run(tmp_path, model_folder("neox_parallel"), [adapters / "a"])


def test_a_brought_in_arm_can_be_asked_and_exported_as_one_that_was_trained_elsewhere(
    finished, adapters, llama_folder, tmp_path, capsys
):
    context, _ = finished
    more = ["--arm", "theirs.s1", "--set", "generate.max_new_tokens=2"]
    assert main(["ask", str(context.store.path), "Why?", *more]) == 0
    assert "--- theirs.s1@plain" in capsys.readouterr().out
    export(context, "theirs.s1", tmp_path / "dest", base="owner/name")
    card = (tmp_path / "dest" / "README.md").read_text()
    assert "trained elsewhere and asked by iikata" in card
    assert "is not known here" in card
    assert "learning_rate" not in card
    ids = torch.tensor([[5, 9, 12]])
    with torch.no_grad():
        ours, theirs = (
            oracle.with_adapter(llama_folder, folder)(input_ids=ids).logits
            for folder in (tmp_path / "dest", adapters / "b")
        )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
