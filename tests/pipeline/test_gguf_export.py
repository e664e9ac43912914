"""An arm as one .gguf file has the merged model's logits and the run's tokens, read by transformers and by iikata."""

import json
import re
import shutil
from functools import partial

import pytest
import torch

import models
from iikata.cli import main
from iikata.core.errors import IikataError
from iikata.pipeline import Pipeline
from iikata.pipeline.export import export
from iikata.pipeline.gguf_family import writable
from iikata.pipeline.gguf_file import FILE, modelfile
from iikata.templates import AlpacaTemplate, native
from iikata.tokenize import load_tokenizer
from marks import long
from tiny_experiment import experiment
from tokenizer_folders import CHATML, byte_bpe, sp_bpe, sp_bytes

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")


def qwen3(folder):
    from transformers import Qwen3Config

    return models.write(folder, Qwen3Config(**models.shape(num_key_value_heads=2, head_dim=128)), byte_bpe)


def gemma2(folder):
    """Gemma 2 with the caps that every published one has, and that transformers' reader takes without looking."""
    from transformers import Gemma2Config

    made = models.shape(num_key_value_heads=2, head_dim=256, sliding_window=6)
    return models.write(folder, Gemma2Config(**made), sp_bpe)


def gemma3(folder):
    """Gemma 3 of six layers, of which the last sees all."""
    from transformers import Gemma3TextConfig

    made = models.shape(num_key_value_heads=2, head_dim=256, sliding_window=6) | {"num_hidden_layers": 6}
    return models.write(folder, Gemma3TextConfig(**made), sp_bpe)


def llama2(folder):
    return models.llama(folder, partial(sp_bpe, begins_with_blank=True))


FAMILIES = {
    "llama": models.llama, "qwen2": models.qwen2, "qwen3": qwen3, "gemma2": gemma2, "gemma3": gemma3, "llama2": llama2,
}  # fmt: skip


@pytest.fixture(scope="module", params=["llama", *long(*(name for name in FAMILIES if name != "llama"))])
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
    end = run.context.tokenizer.token(run.context.tokenizer.eos_id)
    place = [str(run.context.store.path), "alpaca_short.s0", str(tmp_path / "out")]
    assert main(["export", *place, "--ollama"]) == 0
    assert (tmp_path / "out" / "Modelfile").read_text() == (
        f'FROM ./{FILE}\nTEMPLATE """### Instruction:\n{{{{ .Prompt }}}}\n\n### Response:\n"""\n'
        f'PARAMETER stop "{end}"\n'
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
    with pytest.raises(IikataError, match=r"template odd has \{\{"):
        modelfile(odd, tokenizer)


CHANGED = {
    "a model of the kind gemma is not written; llama, qwen2, qwen3, gemma2, gemma3_text, gpt_neox are": models.gemma,
    "llama.cpp computes gemma2 otherwise: it scales scores by a width of 8": lambda folder: _edited(
        models.gemma2(folder), query_pre_attn_scalar=16
    ),
    "llama.cpp computes gemma3 otherwise: one layer in 6 sees all": models.gemma3,
    "llama.cpp computes gptneox otherwise: it has a head of its own": lambda folder: _edited(
        models.neox_parallel(folder), tie_word_embeddings=True
    ),
    "scaled rotary positions": lambda folder: _edited(
        models.llama(folder), rope_parameters={"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
    ),
}


def _edited(folder, **settings):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    return folder


@pytest.mark.parametrize("said", CHANGED)
def test_what_llama_cpp_would_compute_otherwise_is_refused_by_name(said, tmp_path):
    with pytest.raises(IikataError, match=re.escape(said)):
        writable(CHANGED[said](tmp_path / "base"))


def refused(pipeline, tmp_path, monkeypatch, said):
    pipeline.run("train", True)
    monkeypatch.setattr("iikata.model.adapters.merge.merge", lambda *args: pytest.fail("it was merged"))
    with pytest.raises(IikataError, match=said):
        export(pipeline.context, "plain.s0", tmp_path / "out", gguf=True)
    assert not (tmp_path / "out").exists()


def test_another_family_is_refused_before_anything_is_merged(model_folder, tmp_path, monkeypatch):
    pipeline = Pipeline(experiment(tmp_path, model_folder("gemma"), templates=["plain"]), tmp_path / "run")
    refused(pipeline, tmp_path, monkeypatch, "of the kind gemma is not written")


def test_pieces_of_a_unigram_model_are_refused_before_anything_is_merged(tmp_path, monkeypatch):
    model = models.llama(tmp_path / "base", sp_bytes)
    pipeline = Pipeline(experiment(tmp_path, model, templates=["plain"]), tmp_path / "run")
    refused(pipeline, tmp_path, monkeypatch, "this is a Unigram one")


@pytest.mark.parametrize("family", ["neox_parallel", "neox_sequential"])
def test_a_neox_is_held_head_by_head_with_all_its_biases(family, tmp_path, model_folder):
    """No reader of transformers reads it: the file's tensors are put back, and the logits are the merged model's."""
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM

    model = shutil.copytree(model_folder(family), tmp_path / "base")
    byte_bpe(model)
    pipeline = Pipeline(experiment(tmp_path, model, templates=["plain"]), tmp_path / "run")
    pipeline.run("train", True)
    export(pipeline.context, "plain.s0", tmp_path / "merged", merge=True)
    export(pipeline.context, "plain.s0", tmp_path / "out", gguf=True)
    reader = GGUFReader(tmp_path / "out" / FILE)
    held = {one.name: torch.from_numpy(one.data.copy()) for one in reader.tensors}
    own = {name.removeprefix("gptneox."): field.contents() for name, field in reader.fields.items()}
    wanted = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    config = wanted.config
    assert own["use_parallel_residual"] is config.use_parallel_residual
    assert own["rope.dimension_count"] == (2 if family == "neox_parallel" else 8)
    merged = wanted.state_dict()
    assert len(held) == len(merged)
    for layer in range(2):
        for part in ("weight", "bias"):
            of_merged = merged[f"gpt_neox.layers.{layer}.attention.query_key_value.{part}"]
            queries, keys, values = held[f"blk.{layer}.attn_qkv.{part}"].chunk(3)
            for head in range(4):
                places = slice(8 * head, 8 * head + 8)
                of_head = of_merged[24 * head : 24 * head + 24]
                torch.testing.assert_close(of_head, torch.cat([one[places] for one in (queries, keys, values)]))
    same = {
        "token_embd.weight": "gpt_neox.embed_in.weight",
        "output_norm.bias": "gpt_neox.final_layer_norm.bias",
        "blk.1.ffn_norm.weight": "gpt_neox.layers.1.post_attention_layernorm.weight",
        "blk.1.attn_output.bias": "gpt_neox.layers.1.attention.dense.bias",
        "blk.0.ffn_up.weight": "gpt_neox.layers.0.mlp.dense_h_to_4h.weight",
    }
    torch.testing.assert_close(held["output.weight"], wanted.get_output_embeddings().weight.detach())
    for name, of_merged in same.items():
        torch.testing.assert_close(held[name], merged[of_merged])
