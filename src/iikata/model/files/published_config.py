"""The config.json of merged weights: the base's own, under the names of transformers 4 as well as 5."""

from typing import Any

NEOX = {"rope_theta": "rotary_emb_base", "partial_rotary_factor": "rotary_pct"}
"""What GPT-NeoX calls them in transformers 4."""
LONGROPE = ("short_factor", "long_factor")
KINDS = {"default", "linear", "dynamic", "yarn", "longrope", "llama3"}
"""Of rotary embedding in transformers 4."""


def named_for_both(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the names that transformers 4 reads added to those of 5.

    Without them 4 takes its defaults in silence: other frequencies, other logits.
    """
    from transformers import CONFIG_MAPPING

    found, kind = dict(config), str(config.get("model_type"))
    for old, new in CONFIG_MAPPING[kind].attribute_map.items() if kind in CONFIG_MAPPING else ():
        if new in found:
            found.setdefault(old, found[new])
    if "dtype" in found:
        found.setdefault("torch_dtype", found["dtype"])
    if isinstance(rope := found.get("rope_parameters"), dict):
        for name, value in _old_names(rope).items():
            found.setdefault(NEOX.get(name, name) if kind == "gpt_neox" else name, value)
    for name, part in config.items():
        if name.endswith("_config") and isinstance(part, dict):
            found[name] = named_for_both(part)
    return found


def _old_names(rope: dict[str, Any]) -> dict[str, Any]:
    """Return what transformers 4 calls `rope_parameters`, which differ by kind of layer in Gemma 3."""
    parts = [part for part in rope.values() if isinstance(part, dict)] or [rope]
    if any(part.get("rope_type", "default") not in KINDS for part in parts):
        return {}
    named: dict[str, Any] = {}
    if isinstance(sliding := rope.get("sliding_attention"), dict):
        rope = rope.get("full_attention", {})
        named["rope_local_base_freq"] = sliding.get("rope_theta")
    named |= {name: rope[name] for name in ("rope_theta", "partial_rotary_factor") if name in rope}
    kind = rope.get("rope_type", "default")
    if kind == "longrope":
        named["rope_scaling"] = {"type": kind, **{name: rope[name] for name in LONGROPE}}
    elif kind != "default":
        named["rope_scaling"] = {name: value for name, value in rope.items() if name not in named}
    return named
