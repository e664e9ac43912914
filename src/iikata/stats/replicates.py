"""What a side has several of: seeds of a training, adapters from elsewhere, draws of examples; and their names."""

from collections.abc import Mapping

from iikata.stats.pairing import Pair, Side

NAMES = {
    "seeds": {"en": ("seed", "seeds"), "ja": ("シード", "シード")},
    "adapters": {"en": ("adapter", "adapters"), "ja": ("アダプタ", "アダプタ")},
    "draws": {"en": ("draw", "draws"), "ja": ("抽出", "抽出")},
}
"""One and many."""
ALIKE = {
    "en": ("{one} of one and the same variant", "training seeds of one and the same template"),
    "ja": ("同じ条件でも{one}が違うだけで", "同じテンプレートでも学習シードが違うだけで"),
}
"""What lies apart by chance alone: adapters or draws, and seeds."""


def replicates(treatment: Side, control: Side, pair: Pair) -> dict[str, int]:
    """Return what a comparison's sides have several of, and how many, the fewer where both have the same."""
    found: dict[str, int] = {}
    for side, rows in ((treatment, pair.treatment), (control, pair.control)):
        if side.trained_on is not None or side.draws is not None:
            kind = "draws" if side.draws is not None else "adapters" if side.elsewhere else "seeds"
            found[kind] = min(len(rows), found.get(kind, len(rows)))
    return found or {"seeds": pair.shape[0]}


def named(kinds: Mapping[str, int], language: str) -> dict[str, str]:
    """Return how sentences name and count them: `n_seeds` "3 adapters and 4 draws", one, many, and two alike."""
    counted = [f"{n} {NAMES[kind][language][n != 1]}" for kind, n in kinds.items()]
    one, many = zip(*(NAMES[kind][language] for kind in kinds), strict=True)
    of_both = {"en": (" and ", " or "), "ja": ("と", "または")}[language]
    names = {"replicate": of_both[1].join(one), "replicates": of_both[0].join(many)}
    others, seeds = ALIKE[language]
    alike = seeds if set(kinds) == {"seeds"} else others.format(one=of_both[1].join(many))
    return {"n_seeds": f"{of_both[0].rstrip()} ".join(counted), **names, "alike": alike}
