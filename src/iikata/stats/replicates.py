"""What a side has several of: seeds of a training, adapters from elsewhere, draws of examples; and their names."""

from collections.abc import Mapping
from typing import Any

from iikata.stats.pairing import Pair, Side

NAMES = {
    "seeds": {"en": ("seed", "seeds"), "ja": "シード"},
    "adapters": {"en": ("adapter", "adapters"), "ja": "アダプタ"},
    "draws": {"en": ("draw", "draws"), "ja": "抽出"},
}
"""One and many in English; Japanese has one word."""
ALIKE = {
    "en": ("{one} of one and the same variant", "training seeds of one and the same template"),
    "ja": ("同じ条件でも{one}が違うだけで", "同じテンプレートでも学習シードが違うだけで"),
}
"""What lies apart by chance alone: adapters or draws, and seeds."""


def replicates(treatment: Side, control: Side, pair: Pair) -> dict[str, int]:
    """Return what a comparison's sides have several of, and how many, the fewer where both have the same."""
    found: dict[str, int] = {}
    for side, rows in ((treatment, pair.treatment), (control, pair.control)):
        if kind := _kind(side):
            found[kind] = min(len(rows), found.get(kind, len(rows)))
    return found or {"seeds": pair.shape[0]}


def _kind(side: Side) -> str | None:
    if side.draws is not None:
        return "draws"
    return None if side.trained_on is None else "adapters" if side.elsewhere else "seeds"


def named(kinds: Mapping[str, int], language: str) -> dict[str, str]:
    """Return how sentences name and count them: `n_seeds` "3 adapters and 4 draws", one, many, and two alike."""
    counted = [f"{n} {_name(kind, language, n == 1)}" for kind, n in kinds.items()]
    one, many = ([_name(kind, language, single) for kind in kinds] for single in (True, False))
    of_both = {"en": (" and ", " or "), "ja": ("と", "または")}[language]
    names = {"replicate": of_both[1].join(one), "replicates": of_both[0].join(many)}
    others, seeds = ALIKE[language]
    alike = seeds if set(kinds) == {"seeds"} else others.format(one=of_both[1].join(many))
    return {"n_seeds": of_both[0].join(counted), **names, "alike": alike}


def _name(kind: str, language: str, single: bool) -> str:
    said: Any = NAMES[kind][language]
    return str(said if language == "ja" else said[0 if single else 1])
