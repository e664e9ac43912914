"""A .gguf file becomes the model and the tokenizer that it says, under every version of transformers, or is refused."""

import io
import json
import math

import numpy as np
import pytest
import torch
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

import tiny_gguf
from iikata.core.errors import IikataError
from iikata.model.files import gguf
from iikata.model.files.gguf_parts import rope_parameters
from iikata.tokenize import load_tokenizer
from tokenizer_folders import CORPUS, byte_bpe

TEXTS = [*CORPUS.splitlines(), "a  b   c\n\n\nd\te", "don't 12345 ===", "<|im_start|>user\nx<|im_end|>", "🐟 鯖"]


def converted(tmp_path, **how):
    return gguf.convert(tiny_gguf.write(tmp_path / "m.gguf", **how), tmp_path / "cache")


def test_the_tokenizer_is_the_one_that_the_file_was_made_from(tmp_path):
    folder = converted(tmp_path, tokens=tiny_gguf.byte_level(ids={"bos": 1, "unknown": 0, "padding": 2}))
    ours, own = load_tokenizer(folder), load_tokenizer(byte_bpe(tmp_path / "own"))
    assert [ours.ids(text) for text in TEXTS] == [own.ids(text) for text in TEXTS]
    # transformers 5.17 loads <|im_start|> as the end of such a file.
    assert (ours.eos_id, ours.bos_id, ours.unk_id, ours.pad_id) == (2, None, 0, 2)
    assert ours.named_tokens["bos_token"] == "<|im_start|>"
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    assert [theirs.encode(text) for text in TEXTS] == [own.ids(text) for text in TEXTS]
    assert theirs.eos_token_id == 2


def test_control_and_user_defined_tokens_are_whole_and_every_end_ends(tmp_path):
    more = {"<|eot|>": 3, "<think>": 4, "[PAD]": 5}
    folder = converted(tmp_path, tokens=tiny_gguf.byte_level(ids={"eot": 600, "eom": 1}, more=more))
    tokenizer = load_tokenizer(folder)
    assert [id for id in tokenizer.ids("a<|eot|><think>[PAD]b") if id >= 600] == [600, 601]
    assert "<|eot|>" in tokenizer.special_tokens
    assert tokenizer.added_tokens == {"<think>": 601}
    assert tokenizer.end_ids == {2, 600, 1}
    generation = transformers.AutoModelForCausalLM.from_pretrained(folder).generation_config
    assert sorted(generation.eos_token_id) == [1, 2, 600]


@pytest.mark.parametrize(
    ("pre", "settings", "begins"),
    [
        ("default", {}, False),
        ("default", {"tokenizer.ggml.add_bos_token": True}, True),
        ("llama-bpe", {}, True),  # as llama.cpp and Llama 3's own tokenizer.json
        ("llama-bpe", {"tokenizer.ggml.add_bos_token": False}, False),
        ("qwen2", {}, False),
    ],
)
def test_a_text_begins_with_bos_where_the_file_says_so(tmp_path, pre, settings, begins):
    folder = converted(tmp_path, tokens=tiny_gguf.byte_level(pre), settings=settings)
    assert load_tokenizer(folder).bos_id == (0 if begins else None)
    assert (transformers.AutoTokenizer.from_pretrained(folder)("a").input_ids[0] == 0) is begins


def trained_pieces(**settings):
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.splitlines()), model_writer=written, model_type="bpe", vocab_size=600,
        character_coverage=1.0, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        user_defined_symbols=["<NL>", "▁▁"], control_symbols=["<turn>"], num_threads=1, minloglevel=2, **settings,
    )  # fmt: skip
    return written.getvalue()


@pytest.mark.parametrize("prefix", [True, False])
def test_pieces_are_those_of_the_sentencepiece_model_that_the_file_was_made_from(tmp_path, prefix):
    import sentencepiece

    model = trained_pieces(add_dummy_prefix=prefix)
    own = sentencepiece.SentencePieceProcessor(model_proto=model)
    folder = converted(tmp_path, tokens=tiny_gguf.pieces(model, add_space_prefix=prefix))
    tokenizer = load_tokenizer(folder)
    plain = [text for text in TEXTS if "<|" not in text]
    assert [tokenizer.ids(text) for text in plain] == [own.encode(text) for text in plain]
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (1, 2, 0)
    turn = own.piece_to_id("<turn>")
    assert tokenizer.ids("a<turn>")[-1] == turn
    assert tokenizer.text([turn]) == "<turn>"


