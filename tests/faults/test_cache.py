"""The model cache: what is half made is never used, what is damaged is made anew, what cannot be written is said."""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from refusal import files_in, refused

import tiny_gguf
from iikata.core.errors import IikataError
from iikata.model.files import cache, gguf
from iikata.model.files.cache import cache_folder, make_once
from iikata.model.files.locate import locate
from tiny_experiment import values, write_files

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
    write_files(folder)
    path = folder / "e.yaml"
    path.write_text(json.dumps(values(base, templates=["plain"])))
    return str(path)


def test_a_converted_file_lists_what_was_written_and_is_not_made_twice(model_file, kept, monkeypatch):
    folder = locate(str(model_file))
    listed = json.loads((folder / cache.SOURCE).read_text())
    assert listed["files"].keys() == set(files_in(folder)) - {cache.SOURCE}
    assert listed["files"]["model.safetensors"]["size"] == (folder / "model.safetensors").stat().st_size
    monkeypatch.setattr(gguf, "write", None)
    assert locate(str(model_file)) == folder


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES = {
    "weights cut short": (lambda f: truncated(f / "model.safetensors"), "model.safetensors is damaged"),
    "weights gone": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is damaged (missing"),
    "a tokenizer that is empty": (
        lambda f: (f / "tokenizer.json").write_text(""),
        "tokenizer.json is damaged (0 bytes",
    ),
    "a folder for a file": (lambda f: [(f / "config.json").unlink(), (f / "config.json").mkdir()], "config.json is"),
    "no list": (lambda f: (f / "source.json").unlink(), "source.json is missing or damaged"),
    "half a list": (lambda f: truncated(f / "source.json"), "source.json is missing or damaged"),
    "a list of nothing": (lambda f: (f / "source.json").write_text("[]"), "source.json is missing or damaged"),
    "a list without files": (lambda f: (f / "source.json").write_text('{"files": 3}'), "source.json is missing or"),
    "a list without sizes": (
        lambda f: (f / "source.json").write_text('{"files": {"a": {}}}'),
        "source.json is missing",
    ),
    "a list nested for ever": (lambda f: (f / "source.json").write_text("[" * 99_999), "source.json is missing or"),
    "a list that is no text": (lambda f: (f / "source.json").write_bytes(b"\xff\xfe"), "source.json is missing or"),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_folder_that_was_damaged_is_named_and_made_anew(case, kept, capsys, tally):
    def write(folder: Path):
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (folder / name).write_text(f"{name} whole")
        return {"file": "m.gguf"}

    folder = make_once(kept / "model", write)
    before = files_in(folder)
    damage, said = DAMAGES[case]
    damage(folder)
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


@contextmanager
def shared_folder():
    """A folder that other users may read, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="iikata-cache-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


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
    with shared_folder() as folder:
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


@contextmanager
def largest_file(size: int):
    """Let every write beyond `size` bytes of a file fail, as on a full disk, whoever makes it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("size", "what"), [(10_000, "the tokenizer"), (50_000, "the weights")])
def test_a_disk_that_takes_no_more_is_said_and_nothing_half_stays(
    size, what, model_file, tmp_path, kept, capsys, tally
):
    path = declared(tmp_path, model_file)
    with largest_file(size):
        refused(
            ["check", path], capsys, str(kept), "could not be written or read", "File too large", "Set IIKATA_CACHE"
        )
    assert names(kept) == [".lock"], what
    assert (locate(str(model_file)) / "model.safetensors").is_file()
    tally("faults injected")


def test_a_full_disk_is_said_and_nothing_half_stays(model_file, tmp_path, tally):
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk of 64 kB can be mounted here: {done.stderr.strip()}")
    try:
        with pytest.raises(
            IikataError, match=r"could not be written or read: .*No space left on device.*Set IIKATA_CACHE"
        ):
            gguf.convert(model_file, disk)
        assert names(disk) == [".lock"]
        tally("faults injected")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_cache_that_is_a_file_is_said(model_file, tmp_path, monkeypatch, capsys, tally):
    (tmp_path / "file").touch()
    path = declared(tmp_path, model_file)
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        monkeypatch.setenv("IIKATA_CACHE", str(place))
        refused(["check", path], capsys, str(place), "could not be written or read", "Set IIKATA_CACHE")
        tally("faults injected")


def test_the_cache_has_a_place_whatever_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for given in ("", None):
        monkeypatch.setenv("IIKATA_CACHE", given) if given is not None else monkeypatch.delenv("IIKATA_CACHE")
        assert cache_folder() == tmp_path / ".cache" / "iikata"
    monkeypatch.setenv("IIKATA_CACHE", "~/models")
    assert cache_folder() == tmp_path / "models"


def test_a_user_without_a_home_is_told_to_name_a_folder(monkeypatch):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("IIKATA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(IikataError, match="Set IIKATA_CACHE"):
        cache_folder()
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/iikata")
