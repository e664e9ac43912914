"""A model's name leads to its folder, or to one error that says what to do."""

import pytest

from iikata.errors import IikataError
from iikata.model.locate import cache_folder, locate


def test_a_folder_is_found_relative_to_the_experiment_absolute_and_from_home(llama_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(llama_folder.parent))
    for base, folder in (
        (llama_folder.name, llama_folder.parent),
        (f"./{llama_folder.name}", llama_folder.parent),
        (str(llama_folder), llama_folder),
        (f"~/{llama_folder.name}", llama_folder),
    ):
        assert locate(base, folder=folder).samefile(llama_folder)


def test_a_folder_without_a_configuration_is_no_model(tmp_path):
    with pytest.raises(IikataError, match=r"no config\.json"):
        locate(str(tmp_path))


def test_pickled_weights_are_not_loaded_and_the_way_out_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(IikataError, match=r"pytorch_model\.bin.*save_pretrained"):
        locate(str(tmp_path))


def test_a_damaged_configuration_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(IikataError, match=r"config\.json: not readable as JSON"):
        locate(str(tmp_path))


@pytest.mark.parametrize("base", ["rinna", "./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", "a b/c"])
def test_a_name_that_is_neither_a_folder_nor_a_hub_id_is_refused(base, tmp_path):
    with pytest.raises(IikataError, match=r"neither a folder nor a \.gguf file here, nor a hub id"):
        locate(base, folder=tmp_path)


def test_a_hub_that_cannot_be_reached_names_the_id_and_the_way_offline(monkeypatch):
    import huggingface_hub

    def fail(*args, **kwargs):
        raise ConnectionError("no route\nmore")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(IikataError, match=r'"rinna/x" at revision v1 .*no route\).*give its folder'):
        locate("rinna/x", "v1")


def test_only_files_that_run_no_code_are_fetched_from_the_hub(monkeypatch, llama_folder):
    import huggingface_hub

    asked = {}

    def download(base, revision, allow_patterns):
        asked["patterns"] = allow_patterns
        return str(llama_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert locate("owner/name") == llama_folder
    assert not [p for p in asked["patterns"] if p.endswith((".bin", ".py", ".pt", ".pkl"))]


def test_a_gguf_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(IikataError, match=r"m\.gguf: no such \.gguf file"):
        locate("m.gguf", folder=tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a gguf file at all", b"GGUF\x03\x00\x00\x00\x01"])
def test_a_gguf_file_that_is_none_is_named_and_leaves_nothing_in_the_cache(content, tmp_path, monkeypatch):
    monkeypatch.setenv("IIKATA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(IikataError, match=r"m\.gguf: transformers cannot read this"):
        locate("m.gguf", folder=tmp_path)
    assert not list((tmp_path / "cache").iterdir())


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("IIKATA_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("IIKATA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "iikata"
