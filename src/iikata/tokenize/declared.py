"""Hold what a model's folder declares of its tokens against the vocabulary that was loaded."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from iikata.core.errors import IikataError
from iikata.tokenize.settings import embedding_rows, end_ids, listed_tokens, read_added, text_of

ENDS = ("config.json", "generation_config.json")
BEHIND = ("bos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""Named tokens that transformers puts behind a vocabulary which lacks them."""


def add_declared(backend: Any, folder: Path, settings: Mapping[str, Any]) -> bool:
    """Add to a `tokenizers.Tokenizer` what the folder declares and it lacks, as transformers does; return if it did.

    Raises IikataError where a declared token would have another id.
    """
    from tokenizers import AddedToken

    before, declared = _shown(backend), read_added(folder, settings)
    made = [AddedToken(**token) for token in declared.values()]
    backend.add_tokens([token for token in made if repr(token) not in before.values()])
    for id, token in declared.items():
        if (seen := backend.token_to_id(token["content"])) != id:
            raise _two_readings(folder, settings, token["content"], id, f"{seen} in tokenizer.json")
    more = [*(text_of(settings[name]) for name in BEHIND if settings.get(name)), *listed_tokens(settings)]
    lacking = [text for text in dict.fromkeys(more) if backend.token_to_id(text) is None]
    backend.add_tokens([AddedToken(text, special=True) for text in lacking])
    return before != _shown(backend)


def _shown(backend: Any) -> dict[int, str]:
    return {id: repr(token) for id, token in backend.get_added_tokens_decoder().items()}


def added_to_pieces(folder: Path, settings: Mapping[str, Any], pieces: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Return the tokens, by their ids, that the folder adds to a SentencePiece model or puts over one of its pieces."""
    declared, ids = read_added(folder, settings), {piece: id for id, piece in enumerate(pieces)}
    for id, token in declared.items():
        if (seen := ids.setdefault(token["content"], id)) != id:
            raise _two_readings(folder, settings, token["content"], id, f"{seen} in the SentencePiece model")
    return declared


def declared_ends(folder: Path, size: int) -> list[int]:
    """Return every `eos_token_id` of config.json and generation_config.json.

    Raises IikataError for one that neither a vocabulary of `size` tokens nor the model's embedding has.
    """
    found = [(name, id) for name in ENDS for id in end_ids(folder, name)]
    rows = embedding_rows(folder)
    for name, id in found:
        if id >= max(size, rows or 0):
            raise IikataError(
                f'{folder / name}: "eos_token_id" has {id}, but the tokenizer has {size} tokens and the model '
                f"{'a row for each' if rows is None else f'{rows} rows of embeddings'}, so they are not of one model. "
                "Fetch or copy it again, or correct the id."
            )
    return [id for _, id in found]


def _two_readings(folder: Path, settings: Mapping[str, Any], token: str, id: int, seen: str) -> IikataError:
    file = (
        "tokenizer_config.json: added_tokens_decoder" if settings.get("added_tokens_decoder") else "added_tokens.json"
    )
    return IikataError(
        f'{folder}: the token "{token:.80}" has the id {id} in {file}, and {seen}. Which of them the model was trained '
        "with cannot be known. Fetch or copy the files again, or correct one of them."
    )
