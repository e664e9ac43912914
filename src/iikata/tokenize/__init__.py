"""Templates and rows to tokens and masks."""

from iikata.tokenize.convert import chat_template_for, other_tokens, tokenizer_config, tokenizer_json
from iikata.tokenize.encode import encode, encode_all, encode_prompt, encode_turns, end_id, prefixes, stop_ids, writes
from iikata.tokenize.load import chat_template_in, disagreement, load_tokenizer
from iikata.tokenize.show import pieces, show
from iikata.tokenize.tokenizer import Tokenizer

__all__ = [
    "Tokenizer",
    "chat_template_for",
    "chat_template_in",
    "disagreement",
    "encode",
    "encode_all",
    "encode_prompt",
    "encode_turns",
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
