"""The model cache: what is half made is never used, what is damaged is made anew, what cannot be written is said."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from refusal import files_in, refused

import tiny_gguf
from iikata.core.errors import IikataError
from iikata.model.files import cache, gguf
from iikata.model.files.cache import cache_folder, make_once
from iikata.model.files.locate import locate
from tiny_experiment import written

SOURCE = Path(__file__).parent.parent.parent / "src"


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    return tiny_gguf.write(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("IIKATA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def child(code: str, *argv: object, **how: str) -> subprocess.Popen[str]:
    """Start Python on `code`, with iikata to import."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE)} | how
    command = [sys.executable, "-c", code, *map(str, argv)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def declared(folder: Path, base: Path) -> str:
    return str(written(folder, base, templates=["plain"]))


def test_a_converted_file_lists_what_was_written_and_is_not_made_twice(model_file, kept, monkeypatch):
    folder = locate(str(model_file))
    listed = json.loads((folder / cache.SOURCE).read_text())
    assert listed["files"].keys() == set(files_in(folder)) - {cache.SOURCE}
    assert listed["files"]["model.safetensors"]["size"] == (folder / "model.safetensors").stat().st_size
    monkeypatch.setattr(gguf, "write", None)
    assert locate(str(model_file)) == folder


LIST = "source.json"
NO_LIST = "source.json is missing or damaged"
DAMAGES = {
    "weights cut short": ("model.safetensors", b"model.safetensors whol", "model.safetensors is damaged"),
    "weights gone": ("model.safetensors", None, "model.safetensors is damaged (missing"),
    "a tokenizer that is empty": ("tokenizer.json", b"", "tokenizer.json is damaged (0 bytes"),
    "a folder for a file": ("config.json", ..., "config.json is"),
    "no list": (LIST, None, NO_LIST),
    "half a list": (LIST, b'{"files": {"model', NO_LIST),
    "a list of nothing": (LIST, b"[]", NO_LIST),
    "a list without files": (LIST, b'{"files": 3}', NO_LIST),
    "a list without sizes": (LIST, b'{"files": {"a": {}}}', NO_LIST),
    "a list nested for ever": (LIST, b"[" * 99_999, NO_LIST),
    "a list that is no text": (LIST, b"\xff\xfe", NO_LIST),
}


@pytest.mark.parametrize(("name", "content", "said"), DAMAGES.values(), ids=DAMAGES)
def test_a_folder_that_was_damaged_is_named_and_made_anew(name, content, said, kept, capsys, tally):
    def write(folder: Path):
        for file in ("config.json", "model.safetensors", "tokenizer.json"):
            (folder / file).write_text(f"{file} whole")
        return {"file": "m.gguf"}

    folder = make_once(kept / "model", write)
    before = files_in(folder)
    (folder / name).unlink()
    if content is ...:
        (folder / name).mkdir()
    elif content is not None:
        (folder / name).write_bytes(content)
    capsys.readouterr()
    assert make_once(kept / "model", write) == folder
    assert f"iikata: {folder}: {said}" in capsys.readouterr().err
    assert files_in(folder) == before
    assert names(kept) == [".lock", folder.name]
    tally("faults injected")


WRITER = """
import sys, time
from pathlib import Path
from iikata.model.files.cache import make_once

def write(folder):
    with Path(sys.argv[2]).open("a") as log:
        log.write("begun\\n")
    (folder / "weights").write_bytes(bytes(300_000))
    (folder / "below").mkdir()
    print("writing", flush=True)
    time.sleep(float(sys.argv[3]))
    return {"by": "child"}

print(make_once(Path(sys.argv[1]), write), flush=True)
"""


def test_what_a_killed_conversion_left_is_swept_by_the_next(model_file, tmp_path, kept, tally):
    target = gguf.folder_of(model_file, cache.sha256_of(model_file), kept)
    killed = child(WRITER, target, tmp_path / "log", 60)
    assert killed.stdout.readline() == "writing\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert names(kept) == [".lock", f".{target.name}.part"]
    assert gguf.convert(model_file, kept) == target
    assert names(kept) == [".lock", target.name]
    tally("kills survived")


def test_two_processes_do_not_make_the_same_folder_at_once(tmp_path, kept):
    target, log = kept / "model", tmp_path / "log"
    both = [child(WRITER, target, log, 0.3) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert all(process.returncode == 0 for process in both), said
    assert all(str(target) in words for words in said)
    assert log.read_text() == "begun\n"
    assert names(target) == ["below", "source.json", "weights"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, IikataError("no"), ZeroDivisionError])
def test_a_conversion_that_ends_early_leaves_nothing(error, kept):
    def write(folder: Path):
        (folder / "half").touch()
        raise error

    with pytest.raises(type(error) if isinstance(error, Exception) else error):
        make_once(kept / "model", write)
    assert names(kept) == [".lock"]


def test_weights_reach_the_disk_before_they_take_their_name(kept, monkeypatch):
    """A power cut after a rename that overtook the bytes would leave a folder of zeros that looks whole."""
    done = []
    real = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        real[0](descriptor)

    def renamed(source, target) -> None:
        done.append(f"rename {Path(target).name}")
        real[1](source, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not say which file a descriptor is")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)

    def write(folder: Path):
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"w")
        return {}

    make_once(kept / "model", write)
    at = done.index("rename model")
    assert {"sync config.json", "sync model.safetensors", "sync .source.json.tmp"} <= set(done[:at])
    assert done[at - 1] == "sync .model.part"
    assert done[at + 1 :] == ["sync cache"]


def test_neighbours_of_a_gguf_file_have_no_part_in_it(model_file, tmp_path, kept):
    alone = files_in(gguf.convert(model_file, kept))
    beside, marker = tmp_path / "beside", tmp_path / "marker"
    beside.mkdir()
    (beside / "tiny.gguf").write_bytes(model_file.read_bytes())
    (beside / "code.py").write_text(f"open({str(marker)!r}, 'w')\nclass Own: pass\n")
    own = {"auto_map": {"AutoConfig": "code.Own", "AutoTokenizer": ["code.Own", "code.Own"]}, "model_type": "own"}
    (beside / "config.json").write_text(json.dumps(own))
    (beside / "tokenizer_config.json").write_text(json.dumps(own | {"chat_template": "{{ 1 }}", "eos_token": "a"}))
    (beside / "generation_config.json").write_text('{"temperature": 0.5}')
    (beside / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/evil"}')
    assert files_in(gguf.convert(beside / "tiny.gguf", tmp_path / "other")) == alone
    assert not marker.exists()


def test_a_long_name_of_a_gguf_file_fits_the_cache(model_file, tmp_path, kept):
    path = tmp_path / ("長い名" * 20 + "x" * 60 + ".gguf")
    path.write_bytes(model_file.read_bytes())
    assert (locate(str(path)) / "model.safetensors").is_file()


READER = """
import os, sys
import filelock
from iikata.core.errors import IikataError
from iikata.model.files.locate import locate
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    found = locate(sys.argv[1])
    print(found, len((found / "model.safetensors").read_bytes()))
except IikataError as error:
    print("refused:", error)
"""


def test_a_cache_that_may_only_be_read_serves_what_it_has_and_says_what_it_cannot(model_file, tally):
    with tempfile.TemporaryDirectory(prefix="iikata-cache-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # other users may read it, unlike pytest's own
        own = folder / "tiny.gguf"
        own.write_bytes(model_file.read_bytes())
        made = gguf.convert(own, folder / "cache")
        other = folder / "other.gguf"
        other.write_bytes(b"GGUF another")
        (folder / "cache").chmod(0o555)
        try:
            for path, said in (
                (own, f"{made} {(made / 'model.safetensors').stat().st_size}"),
                (other, f"refused: {folder / 'cache' / 'other-'}"),
                ("smollm2", f"refused: {folder / 'cache' / 'SmolLM2'}"),
            ):
                process = child(READER, path, IIKATA_CACHE=str(folder / "cache"))
                out = process.communicate(timeout=60)[0]
                if "Operation not permitted" in out or "setgroups" in out:
                    pytest.skip(f"root cannot become another user here: {out.strip().splitlines()[-1]}")
                assert out.startswith(said), out
                if "refused" in said:
                    assert "Permission denied" in out
                    assert "Set IIKATA_CACHE to a folder that can be written" in out
                tally("faults injected")
        finally:
            (folder / "cache").chmod(0o755)


@pytest.mark.parametrize("size", [10_000, 50_000], ids=["the tokenizer", "the weights"])
def test_a_disk_that_takes_no_more_is_said_and_nothing_half_stays(size, model_file, tmp_path, kept, capsys, tally):
    path, before = declared(tmp_path, model_file), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # writes beyond it fail, as on a full disk
    try:
        said = ("could not be written or read", "File too large", "Set IIKATA_CACHE")
        refused(["check", path], capsys, str(kept), *said)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(kept) == [".lock"]
    assert (locate(str(model_file)) / "model.safetensors").is_file()
    tally("faults injected")


def test_a_cache_that_is_a_file_is_said(model_file, tmp_path, monkeypatch, capsys, tally):
    (tmp_path / "file").touch()
    path = declared(tmp_path, model_file)
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        monkeypatch.setenv("IIKATA_CACHE", str(place))
        refused(["check", path], capsys, str(place), "could not be written or read", "Set IIKATA_CACHE")
        tally("faults injected")


def test_the_cache_is_in_a_folder_whatever_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for own, xdg, wanted in (
        (None, None, tmp_path / ".cache" / "iikata"),
        ("", None, tmp_path / ".cache" / "iikata"),
        ("~/models", "/x", tmp_path / "models"),
        (None, "/somewhere", Path("/somewhere/iikata")),
    ):
        for name, value in (("IIKATA_CACHE", own), ("XDG_CACHE_HOME", xdg)):
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
        assert cache_folder() == wanted


def test_a_user_without_a_home_is_told_to_name_a_folder(monkeypatch):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("IIKATA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(IikataError, match="Set IIKATA_CACHE"):
        cache_folder()
