"""`iikata inspect`: what an adapter is and whether each part of it is live, on a screen however many layers it has."""

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from iikata.cli.terminal import dumped
from iikata.core.errors import IikataError

HELD = {
    "merged": "A run merges it in float32 into a copy of the base, and asks that as a model of its own.",
    "refused": "A run refuses it: peft does not merge it exactly.",
}
"""What becomes of an adapter that is more than plain LoRA."""


def inspect(given: argparse.Namespace) -> int:
    """Print what the adapter is; 1 where it is broken or any part of it is dead."""
    from iikata.pipeline.inspect import inspect as inspected
    from iikata.pipeline.inspect import unreadable

    folder = Path(given.folder)
    try:
        told = inspected(folder, given.base)
    except IikataError as error:
        if not given.json:
            raise
        told = unreadable(folder, error)
    print(dumped(told, indent=1) if given.json else "\n".join(lines(told)))
    return 0 if told["live"] else 1


def lines(told: dict[str, Any]) -> list[str]:
    """Return what was found as lines for a terminal."""
    base, template, modules = told["base"], told["template"], told["modules"]
    ranks = ", ".join(f"{rank} ({count} modules)" for rank, count in told["ranks"].items())
    scales = ", ".join(f"{scale:g}" for scale in told["scales"])
    facts = {
        "kind": f"{told['kind']}, r {ranks if len(told['ranks']) > 1 else told['r']}, alpha {told['alpha']:g}, "
        f"scale {scales}, {len(modules)} modules, {told['parameters']:,} parameters",
        "targets": _targets(told["targets"]),
        "base": (base["name"] or "not named") + (f", revision {base['revision']}" if base["revision"] else ""),
        "template": _template(template),
    }
    if told["beyond_plain_lora"]:
        facts["beyond"] = f"{'; '.join(told['beyond_plain_lora'])}. {HELD[told['held']]}"
    asked = told["asked"] or {}
    if asked:
        facts["held to"] = _asked(asked)
    text = [f"{name:<9} {fact}" for name, fact in facts.items()]
    text += ["", *_table(modules, asked.get("moves", {})), ""]
    if told["live"]:
        idle = asked.get("idle")
        some = f"; {len(idle)} of them the base never calls, as {idle[0]}" if idle else ""
        return [*text, f"live: each of {len(modules)} modules{some}"]
    return text + [f"{'dead' if asked.get('fits', True) else 'does not fit'}: {fault}" for fault in told["faults"]]


def _targets(targets: str | Sequence[str]) -> str:
    """Return the expression, or the names, modules named one by one by their last part."""
    return targets if isinstance(targets, str) else ", ".join(dict.fromkeys(t.rpartition(".")[2] for t in targets))


def _template(template: dict[str, Any] | None) -> str:
    if template is None:
        return "none beside the adapter: how it was prompted in training is not known"
    if template["name"]:
        return f"{template['name']}, trained by iikata ({template['hash']})"
    return f"a chat template ({template['chat_template']}) that begins {template['begins']!r}"


def _asked(asked: dict[str, Any]) -> str:
    if "why_not" in asked:
        return f"{asked['base']}: not asked, for {asked['why_not']}"
    same, template = asked["same_base"], asked["same_template"]
    said = {True: "the base that it names", False: f"ANOTHER BASE than it names ({same['named']}, not {same['seen']})"}
    parts = [asked["base"], said.get(same["same"], "whether it is the base that it names cannot be known")]
    parts += [f"by {same['by']}"] if same["by"] else []
    if template is not None:
        parts.append("the base's own chat template" if template else "ANOTHER CHAT TEMPLATE than the base's")
    if asked["more_tokens"]:
        parts.append(f"ANOTHER VOCABULARY: {asked['more_tokens']:+} tokens")
    parts += asked["detail"].split("; ")[:1] if "detail" in asked else []
    return ", ".join(parts)


def _table(modules: Sequence[dict[str, Any]], moves: dict[str, float]) -> list[str]:
    """Return a row for each kind of module, over all layers."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in modules:
        groups.setdefault(one["module"].rpartition(".")[2], []).append(one)
    head = ["module", "layers", "rank", "||B||", "||scale B A||", "zero rows of B", "dead"]
    rows = [head + ["moves its layer by"] * bool(moves)]
    for name, own in groups.items():
        row = [name, str(len(own)), _range([one["r"] for one in own])]
        row += [_range([one[key] for one in own]) for key in ("norm_b", "norm_update")]
        row += [_shares([one["zero_rows"] for one in own]), _dead(own)]
        moved = [moves[one["module"]] for one in own if one["module"] in moves]
        rows.append(row + ([_shares(moved) if moved else "not called"] if moves else []))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _range(values: Iterable[float]) -> str:
    low, high = f"{min(values := list(values)):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


def _shares(values: Sequence[float]) -> str:
    low, high = (f"{100 * value:.3g}%" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _dead(own: Sequence[dict[str, Any]]) -> str:
    """Return the layers in which the module is dead, or dead in part."""
    found = {word: [one["module"] for one in own if one[key]] for key, word in (("dead", ""), ("torn", "in part: "))}
    return "; ".join(f"{word}layers {_layers(names)}" for word, names in found.items() if names) or "-"


def _layers(modules: Sequence[str]) -> str:
    """Return numbers of layers as `1-31, 33`."""
    numbers = sorted({int(number[1]) for name in modules if (number := re.search(r"\.(\d+)\.", name))})
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True)) or "all"
