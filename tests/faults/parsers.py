"""Every reader of files from outside, as a function of bytes: for the seeds in seeds/ and for fuzz.py."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from iikata.core.errors import IikataError
from iikata.core.records import Arm

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


def experiment(data: bytes, folder: Path) -> object:
    from iikata.config import read

    return read(_written(data, folder / "exp.yaml"))


def template_json(data: bytes, folder: Path) -> object:
    _written(data, folder / "mine.json")
    return _rendered("mine.json", folder)


def jinja(data: bytes, folder: Path) -> object:
    _written(data, folder / "mine.jinja")
    return _rendered("mine.jinja", folder)


def _rendered(name: str, folder: Path) -> object:
    from iikata.templates import load

    template = load(name, folder, special_tokens={"bos_token": "<s>", "eos_token": "</s>"})
    template.template_literals()
    return template.render("Add.", "1, 1", "2"), template.render("Add."), template.answer("2"), template.hash


def _rows(suffix: str) -> Parser:
    def rows(data: bytes, folder: Path) -> object:
        from iikata.config import DataSettings
        from iikata.data import read

        return read(DataSettings(train=_written(data, folder / f"rows{suffix}").name, validation=0), folder)

    return rows


def probes(data: bytes, folder: Path) -> object:
    from iikata.data import read_probes

    return read_probes(_written(data, folder / "probes.jsonl"))


def scores(data: bytes, folder: Path) -> object:
    from iikata.stats.reading import read_table

    return read_table(_written(data, folder / "scores.jsonl")).scores()


def lines(data: bytes, folder: Path) -> object:
    """Read the same lines as answers, as the steps of an arm, and as a metric's scores."""
    from iikata.run_folder import RunFolder

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


def _said(read: Callable[[], object]) -> str:
    """Return what a refusal says, or nothing where there is none."""
    try:
        read()
    except IikataError as error:
        return str(error)
    return ""


def adapter(data: bytes, folder: Path) -> object:
    """Read the bytes as the weights beside a good configuration, then as the configuration."""
    from iikata.model.adapters import adapter_file

    whole = folder / "whole"
    whole.mkdir(exist_ok=True)
    _written(data, whole / adapter_file.WEIGHTS)
    _written(b'{"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}', whole / adapter_file.CONFIG)
    said = _said(lambda: adapter_file.read(whole))
    assert not said or adapter_file.WEIGHTS in said, said
    _written(data, folder / adapter_file.CONFIG)
    _written(_weights(), folder / adapter_file.WEIGHTS)
    return adapter_file.read(folder)


@cache
def _weights() -> bytes:
    import torch
    from safetensors.torch import save

    name = "base_model.model.model.layers.0.self_attn.q_proj.lora"
    return save({f"{name}_A.weight": torch.ones(2, 4), f"{name}_B.weight": torch.ones(4, 2)})


def tokenizer(data: bytes, folder: Path) -> object:
    """Read the bytes as a model folder's tokenizer.json, then as its tokenizer_config.json beside a good one."""
    from iikata.tokenize import load_tokenizer

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
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "</s>": 2}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(["</s>"])
    return made.to_str().encode()


def ratings(data: bytes, folder: Path) -> object:
    from iikata.rating.ratings import Ratings

    return Ratings(_written(data, folder / "ratings.jsonl")).all()


def judge_cache(data: bytes, folder: Path) -> object:
    from iikata.metrics.endpoint import Endpoint

    path = _written(data, folder / "judge_cache.jsonl")
    return Endpoint("http://127.0.0.1:9/v1", "m", path, None, 1.0)._replies


PARSERS: dict[str, Parser] = {
    "experiment": experiment,
    "template_json": template_json,
    "jinja": jinja,
    "rows_json": _rows(".json"),
    "rows_jsonl": _rows(".jsonl"),
    "rows_csv": _rows(".csv"),
    "rows_parquet": _rows(".parquet"),
    "probes": probes,
    "scores": scores,
    "lines": lines,
    "adapter": adapter,
    "tokenizer": tokenizer,
    "ratings": ratings,
    "judge_cache": judge_cache,
}
