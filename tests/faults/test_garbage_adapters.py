"""Adapters from anywhere: what is no whole plain LoRA adapter is refused by file, key and tensor, with the cure."""

import json
import shlex
import shutil
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from harm import Harm, change, cut, hole, in_its_place, raw
from refusal import files_in, refused
from safetensors.torch import load_file, save_file

from iikata.cli import main
from iikata.model.adapters import adapter_file
from iikata.pipeline import Pipeline
from tiny_experiment import ONE_ARM, experiment

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
AGAIN = "or train the arm again"
MERGE = "merge_and_unload().save_pretrained(DEST)"
A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
B = A.replace("lora_A", "lora_B")
config = partial(change, CONFIG)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, llama_folder) -> Path:
    """A run with one trained arm; tests copy it."""
    folder = tmp_path_factory.mktemp("adapters")
    Pipeline(experiment(folder, llama_folder, templates=["plain"], train=ONE_ARM), folder / "run").run("generate")
    return folder / "run"


@pytest.fixture
def adapter(trained, tmp_path) -> Path:
    """A copy of the arm's folder alone, as one that comes from elsewhere."""
    shutil.copytree(trained / "train" / "plain.s0", tmp_path / "adapter")
    (tmp_path / "adapter" / "DONE").unlink()
    return tmp_path / "adapter"


def ask(folder: Path, base: object) -> list[str]:
    return ["ask", str(folder), "Why?", "--set", "generate.max_new_tokens=2", "--set", f"model.base={base}"]


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Harm:
    def harm(folder: Path) -> None:
        found = load_file(folder / WEIGHTS)
        change(found)
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / WEIGHTS)

    return harm


def cast(change: Callable[[torch.Tensor], torch.Tensor], name: str = A) -> Harm:
    return tensors(lambda found: found.update({name: change(found[name])}))


def header(change: Callable[[dict], object]) -> Harm:
    """Change the JSON in front of the weights."""

    def harm(folder: Path) -> None:
        content = (folder / WEIGHTS).read_bytes()
        size = struct.unpack("<Q", content[:8])[0]
        found = json.loads(content[8 : 8 + size])
        change(found)
        text = json.dumps(found).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])

    return harm


def pickled(name: str, **settings: object) -> Harm:
    def harm(folder: Path) -> None:
        found = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).unlink()
        torch.save(found, folder / name, **settings)

    return harm


def flip(tensor: torch.Tensor) -> torch.Tensor:
    tensor[0, 0] = float("nan")
    return tensor


def infinite(tensor: torch.Tensor) -> torch.Tensor:
    tensor[-1, -1] = -float("inf")
    return tensor


