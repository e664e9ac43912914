"""Python code that a model brings runs only where the experiment names that very model; then it is part of the run."""

import json
import sys
from pathlib import Path

import pytest
import torch
from refusal import refused

from iikata.cli import main
from iikata.config import read
from iikata.core.errors import IikataError
from iikata.model.files.locate import locate
from iikata.pipeline.context import RunContext
from iikata.pipeline.signing import sign, signature_now
from tiny_experiment import ONE_ARM, values, write_files

CONFIGURATION = """
from pathlib import Path
from transformers import LlamaConfig

Path({marker!r}).write_text("configuration ran")


class OwnConfig(LlamaConfig):
    model_type = "own"
"""
MODELING = """
from pathlib import Path
from transformers import LlamaForCausalLM
from .configuration_own import OwnConfig

with Path({marker!r}).open("a") as file:
    file.write(" modeling ran")


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""
AUTO_MAP = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """The file that the model's code writes when it is run; transformers' copies of it are kept from this machine."""
    modules = tmp_path / "modules"
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(modules))
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path / "marker"
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]


@pytest.fixture
def own(tmp_path, llama_folder, marker):
    """A model folder, beside an experiment's files, whose architecture transformers does not know."""
    folder = tmp_path / "own"
    folder.mkdir()
    for path in llama_folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    edit(folder / "config.json", model_type="own", architectures=["OwnForCausalLM"], auto_map=AUTO_MAP)
    (folder / "configuration_own.py").write_text(CONFIGURATION.format(marker=str(marker)))
    (folder / "modeling_own.py").write_text(MODELING.format(marker=str(marker)))
    write_files(tmp_path)
    return folder


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def declared(folder: Path, **model) -> Path:
    """Write the smallest experiment on the model `./own` and return its file."""
    few = {"generate": {"samples": 1, "max_new_tokens": 2}, "train": ONE_ARM}
    made = values(Path("./own"), templates=["plain"], **few)
    made["model"] |= {"base": "./own"} | model
    path = folder / "own.yaml"
    path.write_text(json.dumps(made, indent=1))
    return path


def context(folder: Path, out: str, **model) -> RunContext:
    return RunContext(read(declared(folder, **model)), folder / out, lambda event: None)


@pytest.mark.parametrize("verb", ["run", "plan", "check"])
def test_code_of_a_model_that_is_not_trusted_never_runs(verb, own, tmp_path, marker, capsys, tally):
    said = ('auto_map: this model ("own") needs Python code of its own', "model.trust_remote_code: ./own")
    out = ["--out", str(tmp_path / "run")] if verb == "run" else []
    refused([verb, str(declared(tmp_path)), *out], capsys, str(own / "config.json"), *said)
    assert not marker.exists()
    tally("inputs tried")


def test_the_base_itself_is_asked_without_trust_too(own, marker, capsys):
    refused(["ask", str(own), "hello"], capsys, "needs Python code of its own", f"model.trust_remote_code: {own}")
    assert not marker.exists()


def test_code_of_a_trusted_model_runs_and_the_run_goes_through(own, tmp_path, marker):
    path = declared(tmp_path, trust_remote_code="./own")
    assert main(["plan", str(path)]) == 0
    assert "configuration ran" in marker.read_text()
    out = tmp_path / "run"
    assert main(["run", str(path), "--out", str(out)]) == 0
    assert "modeling ran" in marker.read_text()
    assert json.loads((out / "signature.json").read_text())["model"]["trust_remote_code"] == "./own"
    # The frozen copy names the folder by its absolute path, and so must the trust.
    frozen = read(out / "experiment.yaml").model
    assert frozen.trust_remote_code == frozen.base == str(own)


def test_a_trusted_model_is_computed_by_its_own_class(own, tmp_path):
    pipeline = context(tmp_path, "run", trust_remote_code="./own")
    assert type(pipeline.base.model).__name__ == "OwnForCausalLM"
    assert type(pipeline.base.config).__module__.startswith("transformers_modules.")
    from iikata.model import memory

    assert memory.need(pipeline.base.config, torch.float32, 1, 4, "all-linear").kept > 0


def test_an_edit_of_trusted_code_is_another_model(own, tmp_path, capsys):
    path, out = declared(tmp_path, trust_remote_code="./own"), str(tmp_path / "run")
    assert main(["encode", str(path), "--out", out]) == 0
    before = json.loads((tmp_path / "run" / "signature.json").read_text())["model"]["weights"]
    code = own / "modeling_own.py"
    code.write_text(code.read_text() + "\n# another line\n")
    capsys.readouterr()
    refused(["encode", str(path), "--out", out], capsys, f"model.weights changed ({before} -> ", "--out DIR")


def test_code_that_is_not_trusted_is_no_part_of_the_signature(own, tmp_path, llama_folder):
    edit(own / "config.json", model_type="llama", auto_map=AUTO_MAP)
    before = signature_now(context(tmp_path, "run"))["model"]
    (own / "modeling_own.py").write_text("raise SystemExit")
    assert signature_now(context(tmp_path, "run"))["model"] == before
    assert "trust_remote_code" not in before


def test_transformers_own_class_is_taken_where_it_knows_the_model(own, tmp_path, marker):
    edit(own / "config.json", model_type="llama", auto_map=AUTO_MAP)
    pipeline = context(tmp_path, "run")
    assert type(pipeline.base.model).__module__ == "transformers.models.llama.modeling_llama"
    assert main(["plan", str(declared(tmp_path))]) == 0
    assert not marker.exists()