def factors(width, **changes):
    """Return what a file made from a model with Llama 3's rotary scaling holds (known: transformers' own formula)."""
    scaling = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0} | changes
    scaling = {"original_max_position_embeddings": 8192, "rope_theta": 500000.0} | scaling
    config = transformers.LlamaConfig(head_dim=width, rope_parameters={"rope_type": "llama3", **scaling})
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, None)
    plain = 500000.0 ** -(np.arange(width // 2) / (width // 2))
    return (plain / scaled.numpy()).astype(np.float32), config


@pytest.mark.parametrize(
    ("width", "changes"),
    [
        (128, {}),  # Llama 3.1 8B
        (64, {"factor": 32.0}),  # Llama 3.2 1B
        (128, {"factor": 16.0, "low_freq_factor": 2.0, "high_freq_factor": 9.0}),
        (128, {"original_max_position_embeddings": 4096}),
    ],
)
def test_rotary_factors_lead_back_to_the_scaling_they_come_from(tmp_path, width, changes):
    given, config = factors(width, **changes)
    plain = transformers.LlamaConfig(head_dim=width, rope_parameters={"rope_type": "default", "rope_theta": 500000.0})
    plain.rope_parameters = rope_parameters(tmp_path, given, plain)
    made, wanted = (ROPE_INIT_FUNCTIONS["llama3"](one, None)[0] for one in (plain, config))
    assert torch.allclose(made, wanted, rtol=1e-4)


def test_a_llama_3_file_gives_the_logits_of_the_model_that_it_was_made_from(tmp_path):
    given, config = factors(tiny_gguf.WIDTH // tiny_gguf.HEADS)
    theta = {"llama.rope.freq_base": 500000.0}
    plain = converted(tmp_path, settings=theta)
    (tmp_path / "scaled").mkdir()
    scaled = converted(tmp_path / "scaled", tensors={"rope_freqs": given}, settings=theta)
    wanted = transformers.AutoModelForCausalLM.from_pretrained(plain, rope_parameters=config.rope_parameters)
    made, without = map(transformers.AutoModelForCausalLM.from_pretrained, (scaled, plain))
    ids = torch.arange(200)[None] % 500
    with torch.no_grad():
        made, wanted, without = (model.float()(ids).logits for model in (made, wanted, without))
    assert float((made - wanted).norm() / wanted.norm()) < 1e-4
    assert float((made - without).norm() / without.norm()) > 1e-3


ONES = np.ones((tiny_gguf.WIDTH, tiny_gguf.WIDTH), np.float32)
REFUSED = {
    "a tensor that nothing uses": (
        {"tensors": {"blk.0.attn_sinks": ONES[0]}},
        r"uses 12 of the file's 13 tensors; the first that it drops is blk\.0\.attn_sinks\.weight",
    ),
    "a tensor that is not there": ({"tensors": {"blk.0.ffn_up": None}}, r"lacks 1 tensors.*layers\.0\.mlp\.up_proj"),
    "rotary factors of no formula": (
        {"tensors": {"rope_freqs": np.array([1, 3, 2, 5], np.float32)}},
        r"rope_freqs\.weight: no rotary scaling of transformers has these factors",
    ),
    "a setting that transformers does not read": (
        {"settings": {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}},
        r"llama\.rope\.scaling\.type: linear was seen, and transformers makes nothing of it",
    ),
    "experts": ({"settings": {"llama.expert_count": 8}}, r"llama\.expert_count: 8 was seen"),
    "another way to split words": (
        {"tokens": tiny_gguf.byte_level("poro-chat")},
        r"tokenizer\.ggml\.pre: 'poro-chat' was seen",
    ),
    "an end that is no token": (
        {"tokens": tiny_gguf.byte_level(ids={"eos": 99999})},
        r"tokenizer\.ggml\.eos_token_id is 99999, but the file lists 600 tokens",
    ),
    "an id that is none": (
        {"tokens": tiny_gguf.byte_level(), "settings": {"tokenizer.ggml.unknown_token_id": "x"}},
        r"cannot read this \.gguf file",
    ),
    "another kind of tokenizer": (
        {"tokens": lambda writer: writer.add_tokenizer_model("rwkv") or writer.add_token_list(["a"]) or 1},
        r"tokenizer\.ggml\.model: 'rwkv' was seen; gpt2 and llama are read",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_model_would_not_have_is_refused_by_name(tmp_path, case):
    how, said = REFUSED[case]
    with pytest.raises(IikataError, match=said):
        converted(tmp_path, **how)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_the_configs_tokens_are_the_files(tmp_path):
    folder = converted(tmp_path, tokens=tiny_gguf.byte_level(ids={"bos": 1, "padding": 0}))
    config = json.loads((folder / "config.json").read_text())
    assert [config[f"{name}_token_id"] for name in ("bos", "eos", "pad")] == [1, 2, 0]
    assert math.isclose(config["rms_norm_eps"], 1e-5, rel_tol=1e-6)
