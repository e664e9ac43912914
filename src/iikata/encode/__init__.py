"""Templates and rows to tokens and masks."""

from iikata.encode.encode import encode, encode_prompt, end_id, stop_ids, writes
from iikata.encode.load import disagreement, load_tokenizer
from iikata.encode.portable import chat_template_for, other_tokens, tokenizer_config, tokenizer_json
from iikata.encode.prefix import prefixes
from iikata.encode.show import pieces, show
from iikata.encode.tokenizer import Tokenizer

__all__ = [
    "Tokenizer",
    "chat_template_for",
    "disagreement",
    "encode",
    "encode_prompt",
    "end_id",
    "load_tokenizer",
    "other_tokens",
    "pieces",
    "prefixes",
    "show",
    "stop_ids",
    "tokenizer_config",
    "tokenizer_json",
    "writes",
]
