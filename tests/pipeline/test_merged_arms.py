"""Adapters that the engine cannot hold are variants too: merged into a copy of the base, one at a time, and asked."""

import gc
import json
import math
import weakref

import pytest
import torch

import models
import oracle
from iikata import tokenize
from iikata.cli import main
from iikata.core.records import Arm
from iikata.model.adapters import merged
from iikata.pipeline import Pipeline
from iikata.pipeline.export import export
from iikata.pipeline.greedy import Speakers
from iikata.pipeline.stages.check import examine
from iikata.score import choice
from iikata.templates import TEMPLATES
from tiny_experiment import ONE_ARM, contents, experiment, write_files

SETTINGS = {
    "plain": {"target_modules": "all-linear"},
    "dora": {"target_modules": ["q_proj", "up_proj"], "use_dora": True},
    "head": {"target_modules": ["v_proj"], "modules_to_save": ["lm_head"]},
    "tokens": {"target_modules": ["q_proj", "embed_tokens"]},
}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def adapters(tmp_path_factory, llama_folder):
    """Folders of peft's adapters, each trained a little: what it trains has random values."""
    root = tmp_path_factory.mktemp("peft")
    for number, (name, settings) in enumerate(SETTINGS.items()):
        torch.manual_seed(number)
        model = oracle.new_adapter(llama_folder, r=4, lora_alpha=8, init_lora_weights=False, **settings)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.05)
        model.save_pretrained(root / name)
    return root


def declared(folder, model, adapters, **changes):
    if not (folder / "probes.jsonl").is_file():
        write_files(folder)
        probes = [
            {"id": f"p{i}", "instruction": f"Which colour is {one}?", "references": [one], "choices": ["red", "blue"],
             "answer": i % 2} for i, one in enumerate(("red", "blue", "green"))
        ]  # fmt: skip
        (folder / "probes.jsonl").write_text("".join(json.dumps(probe) + "\n" for probe in probes))
    variants = [
        {"name": "engine", "template": "plain", "adapters": [str(adapters / "plain")]},
        {"name": "copies", "template": "plain", "adapters": [str(adapters / one) for one in ("dora", "head")]},
        {"name": "tokens", "template": "alpaca_short", "adapters": [str(adapters / "tokens")]},
    ]
    score = {"metrics": ["nll", "contains", "choice", "finish"]}
    wanted = {"templates": [], "variants": variants, "generate": {"samples": 1, "max_new_tokens": 4}, "score": score}
    return experiment(folder, model, **wanted | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, llama_folder, adapters):
    folder = tmp_path_factory.mktemp("merged")
    made = Pipeline(declared(folder, llama_folder, adapters), folder / "run")
    made.run()
    return made.context


@pytest.mark.parametrize(("arm", "name"), [("copies.s0", "dora"), ("copies.s1", "head"), ("tokens.s0", "tokens")])
def test_a_cell_scores_and_answers_what_peft_unmerged_does(arm, name, finished, adapters, llama_folder):
    model, tokenizer = oracle.with_adapter(llama_folder, adapters / name), tokenize.load_tokenizer(llama_folder)
    found = {
        one.probe: one.value
        for one in finished.store.read_scores("nll")
        if f"{one.trained_on}.s{one.seed}@{one.prompted_with}" == f"{arm}@plain"
    }
    assert len(found) == len(finished.data.validation)
    for row in finished.data.validation[:4]:
        wanted = oracle.bits_per_byte(model, tokenizer, TEMPLATES["plain"], row)
        assert found[row.id] == pytest.approx(wanted, rel=1e-4)
    variant, seed = arm.split(".s")
    speakers = Speakers(finished, Arm(variant, int(seed)), TEMPLATES["plain"])
    prompt = tuple(tokenize.encode_prompt(TEMPLATES["plain"], tokenizer, "Which colour is it?", ""))
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    torch.testing.assert_close(speakers.next_token(f"{variant}.s{seed}", prompt, ()), theirs, rtol=1e-4, atol=1e-4)
    greedy = speakers.answers([prompt], 4)[f"{variant}.s{seed}"][0]
    with torch.no_grad():
        wanted = model.generate(input_ids=torch.tensor([prompt]), do_sample=False, max_new_tokens=4)[0, len(prompt) :]
    assert list(greedy.ids) == wanted.tolist()[: len(greedy.ids)]


def test_every_stage_takes_them_beside_the_others(finished):
    gates = {gate.subject: gate for gate in finished.store.read_gates() if gate.name == "live_adapter"}
    assert all(gate.passed for gate in gates.values())
    assert set(gates) == {"engine.s0", "copies.s0", "copies.s1", "tokens.s0"}
    cells = {cell.name for cell in finished.experiment.cells()}
    for metric in ("nll", "choice", "contains"):
        scored = finished.store.read_scores(metric)
        assert len(cells) == len({(one.trained_on, one.seed, one.prompted_with) for one in scored})
        assert all(math.isfinite(one.value) for one in scored)
    found = json.loads(finished.store.comparisons.read_text())
    pairs = {
        (c["treatment"]["trained_on"], c["control"]["trained_on"])
        for c in found["comparisons"]
        if (c["question"], c["metric"]) == ("matched", "nll")
    }
    assert len(pairs) == 3
    assert (finished.store.path / "report" / "index.html").is_file()


def test_why_an_adapter_is_merged_is_told_before_anything_is_loaded(llama_folder, adapters, tmp_path):
    context = Pipeline(declared(tmp_path, llama_folder, adapters), tmp_path / "run").context
    told = [one.message for one in examine(context) if "merged in float32 into a copy" in one.message]
    assert [text.split()[0] for text in told] == ["copies.s0", "copies.s1", "tokens.s0"]
    assert "DoRA" in told[0]


