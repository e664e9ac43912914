"""Fixtures that several rooms share: three small tokenizer families, built once a session."""

from pathlib import Path

import pytest

from tokenizer_folders import FAMILIES, byte_bpe, sp_bytes, sp_nfkc


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
    from iikata.encode import load_tokenizer

    return load_tokenizer(any_tokenizer_folder)
