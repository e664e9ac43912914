"""Fixtures that several rooms share, tokenizers and models built once a session, and the count of faults tried."""

import gc
import os
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path

import pytest
from hypothesis import settings

# Tiny models are slower on two threads than on one, and so is a machine that has other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the oracles run on CPU, where the same bytes are promised

import both_languages
from iikata.core import registry
from tokenizer_folders import FAMILIES, byte_bpe, sp_bytes, sp_nfkc

# The same examples every time: a suite that fails one day in ten tells nobody what changed. To look for new ones:
# pytest --hypothesis-profile=default.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


def pytest_collection_finish() -> None:
    """What was imported lives until the end: a collection of garbage, now seldom, need not walk through torch."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(scope="session", autouse=True)
def packages_read_once():
    """Read what installed packages bring once for each sys.path, not the metadata of all of them for each shelf."""

    @cache
    def read(path: tuple[str, ...], group: str) -> EntryPoints:
        return entry_points(group=group)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "entry_points", lambda group: read(tuple(sys.path), group))
        yield


@pytest.fixture(scope="session", autouse=True)
def said_in_both_languages():
    with pytest.MonkeyPatch.context() as patch:
        both_languages.watch(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_wait_for_the_disk():
    """What the system was given outlives a killed process; only a power cut needs more, which tests/faults plays."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def byte_bpe_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_bpe(tmp_path_factory.mktemp("byte_bpe"))


@pytest.fixture(scope="session")
def sp_nfkc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sp_nfkc(tmp_path_factory.mktemp("sp_nfkc"))


@pytest.fixture(scope="session")
def sp_bytes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sp_bytes(tmp_path_factory.mktemp("sp_bytes"))


@pytest.fixture(scope="session", params=list(FAMILIES))
def any_tokenizer_folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(f"{request.param}_folder")


@pytest.fixture(scope="session")
def any_tokenizer(any_tokenizer_folder: Path):
    """An iikata Tokenizer of each family in turn."""
    from iikata.tokenize import load_tokenizer

    return load_tokenizer(any_tokenizer_folder)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a tiny random model by its family's name in `models.FAMILIES`; each is built once."""

    @cache
    def folder_of(family: str) -> Path:
        import models

        made = models.FAMILIES[family](tmp_path_factory.mktemp(family))
        gc.freeze()  # transformers' classes for it live until the end too
        return made

    return folder_of


@pytest.fixture(scope="session")
def llama_folder(model_folder: Callable[[str], Path]) -> Path:
    return model_folder("llama")


@pytest.fixture(scope="session")
def deep_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Llama with five layers, for stages."""
    from transformers import LlamaConfig

    import models

    config = LlamaConfig(**models.shape(num_key_value_heads=2, num_hidden_layers=5))
    return models.write(tmp_path_factory.mktemp("deep"), config, models.byte_bpe)


@pytest.fixture(scope="session")
def rinna_folder(model_folder: Callable[[str], Path]) -> Path:
    """GPT-NeoX with rinna's residual and rotary, and a SentencePiece tokenizer."""
    return model_folder("neox_sequential")


FAULTS: Counter[str] = Counter()
"""What the fault tests tried, printed at the end."""


@pytest.fixture
def tally() -> Callable[..., None]:
    """Count `times` of `what`, as in tally("kills survived")."""

    def count(what: str, times: int = 1) -> None:
        FAULTS[what] += times

    return count


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of several processes (pytest-xdist)
        session.config.workeroutput["faults"] = dict(FAULTS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    for what, times in getattr(node, "workeroutput", {}).get("faults", {}).items():
        FAULTS[what] += times


def pytest_terminal_summary(terminalreporter) -> None:
    if FAULTS:
        terminalreporter.section("faults")
        for what, times in sorted(FAULTS.items()):
            terminalreporter.write_line(f"{what}: {times}")
