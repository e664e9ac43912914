"""A model's name leads to its folder, or to one error that says what to do."""

import subprocess
import sys

import pytest

from iikata.core.errors import IikataError
from iikata.model.files.locate import locate


def test_a_folder_is_found_relative_to_the_experiment_absolute_and_from_home(llama_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(llama_folder.parent))
    for base, folder in (
        (llama_folder.name, llama_folder.parent),
        (f"./{llama_folder.name}", llama_folder.parent),
        (str(llama_folder), llama_folder),
        (f"~/{llama_folder.name}", llama_folder),
    ):
        assert locate(base, folder=folder).samefile(llama_folder)


def test_what_a_model_is_called_is_told_without_torch(llama_folder):
    """`compare` and `report` say how an arm is exported, and open no model."""
    code = (
        "import sys; from pathlib import Path; from iikata.model.files.locate import hub_name;"
        f"hub_name('x', Path({str(llama_folder)!r})); sys.exit(bool({{'torch', 'transformers'}} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_without_a_configuration_is_no_model(tmp_path):
    with pytest.raises(IikataError, match=r"no config\.json"):
        locate(str(tmp_path))


@pytest.mark.parametrize("base", ["rinna", "./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "a b/c", "~nobody/m"])
def test_a_name_that_is_neither_a_folder_nor_a_hub_id_is_refused(base, tmp_path):
    with pytest.raises(IikataError, match=r"neither a folder nor a \.gguf file here, nor a hub id"):
        locate(base, folder=tmp_path)


def test_a_folder_that_was_renamed_is_named_and_a_file_is_no_folder(tmp_path):
    (tmp_path / "my-model").mkdir()
    with pytest.raises(IikataError, match=r'file here \(did you mean "my-model"\?\), nor .*where it lies now'):
        locate("./my_model", folder=tmp_path)
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(IikataError, match="file here, nor a hub id"):  # not itself
        locate("./weights.safetensors", folder=tmp_path)


def test_a_hub_that_cannot_be_reached_names_the_id_and_the_way_offline(monkeypatch):
    import huggingface_hub

    def fail(*args, **kwargs):
        raise ConnectionError("no route\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(IikataError, match=r'"rinna/x" at revision v1 .*no route\).*give its folder'):
        locate("rinna/x", "v1")


CONTENTS = {
    "torn": ("{", "not JSON"),
    "a list": ("[]", "it should be an object"),
    "nested for ever": ("[" * 99_999, "nested too deeply"),
    "Latin": (b'{"a": "\xe9"}', "not JSON"),
    "layers without end": ('{"num_hidden_layers": 1000000}', "up to 1000 layers are allowed"),
    "layers without end in a part": ('{"text_config": {"n_layer": 1001}}', "n_layer: 1001 was seen"),
    "weights elsewhere": ('{"transformers_weights": "../a.safetensors"}', "transformers_weights"),
    "weights that are not signed": ('{"transformers_weights": "x.safetensors"}', '"x.safetensors" was seen; model'),
    "weights that are a pickle": (
        '{"transformers_weights": "adapter_model.bin"}',
        '"adapter_model.bin" was seen; model',
    ),
    "code that is a list": ('{"auto_map": [1]}', "auto_map: an object is needed, saw list"),
}


@pytest.mark.parametrize("case", CONTENTS)
def test_a_configuration_that_is_none_is_named(case, tmp_path):
    content, said = CONTENTS[case]
    (tmp_path / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "weights.safetensors").touch()
    with pytest.raises(IikataError, match=rf"config\.json:.*{said}"):
        locate(str(tmp_path))


INDICES = {
    "no text": (b"\xff", "not JSON"),
    "no map": (b"{}", "no weight_map"),
    "an empty map": (b'{"weight_map": {}}', "no weight_map"),
    "a map that is a list": (b'{"weight_map": ["a"]}', "no weight_map"),
    "a pickle": (b'{"weight_map": {"a": "a.bin"}}', r"\"a\.bin\" is no \.safetensors file of this folder"),
    "a number": (b'{"weight_map": {"a": 3}}', r"\"3\" is no \.safetensors file"),
    "a folder above": (b'{"weight_map": {"a": "../a.safetensors"}}', "is no .safetensors file of this folder"),
    "an absolute path": (b'{"weight_map": {"a": "/a.safetensors"}}', "is no .safetensors file of this folder"),
    "a part that did not come": (b'{"weight_map": {"a": "b.safetensors"}}', r"b\.safetensors is not in the folder"),
}


@pytest.mark.parametrize("case", INDICES)
def test_an_index_that_names_no_weights_of_the_folder_is_refused(case, tmp_path):
    content, said = INDICES[case]
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "a.safetensors").touch()
    (tmp_path / "model.safetensors.index.json").write_bytes(content)
    with pytest.raises(IikataError, match=rf"index\.json:.*{said}"):
        locate(str(tmp_path))


def test_a_base_beside_an_adapter_is_refused(llama_folder, tmp_path):
    for path in llama_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert locate(str(tmp_path)) == tmp_path
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/other"}')
    with pytest.raises(IikataError, match=r"adapter_config\.json: an adapter lies in the model's folder"):
        locate(str(tmp_path))


def test_a_gguf_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(IikataError, match=r"m\.gguf\": no such file\. Give a \.gguf file"):
        locate("m.gguf", folder=tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a gguf file at all", b"GGUF\x03\x00\x00\x00\x01"])
def test_a_gguf_file_that_is_none_is_named_and_leaves_nothing_in_the_cache(content, tmp_path, monkeypatch):
    monkeypatch.setenv("IIKATA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(IikataError, match=r"m\.gguf: transformers cannot read this"):
        locate("m.gguf", folder=tmp_path)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]