def test_plan_says_how_many_are_merged_and_what_a_copy_takes(finished, llama_folder, capsys):
    path = finished.store.path / "experiment.yaml"
    assert main(["plan", str(path), "--json"]) == 0
    guess = json.loads(capsys.readouterr().out)["estimate"]
    weights = sum(one.numel() for one in oracle.plain(llama_folder).parameters())
    assert (guess["merged_arms"], guess["copy_bytes"]) == (3, 4 * weights)
    assert main(["plan", str(path)]) == 0
    assert (
        "3 arms are more than plain LoRA: each is merged into a copy of the base in float32" in capsys.readouterr().out
    )


def test_a_second_run_does_nothing_and_a_lost_answer_is_given_again_the_same(finished, adapters, llama_folder):
    before, folder = contents(finished.store.path), finished.experiment.folder
    (finished.store.path / "generate" / "copies.s1@plain.jsonl").unlink()
    Pipeline(declared(folder, llama_folder, adapters), folder / "run").run()
    after = contents(finished.store.path)
    assert {name for name in before if before[name] != after.get(name)} <= {"signature.json"}


def test_there_is_one_copy_at_a_time(tmp_path, llama_folder, adapters, monkeypatch):
    made, most = [], []
    gc.freeze()  # what is there already need not be looked through each time

    def counted(*given, real=merged.merged_base):
        gc.collect()
        most.append(sum(one() is not None for one in made))
        base = real(*given)
        made.append(weakref.ref(base.model))
        return base

    packs = []
    monkeypatch.setattr(choice, "laid", lambda *given, real=choice.laid: packs.append(1) or real(*given))
    monkeypatch.setattr(merged, "merged_base", counted)
    Pipeline(declared(tmp_path, llama_folder, adapters), tmp_path / "run").run("score")
    assert len(made) >= 6
    assert set(most) == {0}
    assert len(packs) == 4, "choices are packed once a template, for the base's arms and for the copies"


def test_they_can_be_asked_in_a_run_and_by_their_folder(finished, adapters, capsys):
    more = ["--set", "generate.max_new_tokens=2"]
    arms = ["--arm", "copies.s0", "--arm", "engine.s0", "--arm", "base", "--template", "plain"]
    assert main(["ask", str(finished.store.path), "Why?", *arms, *more]) == 0
    out = capsys.readouterr().out
    assert all(f"--- {arm}@plain" in out for arm in ("copies.s0", "engine.s0", "base"))
    assert main(["ask", str(adapters / "dora"), "Why?", "--template", "plain", *more]) == 0
    assert "--- dora@plain" in capsys.readouterr().out


@pytest.mark.parametrize("merge", [False, True], ids=["the folder itself", "merged"])
def test_exported_they_give_pefts_logits(merge, finished, adapters, llama_folder, tmp_path):
    export(finished, "copies.s0", tmp_path / "dest", merge, base="owner/name")
    ids = torch.tensor([[5, 9, 12, 40]])
    with torch.no_grad():
        theirs = oracle.with_adapter(llama_folder, adapters / "dora")(input_ids=ids).logits
        made = oracle.plain(tmp_path / "dest") if merge else oracle.with_adapter(llama_folder, tmp_path / "dest")
        torch.testing.assert_close(made(input_ids=ids).logits, theirs, rtol=1e-4, atol=1e-4)
    kept = json.loads((tmp_path / "dest" / ("config.json" if merge else "adapter_config.json")).read_text())
    assert merge or kept["base_model_name_or_path"] == "owner/name"
    assert str(llama_folder) not in json.dumps(kept)


def test_a_reader_of_resized_embeddings_is_told_to_resize_the_base(tmp_path, llama_folder, finished):
    from peft import LoraConfig, PeftModel, get_peft_model

    bigger = oracle.plain(llama_folder)
    bigger.resize_token_embeddings(models.VOCAB + 3)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=["q_proj"],
        init_lora_weights=False,
        modules_to_save=["embed_tokens", "lm_head"],
    )
    get_peft_model(bigger, config).save_pretrained(tmp_path / "resized", save_embedding_layers=True)
    theirs = [{"name": "theirs", "template": "plain", "adapters": [str(tmp_path / "resized")]}]
    made = Pipeline(declared(tmp_path, llama_folder, tmp_path, variants=theirs), tmp_path / "run")
    made.run("generate")
    export(made.context, "theirs.s0", tmp_path / "dest", False, base="owner/name")
    call = f"model.resize_token_embeddings({models.VOCAB + 3})"
    assert call in (tmp_path / "dest" / "README.md").read_text().replace("\\", "")
    other = oracle.plain(llama_folder)
    with pytest.raises(RuntimeError):
        PeftModel.from_pretrained(other, tmp_path / "dest")
    resized = oracle.plain(llama_folder)
    resized.resize_token_embeddings(models.VOCAB + 3)
    PeftModel.from_pretrained(resized, tmp_path / "dest")
    export(finished, "copies.s1", tmp_path / "head", False, base="owner/name")
    assert "resize_token_embeddings" not in (tmp_path / "head" / "README.md").read_text().replace("\\", "")


def test_beside_arms_that_are_trained_here(tmp_path, llama_folder, adapters):
    train = ONE_ARM | {"seeds": [3]}
    made = Pipeline(declared(tmp_path, llama_folder, adapters, templates=["plain"], train=train), tmp_path / "run")
    made.run("score")
    scored = {(one.trained_on, one.seed) for one in made.context.store.read_scores("nll")}
    assert scored == {("plain", 3), ("engine", 0), ("copies", 0), ("copies", 1), ("tokens", 0), (None, None)}
