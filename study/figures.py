"""The study's figures, drawn by the report's own plots; the matrix as a table of shades."""

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from iikata.core.records import Variant
from iikata.metrics import METRICS
from iikata.report.plots import along, forest


def drawn(found: Mapping[str, Any]) -> dict[str, str]:
    """Return figure name -> SVG."""
    made = {f"forest_{metric}": _forest(found, metric) for metric in ("nll", "choice")}
    made["rates"] = _rates(found["rates"])
    made |= {f"matrix_{metric}": _matrix(rows, metric) for metric, rows in found["matrix"].items()}
    return made


def _forest(found: Mapping[str, Any], metric: str) -> str:
    """Return both questions' effects with margin and noise floor."""
    asked = {"matched": found["pairs"], "tuned_vs_best_base": found["lora"]}
    records = [_record(one, question) for question, rows in asked.items() for one in rows if one["metric"] == metric]
    return forest(records, METRICS[metric], found["margins"][metric])


def _record(one: Mapping[str, Any], question: str) -> dict[str, Any]:
    """Return a row of results.json as the report reads a comparison."""

    def side(name: str) -> dict[str, Any]:
        trained_on, _, prompted_with = one[name].partition("@")
        return {"trained_on": None if trained_on == "base" else trained_on, "prompted_with": prompted_with}

    detail = {"noise_floor": one["noise_floor"]}
    kept = {name: one[name] for name in ("metric", "difference", "interval", "interval_90", "verdict")}
    sides = {"treatment": side("treatment"), "control": side("control")}
    return {**kept, **sides, "question": question, "detail": detail}


def _rates(rates: Mapping[str, Any]) -> str:
    """Return each template's curve over the learning rates of the pilot."""
    curves, variants = [], []
    for template, means in rates["means"].items():
        points = [
            {"variant": template, "prompted_with": template, "level": rate, "value": float(rate), "mean": mean,
             "interval": None}
            for rate, mean in sorted(means.items(), key=lambda item: float(item[0]))
        ]  # fmt: skip
        curves.append({"levels": {"template": template}, "points": points})
        variants.append(Variant(template, (template,)))
    return along({"factor": "train.learning_rate", "metric": "nll", "curves": curves}, variants, METRICS["nll"])


ROW, LEFT, WIDTH = 26, 130, 104


def _matrix(rows: Mapping[str, Mapping[str, float]], metric: str) -> str:
    """Return trained-on x prompted-with; deeper is better, or more where nothing is better."""
    prompts = list(dict.fromkeys(prompt for row in rows.values() for prompt in row))
    values = [value for row in rows.values() for value in row.values()]
    low, high, better = min(values), max(values), METRICS[metric].better
    parts = []
    for x, prompt in enumerate(prompts):
        parts.append(f'<text class="head" x="{LEFT + WIDTH * x + WIDTH / 2}" y="18">{escape(prompt)}</text>')
    for y, (name, row) in enumerate(rows.items()):
        top = 28 + ROW * y
        parts.append(f'<text x="{LEFT - 8}" y="{top + 17}" text-anchor="end">{escape(name)}</text>')
        for x, prompt in enumerate(prompts):
            if prompt in row:
                depth = (row[prompt] - low) / (high - low) if high > low else 0.0
                depth = 1 - depth if better == "lower" else depth
                left = LEFT + WIDTH * x
                box = f'x="{left}" y="{top}" width="{WIDTH - 2}" height="{ROW - 2}"'
                parts.append(f'<rect {box} fill="#2563b8" fill-opacity="{0.08 + 0.55 * depth:.3f}"/>')
                parts.append(f'<text class="head" x="{left + WIDTH / 2}" y="{top + 17}">{row[prompt]:.3f}</text>')
    width, height = LEFT + WIDTH * len(prompts), 34 + ROW * len(rows)
    style = "text{font:12px system-ui,sans-serif;fill:#1f1d1a}.head{text-anchor:middle}svg{background:#fff}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<style>{style}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )
