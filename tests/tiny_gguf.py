"""A whole .gguf file of 200 kB: a Llama of one layer with random weights, and a byte-level tokenizer or another."""

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tokenizer_folders import byte_bpe

WIDTH, HEADS, KEY_HEADS, INNER = 32, 4, 2, 48


def write(
    path: Path,
    tokens: Callable[[gguf.GGUFWriter], int] | None = None,
    tensors: Mapping[str, np.ndarray | None] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Write the file to `path`; always the same bytes.

    `tokens` writes another vocabulary and returns its size; `tensors` are put over the model's own (None: left out),
    `settings` are added to the metadata.
    """
    writer = gguf.GGUFWriter(str(path), "llama")
    size = (tokens or byte_level())(writer)
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(size)
    for key, value in (settings or {}).items():
        kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        kinds[type(value)](key, value)
    for name, tensor in {**_tensors(size), **(tensors or {})}.items():
        if tensor is not None:
            writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def byte_level(
    pre: str = "default", ids: Mapping[str, int] | None = None, more: Mapping[str, int] | None = None
) -> Callable[[gguf.GGUFWriter], int]:
    """Return what writes a byte-level vocabulary: `ids` of named tokens, and `more` tokens with their types."""

    def written(writer: gguf.GGUFWriter) -> int:
        with tempfile.TemporaryDirectory() as folder:
            model = json.loads((byte_bpe(Path(folder)) / "tokenizer.json").read_text())["model"]
        pieces = sorted(model["vocab"], key=model["vocab"].get)
        types = [3 if id < 3 else 1 for id in range(len(pieces))]
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list([*pieces, *(more or {})])
        writer.add_token_types([*types, *(more or {}).values()])
        writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
        for name, id in ({"bos": 0, "eos": 2} | dict(ids or {})).items():
            writer.add_uint32(f"tokenizer.ggml.{name}_token_id", id)
        return len(pieces) + len(more or {})

    return written


def pieces(model: bytes, **flags: bool) -> Callable[[gguf.GGUFWriter], int]:
    """Return what writes the vocabulary of a SentencePiece model, with `flags` of the tokenizer."""
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)

    def written(writer: gguf.GGUFWriter) -> int:
        writer.add_tokenizer_model("llama")
        writer.add_token_list([piece.piece for piece in proto.pieces])
        writer.add_token_scores([piece.score for piece in proto.pieces])
        writer.add_token_types([piece.type for piece in proto.pieces])
        for name, id in {"unknown": 0, "bos": 1, "eos": 2}.items():
            writer.add_uint32(f"tokenizer.ggml.{name}_token_id", id)
        for name, flag in flags.items():
            writer.add_bool(f"tokenizer.ggml.{name}", flag)
        return len(proto.pieces)

    return written


def _tensors(vocabulary: int) -> dict[str, np.ndarray]:
    random, keys = np.random.default_rng(0), WIDTH // HEADS * KEY_HEADS
    shapes = {
        "token_embd": (vocabulary, WIDTH),
        "output": (vocabulary, WIDTH),
        "blk.0.attn_q": (WIDTH, WIDTH),
        "blk.0.attn_k": (keys, WIDTH),
        "blk.0.attn_v": (keys, WIDTH),
        "blk.0.attn_output": (WIDTH, WIDTH),
        "blk.0.ffn_gate": (INNER, WIDTH),
        "blk.0.ffn_up": (INNER, WIDTH),
        "blk.0.ffn_down": (WIDTH, INNER),
    }
    made = {name: (random.normal(size=shape) * 0.2).astype(np.float32) for name, shape in shapes.items()}
    norms = ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")
    return made | {name: np.ones(WIDTH, np.float32) for name in norms}