OTHERS = {
    "another id": ('"owner/other"', '"owner/other" was seen'),
    "a part of the id": ('"own"', '"own" was seen'),
    "true": ("true", "true was seen"),
    "yes as text": ('"true"', '"true" was seen'),
    "a list": ('["./own"]', '["./own"] was seen'),
    "nothing in quotes": ('""', '"" was seen'),
}


@pytest.mark.parametrize("case", OTHERS)
def test_trust_in_anything_but_the_model_itself_is_refused(case, own, tmp_path, marker, capsys, tally):
    written, seen = OTHERS[case]
    path = declared(tmp_path, trust_remote_code="HERE")
    path.write_text(path.read_text().replace('"HERE"', written))
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "trust_remote_code" in text)
    place = f"{path}:{line}:24: model.trust_remote_code: {seen}"
    refused(["check", str(path)], capsys, place, 'trust is given to one model by its name: "./own"')
    assert not marker.exists()
    tally("inputs tried")


def test_trust_does_not_pass_to_a_base_that_set_puts_in_its_place(own, tmp_path, marker, capsys):
    path = declared(tmp_path, trust_remote_code="./own")
    said = ('"./own" was seen', 'by its name: "owner/other"')
    refused(["check", str(path), "--set", "model.base=owner/other"], capsys, *said)
    assert not marker.exists()


ELSEWHERE = {
    "another model on the hub": "owner/evil--modeling_own.OwnForCausalLM",
    "the folder above": "../own2/modeling_own.OwnForCausalLM",
    "an absolute path": "/tmp/modeling_own.OwnForCausalLM",
    "no class": "modeling_own",
    "a list": ["modeling_own.OwnForCausalLM", None],
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_trust_in_a_model_is_none_in_files_that_lie_elsewhere(case, own, marker, tally):
    edit(own / "config.json", auto_map=AUTO_MAP | {"AutoModelForCausalLM": ELSEWHERE[case]})
    with pytest.raises(IikataError, match=r"auto_map\.AutoModelForCausalLM: .* was seen; a class of a file in this"):
        locate(str(own), trusted=True)
    assert not marker.exists()
    tally("inputs tried")


KERNELS = {
    "for attention": {"_attn_implementation": "owner/kernel"},
    "at a version": {"attn_implementation": "owner/kernel@v1:flash"},
    "for a part": {"_attn_implementation": {"text_config": "owner/kernel"}},
    "of the text part": {"text_config": {"_attn_implementation": "owner/kernel"}},
    "for experts": {"experts_implementation": ["eager", "owner/kernel"]},
}


@pytest.mark.parametrize("case", KERNELS)
def test_compiled_code_that_a_configuration_names_is_never_fetched(case, own, tally):
    edit(own / "config.json", **KERNELS[case])
    for trusted in (False, True):
        with pytest.raises(IikataError, match=r'implementation: "owner/kernel.*" was seen, compiled code .*Remove the'):
            locate(str(own), trusted=trusted)
    tally("inputs tried")


BROKEN = {
    "syntax": ("def (", "SyntaxError"),
    "a package that is not there": ("import no_such_package_anywhere", "no_such_package_anywhere"),
    "a class that is not there": ("OtherConfig = 1", "OwnConfig"),
    "an exception": ("raise LookupError('at import')", "LookupError: at import"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_trusted_code_that_fails_is_the_models_fault(case, own, tmp_path, capsys, tally):
    source, said = BROKEN[case]
    (own / "configuration_own.py").write_text(source)
    path = declared(tmp_path, trust_remote_code="./own")
    refused(["encode", str(path), "--out", str(tmp_path / "run")], capsys, str(own), "cannot be loaded", said)
    refused(["plan", str(path)], capsys, str(own), said)
    tally("inputs tried")


def test_pickled_weights_stay_refused_where_code_is_trusted(own, tmp_path, capsys):
    (own / "model.safetensors").rename(own / "pytorch_model.bin")
    path = declared(tmp_path, trust_remote_code="./own")
    refused(
        ["check", str(path)], capsys, str(own), "pytorch_model.bin", "Pickled weights can run code", ".save_pretrained("
    )


def test_a_folder_that_is_written_to_while_it_is_loaded_is_refused(tmp_path, own, monkeypatch):
    edit(own / "config.json", model_type="llama", auto_map={})
    from iikata.model.load import load

    def meanwhile(folder, *args, **kwargs):
        loaded = load(folder, *args, **kwargs)
        weights = bytearray((folder / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (folder / "model.safetensors").write_bytes(weights)
        return loaded

    monkeypatch.setattr("iikata.model.load.load", meanwhile)
    with pytest.raises(IikataError, match=r"own: the files changed .* after they were signed"):
        sign(context(tmp_path, "run"))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_written_to_after_it_was_signed_is_refused(tmp_path, own):
    edit(own / "config.json", model_type="llama", auto_map={})
    pipeline = context(tmp_path, "run")
    assert pipeline.weights
    edit(own / "config.json", rms_norm_eps=0.5)
    with pytest.raises(IikataError, match=r"own: the files changed"):
        pipeline.base  # noqa: B018 - opening it is what is tried
