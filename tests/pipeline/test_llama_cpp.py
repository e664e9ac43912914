"""llama.cpp itself reads what `export --gguf` writes: the run's tokens, and the merged model's logits and answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_gguf_export import FAMILIES

import models
import oracle
from iikata.pipeline import Pipeline
from iikata.pipeline.export import export
from iikata.pipeline.gguf_file import FILE
from iikata.pipeline.gguf_vocabulary import TRICKY
from tiny_experiment import experiment
from tokenizer_folders import byte_bpe

LLAMA = os.environ.get("IIKATA_LLAMA_CPP")
ORACLE = Path(__file__).parents[1] / "llama_cpp_oracle.py"
ALL = FAMILIES | {
    "neox_parallel": lambda folder: models.neox_parallel(folder, byte_bpe),
    "neox_sequential": lambda folder: models.neox_sequential(folder, byte_bpe),
}
GELU = dict.fromkeys(("neox_parallel", "neox_sequential", "gemma2", "gemma3"), 2e-3)
"""llama.cpp looks its GELU up in a table of 16 bits."""
pytestmark = [
    pytest.mark.skipif(not LLAMA, reason="make test-llama-cpp lays llama.cpp over the environment"),
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),
]


def read_by_llama_cpp(asked):
    told = subprocess.run(
        [sys.executable, str(ORACLE)], input=json.dumps(asked), capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(LLAMA)},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-2000:]
    return json.loads(told.stdout.splitlines()[-1])


@pytest.mark.parametrize("family", ALL)
def test_llama_cpp_has_the_runs_tokens_and_the_merged_models_logits_and_answers(family, tmp_path):
    pipeline = Pipeline(
        experiment(tmp_path, ALL[family](tmp_path / "base"), templates=["alpaca_short"]), tmp_path / "run"
    )
    pipeline.run("train", True)
    export(pipeline.context, "alpaca_short.s0", tmp_path / "merged", merge=True)
    export(pipeline.context, "alpaca_short.s0", tmp_path / "out", gguf=True)
    rows, tokenizer = pipeline.context.encoded["alpaca_short"], pipeline.context.tokenizer
    texts = [*(row.prompt + row.completion for row in rows), *TRICKY]
    prompts = [list(row.input_ids[: row.completion_mask.index(True)]) for row in rows[:4]]
    told = read_by_llama_cpp({"file": str(tmp_path / "out" / FILE), "texts": texts, "prompts": prompts, "most": 8})
    assert told["tokens"] == [tokenizer.ids(text) for text in texts]
    model, base = oracle.plain(tmp_path / "merged"), oracle.plain(tmp_path / "base")
    for prompt, answer in zip(prompts, told["answers"], strict=True):
        with torch.inference_mode():
            made = model.generate(torch.tensor([prompt]), max_new_tokens=8, do_sample=False, eos_token_id=None)
            wanted, untuned = (one(torch.tensor([prompt])).logits[0, -1] for one in (model, base))
        seen = torch.tensor(answer["logits"])
        assert (seen - wanted).norm() < GELU.get(family, 1e-4) * wanted.norm()
        assert (seen - untuned).norm() > 0.01 * wanted.norm()
        assert answer["ids"] == made[0, len(prompt) :].tolist()
