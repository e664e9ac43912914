"""An arm as one .gguf file has the merged model's logits and the run's tokens, read by transformers and by iikata."""

import shutil

import pytest
import torch

import models
from iikata.cli import main
from iikata.core.errors import IikataError
from iikata.pipeline import Pipeline
from iikata.pipeline.export import export
from iikata.pipeline.gguf_file import FILE
from iikata.pipeline.ollama import modelfile
from iikata.templates import AlpacaTemplate, native
from iikata.tokenize import load_tokenizer
from tiny_experiment import experiment
from tokenizer_folders import CHATML, byte_bpe

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


def qwen3(folder):
    from transformers import Qwen3Config

    return models.write(folder, Qwen3Config(**models.shape(num_key_value_heads=2, head_dim=128)), byte_bpe)


FAMILIES = {"llama": models.llama, "qwen2": models.qwen2, "qwen3": qwen3}


@pytest.fixture(scope="module", params=FAMILIES)
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    declared = experiment(folder, FAMILIES[request.param](folder / "base"), templates=["alpaca_short"])
    pipeline = Pipeline(declared, folder / "run")
    pipeline.run("train", True)
    return pipeline


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_transformers_own_reader_gives_the_merged_models_logits_and_the_runs_tokens(run, tmp_path, dtype):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = run.context.model_folder
    shutil.copytree(base, tmp_path / "base")
    AutoModelForCausalLM.from_pretrained(base, dtype=dtype).save_pretrained(tmp_path / "base")
    declared = experiment(tmp_path, tmp_path / "base", templates=["alpaca_short"])
    pipeline = Pipeline(declared, tmp_path / "run")
    pipeline.run("train", True)
    export(pipeline.context, "alpaca_short.s0", tmp_path / "merged", merge=True)
    export(pipeline.context, "alpaca_short.s0", tmp_path / "out", gguf=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md", "chat_template.jinja", FILE, "template.json",
    ]  # fmt: skip
    assert f'from_pretrained("FOLDER", gguf_file="{FILE}")' in (tmp_path / "out" / "README.md").read_text()
    wanted = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    read = AutoModelForCausalLM.from_pretrained(tmp_path / "out", gguf_file=FILE, dtype=torch.float32)
    for row in pipeline.context.encoded["alpaca_short"][:3]:
        ids = torch.tensor([row.input_ids])
        with torch.inference_mode():
            torch.testing.assert_close(read(ids).logits, wanted(ids).logits, rtol=1e-5, atol=1e-5)
    untuned = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.inference_mode():
        assert (untuned(ids).logits - wanted(ids).logits).norm() > 0.01 * wanted(ids).logits.norm()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out", gguf_file=FILE)
    assert tokenizer.chat_template == (tmp_path / "out" / "chat_template.jinja").read_text()


def test_iikata_reads_it_as_a_base_with_the_same_tokens_and_end(run, tmp_path, monkeypatch):
    from iikata.model.files import gguf

    monkeypatch.setenv("IIKATA_CACHE", str(tmp_path / "cache"))
    export(run.context, "alpaca_short.s1", tmp_path / "out", gguf=True)
    folder = gguf.convert(tmp_path / "out" / FILE, tmp_path / "cache")
    read, own = load_tokenizer(folder), run.context.tokenizer
    for row in run.context.encoded["alpaca_short"]:
        text = row.prompt + row.completion
        assert read.ids(text) == own.ids(text)
    assert (read.eos_id, read.bos_id) == (own.eos_id, own.bos_id)


def test_a_modelfile_prompts_and_stops_as_the_arm_was_trained(run, tmp_path):
    place = [str(run.context.store.path), "alpaca_short.s0", str(tmp_path / "out")]
    assert main(["export", *place, "--ollama"]) == 0
    assert (tmp_path / "out" / "Modelfile").read_text() == (
        f'FROM ./{FILE}\nTEMPLATE """### Instruction:\n{{{{ .Prompt }}}}\n\n### Response:\n"""\n'
        'PARAMETER stop "<|im_end|>"\n'
    )


def test_stops_are_the_templates_and_every_end_and_odd_templates_are_refused(byte_bpe_folder):
    tokenizer = load_tokenizer(byte_bpe_folder)
    text = modelfile(native(CHATML, {}), tokenizer)
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"  # CHATML writes it where there is none
    asked = "<|im_start|>user\n{{ .Prompt }}<|im_end|>\n<|im_start|>assistant\n"
    assert f'TEMPLATE """{system}{asked}"""\n' in text
    stopped = AlpacaTemplate("x", prompt_input="{instruction}{input}", prompt_no_input="{instruction}", stop=("###",))
    assert 'PARAMETER stop "###"\n' in modelfile(stopped, tokenizer)
    odd = AlpacaTemplate("odd", prompt_input="{instruction}{input}", prompt_no_input="{{ x }} {instruction}")
    with pytest.raises(IikataError, match=r"template odd holds \{\{"):
        modelfile(odd, tokenizer)


@pytest.mark.parametrize(
    ("family", "said"),
    [("neox_sequential", "a model of the kind gpt_neox is not written"), ("gemma2", "of the kind gemma2 is not")],
)
def test_another_family_is_refused_by_name_before_anything_is_merged(model_folder, tmp_path, monkeypatch, family, said):
    pipeline = Pipeline(experiment(tmp_path, model_folder(family), templates=["plain"]), tmp_path / "run")
    pipeline.run("train", True)
    monkeypatch.setattr("iikata.model.adapters.merge.merge", lambda *args: pytest.fail("it was merged"))
    with pytest.raises(IikataError, match=f"{said}.*llama, qwen2, qwen3 are"):
        export(pipeline.context, "plain.s0", tmp_path / "out", gguf=True)
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_of_pieces_is_refused(tmp_path, sp_bytes_folder):
    from tokenizer_folders import sp_bytes

    model = models.llama(tmp_path / "base", sp_bytes)
    pipeline = Pipeline(experiment(tmp_path, model, templates=["plain"]), tmp_path / "run")
    pipeline.run("train", True)
    with pytest.raises(IikataError, match="only byte-level BPE is written"):
        export(pipeline.context, "plain.s0", tmp_path / "out", gguf=True)
