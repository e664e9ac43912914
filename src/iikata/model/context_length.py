"""How many positions a model has: learned ones end, and some rotary frequencies follow a longer text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from iikata.core.errors import IikataError
from iikata.model.exact import TOKENS
from iikata.model.layers import decoder_of

POSITIONS = "max_position_embeddings"
FOLLOWING = {"dynamic": POSITIONS, "longrope": "original_max_position_embeddings"}
"""Rotary scalings whose frequencies are others in a text that is longer than this setting says."""


def refuse_short(folder: Path, model: Any) -> None:
    """Raise IikataError where a model has fewer positions than the check of its logits needs."""
    decoder = decoder_of(model)
    named = getattr(decoder.config, "attribute_map", {})
    found = [(kind, FOLLOWING[kind], length) for kind, length in following(decoder.config)]
    if (count := learned_positions(decoder)) is not None:
        found.append(("", named.get(POSITIONS, POSITIONS), count))
    for kind, name, length in found:
        if length < TOKENS:
            why = f"with {kind} rope scaling, frequencies follow the length" if kind else "no positions were learned"
            raise IikataError(
                f"{folder}/config.json: {name}: {length} was seen, and beyond it {why}. The check of a model's logits "
                f"takes {TOKENS} tokens; {TOKENS} or more are needed. Compare it with the published config.json, or "
                "name another model."
            )


def learned_positions(decoder: Any) -> int | None:
    """Return how many positions have a learned vector; None where positions are not learned."""
    count, words = getattr(decoder.config, POSITIONS, None), decoder.get_input_embeddings()
    tables = (part for part in decoder.modules() if isinstance(part, nn.Embedding) and part is not words)
    return count if any(part.num_embeddings - getattr(part, "offset", 0) == count for part in tables) else None


def ropes(config: Any) -> list[dict[str, Any]]:
    """Return the rotary parameters, and those of each kind of layer where they differ."""
    rope = getattr(config, "rope_parameters", None) or {}
    return [rope, *(part for part in rope.values() if isinstance(part, dict))]


def following(config: Any) -> Iterator[tuple[str, int]]:
    """Yield the kinds of rotary scaling whose frequencies follow the length, and from which length on."""
    for part in ropes(config):
        if name := FOLLOWING.get(part.get("rope_type", "")):
            length = part.get(name) or getattr(config, name, None)
            if type(length) is int:
                yield part["rope_type"], length
