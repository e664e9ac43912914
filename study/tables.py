"""The study's tables as one Markdown page; it says nothing that results.json does not hold."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def page(found: Mapping[str, Any]) -> str:
    """Return all tables of one model."""
    parts = [
        f"# {found['model']}: tables",
        "Made by `make study` from the published scores; [PLAN.md](../PLAN.md) says what they mean.",
    ]
    for title, table in _tables(found):
        parts += [f"## {title}", table]
    return "\n\n".join(parts) + "\n"


def _tables(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    margins = ", ".join(f"{metric} {_n(margin)}" for metric, margin in found["margins"].items())
    asked, metrics = ("template", "lora"), ("nll", "choice")
    rows = [(m, *(found["answers"][one][m] for one in asked)) for m in metrics]
    head = ("metric", "does the template matter", "was LoRA needed")
    yield f"The two questions (primary; margins: {margins})", _table(head, rows)
    yield "Pairs of templates (primary; Holm over both metrics)", _compared(found["pairs"])
    yield "Against the untuned model's best (primary; Holm over both metrics)", _compared(found["lora"])
    yield "Control: planted effects, nll", _table(
        ("rows exchanged", "foretold", "found", "95% interval", "standard errors apart", "must be found", "as planned"),
        [
            (name, _n(one["foretold"]), _n(one["difference"]), _span(one["interval"]),
             f"{one['standard_errors_apart']:.2f}", _yes(one["must_be_found"]), _yes(one["holds"]))
            for name, one in found["planted"].items()
        ],
    )  # fmt: skip
    yield "Control: twelve seeds of one template, every split in halves", _table(
        ("metric", "splits", "p < 0.05", "sign flips agree", "largest difference", "at most 9%"),
        [
            (one["metric"], one["splits"], f"{one['below_alpha']:.1%}", f"{one['matters']:.1%}",
             _n(one["largest_difference"]), _yes(one["holds"]) + (" (strict)" if one["strict"] else ""))
            for one in found["negative"]
        ],
    )  # fmt: skip
    rows = [(s, *(a[one][m] for one in asked for m in metrics)) for s, a in found["without_a_seed"].items()]
    yield "Without one seed", _table(("seed", *(f"{one}, {m}" for one in asked for m in metrics)), rows)
    if found["strata"]:
        rows = [(name, one["rows"], one["template"], one["lora"]) for name, one in found["strata"].items()]
        yield "Rows with long and short answers, nll", _table(("rows", "number", "template", "LoRA"), rows)
    yield "What these seeds and rows can find and show (80% power)", _table(
        ("metric", "seeds", "clusters", "smallest difference found", "smallest margin shown", "margin", "buys most"),
        [
            (m, one["seeds"], one["clusters"], _n(one["detectable"]), _n(one["equivalent_margin"]),
             _n(found["margins"][m]), one["buys_most"] or "-")
            for m, one in found["power"].items()
        ],
    )  # fmt: skip
    yield from _of_rates(found["rates"])
    yield from _of_cells(found)
    yield from _of_answers(found)


def _of_rates(rates: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    shown = {name: {rate: _n(own.get(rate)) for rate in rates["grid"]} for name, own in rates["means"].items()}
    for name, rate in rates["rates"].items():
        shown[name][rate] = f"**{shown[name][rate]}**"
    title = "Exploratory: learning rates (nll on the choosing rows; the chosen one in bold)"
    yield title, _table(("template", *rates["grid"]), [(name, *own.values()) for name, own in shown.items()])
    orders = {**rates["ranking"], "own best": rates["ranking_at_best"]}
    title = "Exploratory: ranking by rate, and with each template's own best"
    yield title, _table(("rate", "from best to worst"), [(rate, " < ".join(order)) for rate, order in orders.items()])


def _of_cells(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for metric, rows in found["matrix"].items():
        prompts = list(dict.fromkeys(prompt for row in rows.values() for prompt in row))
        cells = [(name, *(_n(row.get(prompt)) for prompt in prompts)) for name, row in rows.items()]
        yield f"Exploratory: {metric}, trained on (rows) x prompted with", _table(("", *prompts), cells)
    untuned = found["untuned"]
    cells = [(prompt, *(_n(own.get(prompt)) for own in untuned.values())) for prompt in untuned["nll"]]
    yield "Exploratory: the untuned model", _table(("prompt", *untuned), cells)
    price = _contrasts(found["price"], "{trained_on}@{prompted_with}")
    yield "Exploratory: the price of prompting with another template", price
    mixed = "mixed less {template}, both @{prompted_with}"
    yield "Exploratory: the mixture less a template's own adapters", _contrasts(found["mixture"], mixed)
    if found["loss"]:
        rows = [{**found["loss"], "metric": "nll"}]
        yield "Exploratory: loss on the answer less loss on everything", _contrasts(rows, "completion - all")


def _of_answers(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Exploratory: shares of the variance of one answer's score", _table(
        ("metric", "seed", "probe", "sample", "rest", "SD seed x template", "SD probe x template"),
        [
            (m, *(f"{one[k]:.1%}" for k in ("seed", "probe", "sample", "rest")), _n(one["sd_seed_template"]),
             _n(one["sd_probe_template"]))
            for m, one in found["shares"].items()
        ],
    )  # fmt: skip
    yield "Exploratory: what two questions and five answers each would have shown of right answers", _table(
        ("pair", "all scores", "no difference seen", "wrong direction", "10 points or more seen", "spread"),
        [
            (f"{one['treatment']} - {one['control']}", _n(one["difference"]), f"{one['no_difference_seen']:.1%}",
             f"{one['wrong_direction']:.1%}", f"{one['large_difference_seen']:.1%}", _n(one["spread"]))
            for one in found["five_samples"]
        ],
    )  # fmt: skip


def _compared(rows: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("metric", "comparison", "difference", "95% interval", "p (Holm)", "verdict", "found (80%)", "remarks"),
        [
            (one["metric"], _name(one), _n(one["difference"]), _span(one["interval"]), _p(one["p_holm"]),
             one["verdict"], _n(one["mde"]), ", ".join([*one["gates"], *one["shapes"]]) or "-")
            for one in rows
        ],
    )  # fmt: skip


def _name(one: Mapping[str, Any]) -> str:
    sides = " - ".join(side.replace("base@", "untuned@") for side in (one["treatment"], one["control"]))
    return f"**{sides}**" if one.get("best_on_choosing") else sides


def _contrasts(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    return _table(
        ("metric", "", "difference", "95% interval", "p, not adjusted"),
        [
            (one["metric"], name.format(**one), _n(one["difference"]), _span(one["interval"]), _p(one["p"]))
            for one in rows
        ],
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _n(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}".replace("-", "−")


def _p(value: float | None) -> str:
    return "-" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _span(ends: Sequence[float | None] | None) -> str:
    return "-" if ends is None else f"{_n(ends[0])} to {_n(ends[1])}"


def _yes(value: bool) -> str:
    return "yes" if value else "**no**"
