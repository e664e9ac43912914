"""What iikata hands on is read right by older transformers and peft, too, and what these save is read right here.

`make test-old-readers` lays them over.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import models
import old_reader
import old_writer
from architectures import EXACT, write
from iikata.core.errors import IikataError
from iikata.model.adapters import adapter_file
from iikata.model.adapters.merge import merge, named_for_both
from iikata.model.base import Base
from iikata.model.load import load
from iikata.pipeline import Pipeline
from iikata.pipeline.export import export
from iikata.templates import user_message
from tiny_experiment import experiment

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
OLD = os.environ.get("IIKATA_OLD_READERS", "")
IDS = torch.arange(5, 25)[None]


def publish(folder: Path) -> None:
    """Give a base's configuration the names that a published one has."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(named_for_both(config)))


def want(folder: Path, loaded: Base, ids: torch.Tensor) -> None:
    with torch.no_grad():
        logits = loaded.logits(loaded.hidden(ids, torch.arange(ids.shape[1])[None])[0])
    save_file({"ids": ids, "logits": logits}, folder / "wanted.safetensors")


@pytest.fixture(scope="module")
def families(tmp_path_factory) -> list[Path]:
    """A base, an adapter and merged weights of every family, and the logits that both must give."""
    made = []
    for number, family in enumerate(EXACT.values()):
        folder = tmp_path_factory.mktemp(f"family{number}")
        write(folder / "base", family)
        publish(folder / "base")
        loaded = load(folder / "base", "float32")
        loaded.adapt(4, 8, 0.0, "all-linear").initialise("arm", 0)
        models.stir(loaded.adapters.weights("arm"))
        (folder / "adapter").mkdir()
        adapter_file.save(folder / "adapter", loaded.adapters.weights("arm"), loaded.adapters.shape, base="owner/name")
        merge(folder / "base", folder / "adapter", folder / "merged", [[5, 6, 7, 8]])
        loaded.set_adapter("arm")
        want(folder, loaded, IDS)
        made.append(folder)
    return made


@pytest.fixture(scope="module", params=["llama", "neox_sequential"])
def exported(request, tmp_path_factory, model_folder) -> Path:
    """An arm of a run, exported both ways, tokenizer and template with it."""
    folder = tmp_path_factory.mktemp("exported")
    shutil.copytree(model_folder(request.param), folder / "base")
    publish(folder / "base")
    pipeline = Pipeline(experiment(folder, folder / "base", templates=["rinna"]), folder / "run")
    pipeline.run("train", True)
    export(pipeline.context, "rinna.s0", folder / "adapter", base="owner/name")
    export(pipeline.context, "rinna.s0", folder / "merged", merge=True)
    message = user_message("Say red.", "")
    (folder / "message.json").write_text(json.dumps(message), encoding="utf-8")
    ids = pipeline.context.tokenizer.ids(pipeline.context.templates["rinna"].render("Say red.").prompt)
    loaded = pipeline.context.base
    loaded.adapters.load("arm", adapter_file.read(folder / "adapter")[0])
    loaded.set_adapter("arm")
    want(folder, loaded, torch.tensor([ids]))
    return folder


def check(found: dict[str, dict[str, float]]) -> None:
    assert {name: kinds for name, kinds in found.items() if not max(kinds.values()) < 1e-5} == {}


@pytest.mark.long
def test_every_familys_adapter_and_merged_weights_give_the_same_logits_through_plain_transformers_and_peft(families):
    check({folder.name: old_reader.read(folder) for folder in families})


def test_an_exported_arm_gives_the_same_logits_and_tokens_there(exported):
    check({"arm": old_reader.read(exported)})


@pytest.mark.skipif(not OLD, reason="make test-old-readers lays the older versions over")
def test_older_versions_read_them_too(families, exported):
    made = subprocess.run(
        [sys.executable, old_reader.__file__, *map(str, families), str(exported)],
        env={**os.environ, "PYTHONPATH": OLD}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-3000:]
    found = json.loads(made.stdout.splitlines()[-1])
    assert len(found) > 30
    assert exported.name in found
    check(found)


@pytest.mark.skipif(not OLD, reason="make test-old-readers lays the older versions over")
def test_adapters_that_an_older_peft_saved_give_its_logits_here(tmp_path, model_folder):
    shutil.copytree(model_folder("llama"), tmp_path / "base")
    publish(tmp_path / "base")
    made = subprocess.run(
        [sys.executable, old_writer.__file__, str(tmp_path / "base"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": OLD}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-3000:]
    assert made.stdout.splitlines()[-1] == "0.13.2"
    for kind in ("lora", "rslora", "expression", "all"):
        kept, loaded = load_file(tmp_path / kind / "wanted.safetensors"), load(tmp_path / "base", "float32")
        weights, shape = adapter_file.read(tmp_path / kind)
        loaded.adapt(shape.r, shape.alpha, 0.0, shape.target_modules)
        loaded.adapters.shapes["arm"] = shape
        loaded.adapters.load("arm", weights)
        loaded.set_adapter("arm")
        with torch.no_grad():
            ours = loaded.logits(loaded.hidden(kept["ids"], torch.arange(20)[None])[0])
        assert float((ours - kept["logits"]).norm() / kept["logits"].norm()) < 1e-5, kind
    with pytest.raises(IikataError, match=r"use_dora.*merge_and_unload"):
        adapter_file.read(tmp_path / "dora")
