"""One finished run of the tiny experiment for all tests of the pipeline, and copies of it that a test may change."""

import shutil
from functools import cache
from importlib.metadata import version
from pathlib import Path

import pytest

from iikata.config import read
from iikata.pipeline import Pipeline
from iikata.pipeline.export import export
from iikata.templates import TEMPLATES, to_jinja
from tiny_experiment import experiment, written

VERSION_OF = cache(version)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Leave out what many runs repeat and other rooms hold: pictures' pixels, packages' versions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("iikata.report.picture.lacking", lambda svg: None)
        patch.setattr("iikata.report.picture.png", lambda svg, scale=1: svg.encode())
        patch.setattr("iikata.pipeline.signature.version", VERSION_OF)
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory, llama_folder) -> Path:
    """A folder with the experiment's files, tiny.yaml and the finished run in run/; tests only read it."""
    folder = tmp_path_factory.mktemp("finished")
    Pipeline(experiment(folder, llama_folder), folder / "run").run()
    written(folder, llama_folder)
    return folder


@pytest.fixture(scope="session")
def whole_run(finished) -> Path:
    return finished / "run"


@pytest.fixture
def own(finished, tmp_path) -> Path:
    """A copy of `finished`."""
    return shutil.copytree(finished, tmp_path, dirs_exist_ok=True)


@pytest.fixture(scope="session")
def served_folders(finished, tmp_path_factory, llama_folder):
    """Exported folders: the arm merged; its tokenizer and template over the base; the arm with another template."""
    made = tmp_path_factory.mktemp("served")
    context = Pipeline(read(finished / "run" / "experiment.yaml", ()), finished / "run").context
    export(context, "alpaca_short.s0", made / "healthy", merge=True)
    shutil.copytree(made / "healthy", made / "inert")
    shutil.copy(llama_folder / "model.safetensors", made / "inert" / "model.safetensors")
    shutil.copytree(made / "healthy", made / "template")
    other = to_jinja(TEMPLATES["plain"]).chat_template
    (made / "template" / "chat_template.jinja").write_text(other, encoding="utf-8")
    return made
