"""Every reader of files from outside, as a function of bytes: for the seeds in seeds/ and for fuzz.py."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import tokenizers
import torch
from safetensors.torch import save
from tokenizers import models, pre_tokenizers

from iikata import config, data
from iikata.config import DataSettings
from iikata.core.errors import IikataError
from iikata.core.records import Arm
from iikata.metrics.endpoint import Endpoint
from iikata.model.adapters import adapter_file
from iikata.rating.ratings import Ratings
from iikata.run_folder import RunFolder
from iikata.stats.reading import read_table
from iikata.templates import load
from iikata.tokenize import load_tokenizer

Parser = Callable[[bytes, Path], object]
"""Reads `data` as a file in `folder`, an empty one but for what it wrote there itself."""
LONGEST = 6000
"""Characters of a message: more than a screen helps nobody."""


def outcome(name: str, data: bytes, folder: Path) -> str:
    """Return "read", or what the refusal says; everything else is a finding, raised as it is."""
    try:
        PARSERS[name](data, folder)
    except IikataError as error:
        said = str(error)
        assert said.strip(), "a refusal without a word"
        assert "Traceback" not in said, said
        assert len(said) < LONGEST, f"{len(said)} characters: {said[:500]}"
        names = [folder.name, 'template "', *(file.name for file in folder.iterdir())]
        assert any(name in said for name in names), f"no file is named: {said}"
        return said
    return "read"


def kind_of(said: str, folder: Path) -> str:
    """Return an outcome without its numbers, quotes and paths: one for each way to be refused."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "…", said.replace(str(folder), ""))
    return bare[:90]


def _written(data: bytes, path: Path) -> Path:
    path.write_bytes(data)
    return path


def _file(name: str, read: Callable[[Path], object]) -> Parser:
    return lambda data, folder: read(_written(data, folder / name))


def _said(read: Callable[[], object]) -> str:
    """Return what a refusal says, or nothing where there is none."""
    try:
        read()
    except IikataError as error:
        return str(error)
    return ""


def _rendered(path: Path) -> object:
    template = load(path.name, path.parent, special_tokens={"bos_token": "<s>", "eos_token": "</s>"})
    template.template_literals()
    return template.render("Add.", "1, 1", "2"), template.render("Add."), template.answer("2"), template.hash


def _rows(path: Path) -> object:
    return data.read(DataSettings(train=path.name, validation=0), path.parent)


def lines(data: bytes, folder: Path) -> object:
    """Read the same lines as answers, as the steps of an arm, and as a metric's scores."""
    run = RunFolder(folder)
    for path in (run.steps(Arm("a", 0)), run.scores("nll")):
        path.parent.mkdir(parents=True, exist_ok=True)
        _written(data, path)
    answers = _said(lambda: run.read_answers(_written(data, folder / "cell.jsonl")))
    steps = _said(lambda: run.read_steps(Arm("a", 0)))
    scores = _said(lambda: run.read_scores("nll"))
    assert all(".jsonl" in said for said in (answers, steps, scores) if said)
    if answers and steps and scores:
        raise IikataError(answers)
    return answers, steps, scores


def adapter(data: bytes, folder: Path) -> object:
    """Read the bytes as the weights beside a good configuration, then as the configuration."""
    other = folder / "other"
    other.mkdir(exist_ok=True)
    _written(data, other / adapter_file.WEIGHTS)
    _written(b'{"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}', other / adapter_file.CONFIG)
    said = _said(lambda: adapter_file.read(other))
    assert not said or adapter_file.WEIGHTS in said, said
    _written(data, folder / adapter_file.CONFIG)
    _written(_weights(), folder / adapter_file.WEIGHTS)
    return adapter_file.read(folder)


@cache
def _weights() -> bytes:
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora"
    return save({f"{name}_A.weight": torch.ones(2, 4), f"{name}_B.weight": torch.ones(4, 2)})


def tokenizer(data: bytes, folder: Path) -> object:
    """Read the bytes as a model folder's tokenizer.json, then as its tokenizer_config.json beside a good one."""
    other = folder / "other"
    other.mkdir(exist_ok=True)
    _written(_tokenizer(), other / "tokenizer.json")
    _written(data, other / "tokenizer_config.json")
    _written(data, folder / "tokenizer.json")
    _written(b'{"eos_token": "</s>"}', folder / "tokenizer_config.json")
    said = _said(lambda: load_tokenizer(other).ids("a b"))
    assert not said or other.name in said, said
    return load_tokenizer(folder).ids("a b")


@cache
def _tokenizer() -> bytes:
    made = tokenizers.Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "</s>": 2}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(["</s>"])
    return made.to_str().encode()


PARSERS: dict[str, Parser] = {
    "experiment": _file("exp.yaml", config.read),
    "template_json": _file("mine.json", _rendered),
    "jinja": _file("mine.jinja", _rendered),
    **{f"rows_{kind}": _file(f"rows.{kind}", _rows) for kind in ("json", "jsonl", "csv", "parquet")},
    "probes": _file("probes.jsonl", data.read_probes),
    "scores": _file("scores.jsonl", read_table),
    "lines": lines,
    "adapter": adapter,
    "tokenizer": tokenizer,
    "ratings": _file("ratings.jsonl", lambda path: Ratings(path).all()),
    "judge_cache": _file(
        "judge_cache.jsonl", lambda path: Endpoint("http://127.0.0.1:9/v1", "m", path, None, 1.0)._replies
    ),
}
