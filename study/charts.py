"""Plain charts: trained-on x prompted-with in shades; bars of variance, of power, and of what five samples see."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from iikata.metrics import METRICS
from iikata.report import figures
from iikata.report.picture import FAMILIES

COLOURS = ("#2563b8", "#c2670a", "#0f8a6d", "#b9b4aa")
ROW, LEFT, WIDTH, RIGHT = 26, 210, 420, 90
NAMES, CELL, TOP = 130, 104, 56
"""Of a matrix: the rows' names, a cell's width, and what stands above."""
STYLE = (
    f"text{{font:12px system-ui,{FAMILIES},sans-serif;fill:#1f1d1a}}"
    ".strong{font-weight:600}.grid{stroke:#e4e0d8}.one{stroke:#1f1d1a}svg{background:#fff}"
)


def matrix(rows: Mapping[str, Mapping[str, float]], metric: str, unit: str) -> str:
    """Return trained-on (rows) x prompted-with; deeper is better, or more where nothing is better."""
    prompts = list(dict.fromkeys(prompt for row in rows.values() for prompt in row))
    values = [value for row in rows.values() for value in row.values()]
    low, high, better = min(values), max(values), METRICS[metric].better
    said = unit.replace("percentage points", "%")
    parts = [_title(f"{said}: trained on (rows) x prompted with; deeper is {'more' if better == 'none' else 'better'}")]
    for x, prompt in enumerate(prompts):
        parts.append(_text(NAMES + CELL * (x + 0.5), TOP - 10, prompt, "middle"))
    for y, (name, row) in enumerate(rows.items()):
        top = TOP + ROW * y
        parts.append(_text(NAMES - 8, top + 17, "untuned" if name == "base" else name, "end"))
        for x, prompt in enumerate(prompts):
            if prompt in row:
                depth = (row[prompt] - low) / (high - low) if high > low else 0.0
                depth = 1 - depth if better == "lower" else depth
                box = f'x="{NAMES + CELL * x}" y="{top}" width="{CELL - 2}" height="{ROW - 2}"'
                parts.append(f'<rect {box} fill="#2563b8" fill-opacity="{0.08 + 0.55 * depth:.3f}"/>')
                value = figures.value(row[prompt], METRICS[metric])
                parts.append(_text(NAMES + CELL * (x + 0.5), top + 17, value, "middle"))
    return _svg(NAMES + CELL * len(prompts), TOP + 6 + ROW * len(rows), parts)


def bars(found: Mapping[str, Any]) -> dict[str, str]:
    """Return figure name -> SVG."""
    return {"shares": _shares(found["shares"]), "power": _power(found), "five_samples": _five(found["five_samples"])}


def _shares(shares: Mapping[str, Mapping[str, float]]) -> str:
    kinds = ("seed", "probe", "sample", "rest")
    rows = [(metric, [one[kind] for kind in kinds], f"seed {one['seed']:.1%}") for metric, one in shares.items()]
    return _chart("Where the variance of one answer's score comes from", kinds, rows, 1.0, "%")


def _power(found: Mapping[str, Any]) -> str:
    """Return the smallest effects that can be found and shown, in margins; nothing of a metric without one."""
    rows = []
    for metric, one in found["power"].items():
        if margin := found["margins"][metric]:
            for said, size in (("found", one["detectable"]), ("shown equal", one["equivalent_margin"])):
                if size is not None:
                    rows.append((f"{metric}: smallest {said}", [size / margin], f"{size / margin:.2f}"))
    longest = max((row[1][0] for row in rows), default=1.0)
    title = "What can be found, and shown to be equal, with 80% power (1 = the margin)"
    return _chart(title, (), rows, max(1.0, longest), "")


def _five(pairs: Sequence[Mapping[str, Any]]) -> str:
    kinds = ("no difference seen", "seen, right direction", "seen, wrong direction", "seen, where none is")
    rows = []
    for one in pairs:
        none, wrong = one["no_difference_seen"], one["wrong_direction"]
        points = f"{100 * one['difference']:+.2f} pt".replace("-", "−")
        seen = [1 - none - wrong, wrong, 0.0] if one["difference"] else [0.0, 0.0, 1 - none]
        rows.append((f"{one['treatment']} − {one['control']}", [none, *seen], points))
    title = "Two questions, five answers each: difference in right answers (at the right: of all answers)"
    return _chart(title, kinds, rows, 1.0, "%")


def _chart(
    title: str, kinds: Sequence[str], rows: Sequence[tuple[str, list[float], str]], most: float, unit: str
) -> str:
    """Return rows of stacked bars on one scale from 0 to `most`; each has a text of its own at the right."""
    bottom = 40 + ROW * len(rows)
    parts = [_title(title)]
    for tick in [share / 4 for share in range(5)] if unit else range(int(most) + 1):
        x = LEFT + WIDTH * tick / most
        line = "one" if not unit and tick == 1 else "grid"
        parts.append(f'<path class="{line}" d="M{x:.1f} 34V{bottom}"/>')
        parts.append(_text(x, bottom + 16, f"{100 * tick if unit else tick:.0f}{unit}", "middle"))
    for n, (name, sizes, said) in enumerate(rows):
        top, left = 38 + ROW * n, float(LEFT)
        parts.append(_text(LEFT - 8, top + 15, name, "end"))
        for colour, size in zip(COLOURS, sizes, strict=False):
            width = WIDTH * size / most
            parts.append(_box(left, top, width, ROW - 6, colour))
            left += width
        parts.append(_text(LEFT + WIDTH + 8, top + 15, said))
    for n, (kind, colour) in enumerate(zip(kinds, COLOURS, strict=False)):
        parts += [_box(10 + 178 * n, bottom + 28, 12, 12, colour), _text(28 + 178 * n, bottom + 38, kind)]
    return _svg(LEFT + WIDTH + RIGHT, bottom + (50 if kinds else 26), parts)


def _title(text: str) -> str:
    return f'<text class="strong" x="10" y="20">{escape(text)}</text>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" fill="{colour}"/>'


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n"
