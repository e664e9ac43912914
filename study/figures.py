"""The study's figures: the report's own plots with a title and what their marks mean, and plain charts."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from charts import bars, matrix

from iikata.core.records import Variant
from iikata.metrics import METRICS
from iikata.report import figures
from iikata.report.plots import along, forest

MARKS = "Thick: 90% interval. Thin: 95%. Dotted: noise floor, how far two seeds lie apart."
NEAR = 1.1
"""The right-hand panel shows again, larger, the rates at which every template has at most this times its best loss."""


def drawn(found: Mapping[str, Any]) -> dict[str, str]:
    """Return figure name -> SVG."""
    made = {f"forest_{metric}": _forest(found, metric) for metric in ("nll", "choice")}
    made["price_nll"] = _price(found)
    made["rates"] = _rates(found["rates"])
    made |= {f"matrix_{metric}": matrix(rows, metric, unit(metric)) for metric, rows in found["matrix"].items()}
    return made | bars(found)


def framed(title: str, note: str, *parts: str) -> str:
    """Return plots side by side, with a title above and a line of explanation below."""
    sizes = [[int(part.split(f'{side}="')[1].split('"')[0]) for part in parts] for side in ("width", "height")]
    width, height = max(sum(sizes[0]), 720), max(sizes[1]) + 64
    placed, left = [], 0
    for part, own in zip(parts, sizes[0], strict=True):
        placed.append(part.replace("<svg ", f'<svg x="{left}" y="34" ', 1))
        left += own
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">\n'
        f'<text class="strong" x="10" y="22" font-size="14">{escape(title)}</text>\n'
        f"{''.join(placed)}"
        f'<text x="10" y="{height - 12}" font-size="11">{escape(note)}</text>\n</svg>\n'
    )


def unit(metric: str) -> str:
    rate = figures.is_rate(METRICS[metric])
    return f"{metric}, {'percentage points' if rate else METRICS[metric].unit}"


def _forest(found: Mapping[str, Any], metric: str) -> str:
    """Return both questions' effects with margin and noise floor."""
    asked = {"matched": found["pairs"], "tuned_vs_best_base": found["lora"]}
    records = [_record(one, question) for question, rows in asked.items() for one in rows if one["metric"] == metric]
    margin = found["margins"][metric]
    band = (
        f" Blue: margin, ±{margin * (100 if figures.is_rate(METRICS[metric]) else 1):g}." if margin else " No margin."
    )
    plot = forest(records, METRICS[metric], margin).replace("− base@", "− untuned@")
    return framed(f"Differences in {unit(metric)}", MARKS + band, plot)


def _price(found: Mapping[str, Any]) -> str:
    """Return what each template's adapters lose under another than their own."""
    bare = {"interval_90": None, "verdict": None, "noise_floor": None}
    rows = [one for one in found["price"] if one["metric"] == "nll"]
    records = [_record({**one, **_sides(one), **bare}, "mismatch") for one in rows]
    note = "trained on@prompted with, less the same adapters under their own template. Line: 95% interval. Exploratory."
    return framed(f"Prompted with another template: {unit('nll')}", note, forest(records, METRICS["nll"], None))


def _sides(one: Mapping[str, Any]) -> dict[str, str]:
    trained = one["trained_on"]
    return {"treatment": f"{trained}@{one['prompted_with']}", "control": f"{trained}@{trained}"}


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
    """Return each template's curve over the learning rates of the pilot, and those around the best once more."""
    means = rates["means"]
    best = {name: min(own.values()) for name, own in means.items()}
    near = [
        rate
        for rate in rates["grid"]
        if all(rate in own and own[rate] <= NEAR * best[name] for name, own in means.items())
    ]
    again = 1 < len(near) < len(rates["grid"])
    panels = [_curves(means, some) for some in ((rates["grid"], near) if again else (rates["grid"],))]
    title = "nll (bits per byte) on the choosing rows, by learning rate" + (
        f"; right: {near[0]} to {near[-1]} again" if again else ""
    )
    return framed(title, "Mean of two seeds, each template under its own. Lower is better.", *panels)


def _curves(of: Mapping[str, Mapping[str, float]], some: Sequence[str]) -> str:
    curves, variants = [], []
    for template, means in of.items():
        points = [
            {"variant": template, "prompted_with": template, "level": rate, "value": float(rate), "mean": mean,
             "interval": None}
            for rate, mean in sorted(means.items(), key=lambda item: float(item[0]))
            if rate in some
        ]  # fmt: skip
        curves.append({"levels": {"template": template}, "points": points})
        variants.append(Variant(template, (template,)))
    found = {"factor": "train.learning_rate", "metric": "nll", "curves": curves}
    return along(found, variants, METRICS["nll"]).replace("</style>", "circle.point{fill:#fff}</style>")