def beyond(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() * 0 + 1e300


def renamed(found: dict[str, torch.Tensor], old: str, new: str) -> None:
    for name in [name for name in found if old in name]:
        found[name.replace(old, new)] = found.pop(name)


def zero_b(found: dict[str, torch.Tensor]) -> None:
    found.update({name: tensor * 0 for name, tensor in found.items() if "lora_B" in name})


NOT = f"{CONFIG}: not an adapter configuration: "
FORM = f"{WEIGHTS}: truncated or not a safetensors file"
BROKEN: list[tuple[str, Harm, tuple[str, ...]]] = [
    ("config empty", raw(CONFIG, b""), (f"{CONFIG}:1:", "not JSON", AGAIN)),
    ("config torn", raw(CONFIG, b'{"r": 4, "lora_al'), (f"{CONFIG}:1:", "not JSON", AGAIN)),
    ("config not UTF-8", raw(CONFIG, b'{"r": "\xff"}'), (f"{CONFIG}:1:", "not JSON", AGAIN)),
    ("config a list", raw(CONFIG, b"[4, 8]"), (f"{CONFIG}: [4, 8] was seen; it should be an object", AGAIN)),
    ("config null", raw(CONFIG, b"null"), (f"{CONFIG}: ", "it should be an object", AGAIN)),
    ("config without end", raw(CONFIG, b'{"r":' * 90_000), (":1:1006: not JSON: nested too deeply", AGAIN)),
    ("config a hole", hole(CONFIG), (f"{CONFIG}: larger than", AGAIN)),
    ("config a folder", in_its_place(CONFIG), (f"{CONFIG}: not a file", "save_pretrained writes it")),
    ("config gone", lambda folder: (folder / CONFIG).unlink(), (f"{CONFIG}: no such file", "save_pretrained")),
    ("an empty object", raw(CONFIG, b"{}"), (NOT + '"target_modules" is missing', "list of the modules' names")),
    ("no r", config(r=...), (NOT + '"r" is missing', "a whole number from 1 on is allowed", AGAIN)),
    ("r in quotes", config(r="4"), (NOT + '"r" is "4"', "a whole number from 1 on is allowed", AGAIN)),
    ("r true", config(r=True), (NOT + '"r" is true', "a whole number from 1 on is allowed", AGAIN)),
    ("r 0", config(r=0), (NOT + '"r" is 0', "a whole number from 1 on is allowed", AGAIN)),
    ("r of 30 digits", config(r=10**30), (WEIGHTS, "lora_A.weight is [4, ", f'"r": 1{"0" * 30} in {CONFIG}', AGAIN)),
    ("r of other weights", config(r=8), (WEIGHTS, "lora_A.weight is [4, ", f'"r": 8 in {CONFIG} wants [8, in]', AGAIN)),
    ("no alpha", config(lora_alpha=...), (NOT + '"lora_alpha" is missing', "a number above 0", AGAIN)),
    ("alpha 0", config(lora_alpha=0), (NOT + '"lora_alpha" is 0', "a number above 0", AGAIN)),
    ("alpha NaN", config(lora_alpha=float("nan")), (NOT + '"lora_alpha" is NaN', "a number above 0", AGAIN)),
    ("alpha 7.5", config(lora_alpha=7.5), (CONFIG, '"lora_alpha" is 7.5, no whole number', MERGE)),
    ("dropout 1", config(lora_dropout=1), (NOT + '"lora_dropout" is 1', "from 0 to below 1", AGAIN)),
    ("dropout a list", config(lora_dropout=[0.1]), (NOT + '"lora_dropout" is [0.1]', "from 0 to below 1", AGAIN)),
    ("no modules", config(target_modules=...), (NOT + '"target_modules" is missing', "modules' names", AGAIN)),
    ("modules empty", config(target_modules=[]), (NOT + '"target_modules" is []', "modules' names", AGAIN)),
    ("modules by numbers", config(target_modules=[1]), (NOT + '"target_modules" is [1]', "modules' names", AGAIN)),
    ("a pattern of other modules", config(target_modules=r".*\.c_attn"),
     (f'{CONFIG}: "target_modules", model.layers.0.mlp.down_proj', "the list does not", AGAIN)),
    ("a pattern that is none", config(target_modules="(_proj"), (f"{CONFIG}: the pattern", "missing )", MERGE)),
    ("a pattern without end", config(target_modules=r"(?:[a-z._0-9]+){1,30}\d"),
     (f"{CONFIG}: the pattern", "takes too long", MERGE)),
    ("a layer of no weights", config(layers_to_transform=[0, 1, 5]),
     (f'{CONFIG}: "layers_to_transform", 5: the weights hold none', AGAIN)),
    ("a layer of other weights", config(layers_to_transform=1),
     (f'{CONFIG}: "target_modules", model.layers.0', "the weights hold it", AGAIN)),
    ("layers by name", config(layers_to_transform=["1"]), (NOT + '"layers_to_transform" is ["1"]', AGAIN)),
    ("replicated layers", config(layer_replication=[[0, 2], [1, 2]]), (CONFIG, '"layer_replication" is', MERGE)),
    ("a module of no weights", config(target_modules=["k_proj", "q"]),
     (f'{CONFIG}: "target_modules", down_proj', AGAIN)),
    ("base a number", config(base_model_name_or_path=7),
     (NOT + '"base_model_name_or_path" is 7', "text or null", AGAIN)),
    ("revision a list", config(revision=["main"]), (NOT + '"revision" is ["main"]', "text or null", AGAIN)),
    ("IA3", config(peft_type="IA3"), (CONFIG, '"peft_type" is "IA3"', MERGE)),
    ("DoRA without magnitudes", config(use_dora=True), (WEIGHTS, "lora_magnitude_vector.weight is not there", AGAIN)),
    ("ranks of other weights", config(rank_pattern={"q_proj": 8}),
     (f'{WEIGHTS}: {A} is [4, 32], and "rank_pattern": 8 in {CONFIG} wants [8, in]', AGAIN)),
    ("ranks in a list", config(rank_pattern=[8]), (NOT + '"rank_pattern" is [8]', AGAIN)),
    ("a rank of 0", config(rank_pattern={"q_proj": 0}), (NOT + '"rank_pattern" is', "whole numbers from 1", AGAIN)),
    ("an alpha of 0", config(alpha_pattern={"q_proj": 0}), (NOT + '"alpha_pattern" is', "numbers above 0", AGAIN)),
    ("whole modules gone", config(modules_to_save=["lm_head"]), (WEIGHTS, "lm_head.weight is not there", AGAIN)),
    ("tokens gone", config(trainable_token_indices=[3]), (WEIGHTS, "trainable_tokens_delta is not there", AGAIN)),
    ("PiSSA", config(init_lora_weights="pissa_niter_4"), (CONFIG, '"init_lora_weights" is "pissa_niter_4"', MERGE)),
    ("weights empty", raw(WEIGHTS, b""), (FORM, AGAIN)),
    ("weights a hole", hole(WEIGHTS), (FORM, AGAIN)),
    ("weights a pointer", raw(WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n"), (FORM, AGAIN)),
    ("weights a folder", in_its_place(WEIGHTS), (f"{WEIGHTS}: not a file", AGAIN)),
    ("weights gone", lambda folder: (folder / WEIGHTS).unlink(), (f"{WEIGHTS}: no such file", AGAIN)),
    ("cut in the tensors", cut(WEIGHTS, -9), (FORM, AGAIN)),
    ("a length beyond the file", raw(WEIGHTS, struct.pack("<Q", 1 << 62) + b"{}"), (FORM, AGAIN)),
    ("a header of 99 MB", raw(WEIGHTS, struct.pack("<Q", 99_000_000) + b"{}"), (FORM, AGAIN)),
    ("a header without end", raw(WEIGHTS, struct.pack("<Q", 9000) + b"[" * 9000), (FORM, AGAIN)),
    ("offsets that overlap", header(lambda h: h[A].update(data_offsets=h[B]["data_offsets"])), (FORM, AGAIN)),
    ("offsets beyond the end", header(lambda h: h[A].update(data_offsets=[0, 1 << 50])), (FORM, AGAIN)),
    ("bytes after the end", lambda f: raw(WEIGHTS, (f / WEIGHTS).read_bytes() + b"x")(f), (FORM, AGAIN)),
    ("no tensors", tensors(lambda found: found.clear()), (f"{WEIGHTS}: the adapter is empty", AGAIN)),
    ("whole numbers", cast(lambda t: t.to(torch.int8)), (f"{WEIGHTS}: {A} holds int8; float16", AGAIN)),
    ("8-bit numbers", cast(lambda t: t.to(torch.float8_e4m3fn)), (f"{WEIGHTS}: {A} holds float8_e4m3fn", AGAIN)),
    ("A turned", cast(lambda t: t.T), (f"{WEIGHTS}: {A} is [32, 4]", "wants [4, in]", AGAIN)),
    ("B turned", cast(lambda t: t.T, B), (f"{WEIGHTS}: {B} is [4, 32]", "wants [out, 4]", AGAIN)),
    ("another model's width", cast(lambda t: t[:, :16]), ("q_proj.lora_A is (4, 16)", "give it the base that it was")),
    ("A gone", tensors(lambda found: found.pop(A)), (WEIGHTS, "q_proj.lora_A is missing", AGAIN)),
    ("A and B gone", tensors(lambda f: (f.pop(A), f.pop(B))), ("q_proj", "give it the base that it was trained over")),
    ("a layer too many", tensors(lambda f: f.update({n.replace("s.0.", "s.7."): f[n].clone() for n in (A, B)})),
     ("s.7.",)),
    ("DoRA's magnitudes", tensors(lambda f: f.update({"q.lora_magnitude_vector": torch.ones(4)})),
     ("lora_magnitude", AGAIN)),
    ("the head too", tensors(lambda f: f.update({"lm_head.weight": torch.ones(4, 4)})),
     ("lm_head.weight has no place in this base", AGAIN)),
    ("names of a live model", tensors(lambda f: renamed(f, ".weight", ".default.weight")),
     ("default.weight is no", AGAIN)),
    ("names of other modules", tensors(lambda f: renamed(f, "q_proj", "c_attn")),
     (CONFIG, "c_attn: the weights hold it", AGAIN)),
    ("NaN", cast(flip), (f"{WEIGHTS}: {A} holds numbers that are not finite", AGAIN)),
    ("infinity", cast(infinite, B), (f"{WEIGHTS}: {B} holds numbers that are not finite", AGAIN)),
    ("beyond float32", cast(beyond), (f"{WEIGHTS}: {A} holds numbers that are not finite", AGAIN)),
    ("dead", tensors(zero_b), (f"{WEIGHTS}: every lora_B is zero", "exactly as the untuned base", AGAIN)),
    ("one layer dead", tensors(lambda f: f.update({n: t * 0 for n, t in f.items() if "s.1." in n and "lora_B" in n})),
     (f"{WEIGHTS}: 7 of 14 modules (50%) are dead", "model.layers.1.", AGAIN)),
    ("a shard alone", cast(lambda t: torch.cat([t[:16], t[16:] * 0]), B),
     (f"{WEIGHTS}: 1 of 14 modules (7%) are dead in part", "50.0% of B's rows are zero in model.layers.0", AGAIN)),
    ("a pickle by its name", pickled("adapter_model.bin"),
     ("no such file; adapter_model.bin is a pickle", "weights_only=True")),
    ("a pickle by another", pickled(WEIGHTS), ("a pickle under the name of a safetensors file", "weights_only=True")),
    ("an old pickle", pickled(WEIGHTS, _use_new_zipfile_serialization=False), ("a pickle under", "weights_only=True")),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "said"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_a_broken_adapter_is_refused_with_place_and_cure(harm, said, adapter, llama_folder, capsys, tally):
    tally("inputs tried")
    harm(adapter)
    refused(ask(adapter, llama_folder), capsys, str(adapter), *said)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("adapter_model.bin", {}), (WEIGHTS, {}), (WEIGHTS, {"_use_new_zipfile_serialization": False})],
    ids=["by its name", "by another", "old"],
)
def test_the_command_that_converts_a_pickle_does(name, settings, adapter, llama_folder, capsys, tally):
    tally("inputs tried")
    before, _ = adapter_file.read(adapter)
    pickled(name, **settings)(adapter)
    said = refused(ask(adapter, llama_folder), capsys, "convert it once: python -c ")
    words = shlex.split(said.partition("convert it once: ")[2])
    assert words[:2] == ["python", "-c"]
    assert "weights_only=True" in words[2]
    exec(words[2], {})
    after, _ = adapter_file.read(adapter)
    assert all(torch.equal(after[one], before[one]) for one in before)
    assert main(ask(adapter, llama_folder)) == 0


BASES = [
    ("no base named", config(base_model_name_or_path=None), ("names no model", "--set model.base=FOLDER")),
    ("an empty name", config(base_model_name_or_path=""), ("names no model", "--set model.base=FOLDER")),
    ("a base that is gone", config(base_model_name_or_path="/no/such/model"),
     ("/no/such/model", "--set model.base=FOLDER")),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "said"), [row[1:] for row in BASES], ids=[row[0] for row in BASES])
def test_a_base_that_is_not_there_is_told_with_the_way_to_name_it(harm, said, adapter, capsys, tally):
    tally("inputs tried")
    harm(adapter)
    refused(["ask", str(adapter), "Why?"], capsys, str(adapter / CONFIG), "base_model_name_or_path", *said)


def test_modules_given_as_all_linear_are_those_of_the_weights(adapter, llama_folder, capsys, tally):
    tally("inputs tried")
    assert main(ask(adapter, llama_folder)) == 0
    before = capsys.readouterr().out
    config(target_modules="all-linear", init_lora_weights="gaussian")(adapter)
    assert main(ask(adapter, llama_folder)) == 0
    assert capsys.readouterr().out == before


OF_A_RUN = [
    ("other weights", cast(lambda t: t * 1.5), (WEIGHTS, "other bytes than were trained", "trains it again")),
    ("another alpha", config(lora_alpha=64), (CONFIG, '"lora_alpha" 64', "Put back what the arm was trained with")),
    ("weights torn", cut(WEIGHTS, -9), (FORM, AGAIN)),
    ("config torn", raw(CONFIG, b"{"), (f"{CONFIG}:1:", "not JSON", AGAIN)),
    ("template torn", raw("template.json", b"{"), ("template.json:1:", "not JSON")),
    ("template gone", lambda folder: (folder / "template.json").unlink(), ("template.json", "no such file")),
    ("template a list", raw("template.json", b"[]"), ("template.json:1", "JSON object with the keys")),
]  # fmt: skip


@pytest.mark.parametrize("verb", ["ask", "export"])
@pytest.mark.parametrize(("harm", "said"), [row[1:] for row in OF_A_RUN], ids=[row[0] for row in OF_A_RUN])
def test_an_arm_that_is_not_as_it_was_trained_speaks_to_nobody(verb, harm, said, trained, tmp_path, capsys, tally):
    tally("inputs tried")
    shutil.copytree(trained, tmp_path / "run")
    harm(tmp_path / "run" / "train" / "plain.s0")
    before = files_in(tmp_path)
    more = ["Why?"] if verb == "ask" else ["plain.s0", str(tmp_path / "dest"), "--base", "owner/name"]
    refused([verb, str(tmp_path / "run"), *more], capsys, *said)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    "harm", [cast(flip), cut(WEIGHTS, -9), config(r=8), tensors(zero_b)], ids=["NaN", "torn", "r", "dead"]
)
def test_a_run_trains_a_broken_arm_anew_or_concludes_nothing_from_it(harm, trained, tmp_path, tally):
    tally("inputs tried")
    shutil.copytree(trained.parent, tmp_path / "all")
    run = tmp_path / "all" / "run"
    wanted = (run / "train" / "plain.s0" / WEIGHTS).read_bytes()
    harm(run / "train" / "plain.s0")
    for path in (run / "generate").glob("plain.*"):
        path.unlink()
    assert main(["run", str(run), "--to", "generate"]) == 0
    gates = json.loads((run / "check" / "gates.json").read_text())
    passed = {gate["subject"]: gate["passed"] for gate in gates if gate["name"] == "live_adapter"}
    again = (run / "train" / "plain.s0" / WEIGHTS).read_bytes() == wanted
    assert again or not passed["plain.s0"]
