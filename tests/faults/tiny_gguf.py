"""A whole .gguf file of 200 kB: a Llama of one layer with random weights and a byte-level tokenizer."""

import json
import tempfile
from pathlib import Path

import gguf
import numpy as np

from tokenizer_folders import byte_bpe

WIDTH, HEADS, KEY_HEADS, INNER = 32, 4, 2, 48


def write(path: Path) -> Path:
    """Write the file to `path`; always the same bytes."""
    writer = gguf.GGUFWriter(str(path), "llama")
    with tempfile.TemporaryDirectory() as folder:
        model = json.loads((byte_bpe(Path(folder)) / "tokenizer.json").read_text())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(pieces))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_types([3 if id < 3 else 1 for id in range(len(pieces))])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    for name, tensor in _tensors(len(pieces)).items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


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
