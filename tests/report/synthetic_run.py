"""A made-up run with everything a report must survive: two languages, collapses, missing scores, hostile text."""

import itertools
import math
import random
from dataclasses import replace

from iikata.core.evaluation import Evaluation
from iikata.core.records import Answer, Finding, Gate, Probe, Score, TrainStep
from iikata.metrics import Metric
from iikata.report.data import ReportData, TemplateCard

TEMPLATES = ("alpaca", "rinna", "native")
HOSTILE = (
    "<script>document.title='owned'</script>",
    '<img src=x onerror="document.title=1">',
    "</textarea></script></svg></details><b onclick=alert(1)>bold",
    "right \u202eto left\u202c and \u200bzero width \ufeff",
    "bell \x07 escape \x1b[31m null \x00 delete \x7f",
    "`````\n# a heading\n| a | b |\n<details>\n[link](javascript:alert(1))",
    "{{ 7 * 7 }} {% raw %} ${alert(1)}",
    "long " + "A" * 10_000,
    "lone \ud83d surrogate",
)
HOSTILE_NAME = '"><img src=x onerror="window.owned=1"><script>window.owned=1</script>\u202e</textarea>|`'
"""Markup in every place where a run's own text stands: names, questions, templates, findings."""
SHARE = "share of answers"
METRICS = {
    name: Metric.declared(name, better, bounds, unit, category, scope=scope, signature=signature)
    for name, better, bounds, unit, category, scope, signature in [
        ("nll", "lower", (0, math.inf), "bits per byte", "likelihood", "text", "nll|unit:bits/byte|on:response|v:1"),
        ("contains", "higher", (0, 1), SHARE, "content", "answer", "contains|norm:nfkc+lower|v:1"),
        ("finish", "higher", (0, 1), SHARE, "form", "answer", "finish|v:1"),
        ("leakage", "lower", (0, 1), SHARE, "form", "answer", "leakage|min:4|v:1"),
        ("length", "none", (0, math.inf), "characters", "form", "answer", "length|unit:char|v:1"),
    ]
}
RATINGS = {
    "ratings": 40, "raters": {"anna": 22, "健": 18}, "skipped": 2, "same": 3, "shared": 12, "agreement": -0.05,
    "win_rates": [
        {"first": ("alpaca", "alpaca"), "second": ("native", "native"), "wins": 9, "ties": 2, "losses": 10,
         "rate": 0.4762, "by_cluster": {f"c{i:02d}": 0.5 for i in range(11)}},
        {"first": (None, "native"), "second": ("native", "native"), "wins": 1, "ties": 0, "losses": 18,
         "rate": 0.0526, "by_cluster": {"c00": 0.1, "c01": 0.0}},
    ],
    "strengths": [
        {"trained_on": "native", "prompted_with": "native", "strength": 1.2, "interval": (0.4, 2.1)},
        {"trained_on": None, "prompted_with": "native", "strength": -1.2, "interval": (-2.0, -0.3)},
    ],
}  # fmt: skip
"""What a rated run's summary says, as plain values."""
QUESTIONS = [
    ("What is the capital of Italy?", "Rome (city)"),
    ("色の三原色を教えてください", "赤・青・黄（色）"),
    ("日本で最も高い山を教えてください", "富士山（山）"),
    ("Which day comes after Wednesday?", "Thursday (day)"),
    ("Give the opposite of push.", "pull (word)"),
    ("「手」の読みは？", "て（読み）"),
]
WRONG = {
    True: ["京都（町）", "わかりません", "それは、とても難しい質問です。まず"],
    False: ["Milan (city)", "I do not know", "Sure! Here is a list of"],
}


def cells():
    """Return every (trained on, seed, prompted with)."""
    trained = [(None, None), *((t, s) for t in TEMPLATES for s in range(3))]
    return [(t, s, p) for t, s in trained for p in TEMPLATES]


def run(probes: int = 24, samples: int = 2, hostile: bool = True) -> ReportData:
    """Return the made-up run."""
    dice = random.Random(7)
    asked = [_probe(i) for i in range(probes)]
    answers = [_answer(dice, cell, probe, sample) for probe in asked for cell in cells() for sample in range(samples)]
    if hostile:
        answers[: len(HOSTILE)] = [replace(a, text=t, finish="length") for a, t in zip(answers, HOSTILE, strict=False)]
    scores = {"nll": _nll(dice), **{name: _scores(name, answers, asked) for name in list(METRICS)[1:]}}
    return ReportData(
        name="three-templates",
        experiment="name: three-templates\nmodel: {base: smollm2}  # <b>frozen</b>\ntemplates: [alpaca, rinna]\n",
        signature={"iikata": "0.1.0", "torch": "2.13.0+cpu", "device": "cpu", "threads": 2, "dtype": "bfloat16",
                   "model": {"id": "smollm2", "sha256": "5af571cbf074e6d21a03528d2330792e532ca608"}},
        comparisons=_comparisons(),
        scores=scores,
        metrics=METRICS,
        probes=asked,
        answers=answers,
        templates=_cards(),
        steps={f"{t}.s{s}": _curve(dice, t, f"{t}.s{s}") for t in TEMPLATES for s in range(3)},
        evaluations={f"{t}.s{s}": _held_out(t, s) for t in TEMPLATES for s in range(3)},
        findings=[
            Finding("newline", "warning", "rinna", "the tokenizer drops line breaks, the template has 2",
                    evidence="ユーザー: …<NL>システム: ", cure="declare newline: <NL>"),
            Finding("end_token", "info", None, "one end token closes every answer"),
        ],
        gates=[
            Gate("dead_adapter", "alpaca.s0", True, "mean |B A| = 3.1e-3"),
            Gate("same_tokens", "alpaca|native", True),
            Gate("floor_or_ceiling", "base@rinna", False, "contains is 2.1% in both cells"),
        ],
        costs=[
            {"stage": "encode", "seconds": 0.8, "tokens": 18200},
            {"stage": "train", "seconds": 94.2, "tokens": 55400, "peak_bytes": 1.9e9},
            {"stage": "generate", "seconds": 81.0, "tokens": 34560, "peak_bytes": 1.2e9},
            {"stage": "score", "seconds": 22.5, "tokens": None},
        ],
        counts={
            "data": {"rows": 203, "train": 160, "validation": 40, "duplicates": {"rows": 3, "examples": ["a.jsonl:4"]}},
            "templates": {t: {"rows": 160, "over_length": 1, "tokens": 5600, "loss_tokens": 900} for t in TEMPLATES},
        },
        command="iikata run experiment.yaml --out runs/three-templates",
    )  # fmt: skip


def _probe(i: int) -> Probe:
    question, reference = QUESTIONS[i % len(QUESTIONS)]
    return Probe(f"p{i:02d}", question, "" if i % 5 else "短く答えてください", (reference,), cluster=f"c{i // 2:02d}")


def _collapsed(cell) -> bool:
    return cell[0] is not None and cell[0] != cell[2]


def _answer(dice, cell, probe, sample) -> Answer:
    right = 0.15 if cell[0] is None else 0.2 if _collapsed(cell) else 0.8
    japanese = not probe.instruction.isascii()
    text = probe.references[0] if dice.random() < right else dice.choice(WRONG[japanese])
    leaks = _collapsed(cell) and dice.random() < 0.6
    if leaks:
        text += "\n\n### Response:\n" + text if cell[0] == "alpaca" else "<NL>ユーザー: " + probe.instruction
    finish = "length" if leaks or text.endswith(("of", "まず")) else "stop"
    return Answer(cell[0], cell[1], cell[2], probe.id, sample, text, finish, max(1, len(text) // 3))


def _scores(metric, answers, probes) -> list[Score]:
    asked = {probe.id: probe for probe in probes}
    measure = {
        "contains": lambda a: (
            math.nan if a.sample == 1 and a.probe == "p03" else float(asked[a.probe].references[0] in a.text)
        ),
        "finish": lambda a: float(a.finish == "stop"),
        "leakage": lambda a: float("### Response" in a.text or "ユーザー" in a.text),
        "length": lambda a: float(len(a.text)),
    }[metric]
    return [
        Score(a.trained_on, a.seed, a.prompted_with, a.probe, asked[a.probe].cluster, a.sample, metric, measure(a),
              METRICS[metric].signature)
        for a in answers
    ]  # fmt: skip


def _level(trained_on, prompted_with) -> float:
    if trained_on is None:
        return {"alpaca": 1.31, "rinna": 1.52, "native": 1.18}[prompted_with]
    return {"alpaca": 0.842, "rinna": 0.851, "native": 0.838}[trained_on] if trained_on == prompted_with else 1.44


def _nll(dice) -> list[Score]:
    rows = [(*cell, f"row{i}") for cell in cells() for i in range(40)]
    return [
        Score(t, s, p, row, row, 0, "nll", _level(t, p) + dice.gauss(0, 0.02), METRICS["nll"].signature)
        for t, s, p, row in rows
    ]


def _curve(dice, template, arm) -> list[TrainStep]:
    start = {"alpaca": 3.2, "rinna": 3.9, "native": 2.8}[template]
    return [
        TrainStep(arm, i, 0.6 + start * math.exp(-i / 14) + dice.gauss(0, 0.07), 3e-4, 1.0, 900, 240)
        for i in range(1, 61)
    ]


def _held_out(template, seed) -> list[Evaluation]:
    """Return a curve that is lowest at step 40 of 60, where the arm does not end for good in NaN."""
    found = [2.4, 1.6, 1.3 + seed / 10, 1.5 if template != "rinna" else math.nan]
    return [Evaluation(f"{template}.s{seed}", 20 * i, template, "nll", value, 180) for i, value in enumerate(found)]


def comparison(question, treatment, control, metric, difference, half, verdict, **more) -> dict:
    """Return one comparison in the shape of comparisons.json."""
    means = (0.5 + difference / 2, 0.5 - difference / 2)
    sides = [
        {"trained_on": side[0], "prompted_with": side[1], "seeds": [0, 1, 2], "mean": mean}
        for side, mean in zip((treatment, control), means, strict=True)
    ]
    return {
        "question": question, "treatment": sides[0], "control": sides[1], "metric": metric,
        "difference": difference, "interval": [difference - half, difference + half] if half else None, "level": 0.95,
        "interval_90": [difference - 0.8 * half, difference + 0.8 * half] if half else None,
        "p": 0.2 if verdict == "INCONCLUSIVE" else None if verdict is None else 0.0004,
        "p_holm": 0.6 if verdict == "INCONCLUSIVE" else None if verdict is None else 0.0012,
        "verdict": verdict, "beyond_margin": None, "scope": "recipe", "n_seeds": 3, "n_probes": 24, "n_clusters": 12,
        "n_samples": 2, "mde": 0.9 * half if half else None, "needed": None, "gates": [],
        "signature": METRICS[metric].signature,
        "detail": {"noise_floor": None if question == "noise_floor" else 0.006 * (1 if metric == "nll" else 7)}, **more,
    }  # fmt: skip


def _comparisons() -> dict:
    found, open_ = [], {"seeds": 8, "probes": 40, "clusters": 20, "lower_bound": False}
    for metric, unit in (("nll", 1.0), ("contains", 0.1), ("finish", 0.1), ("leakage", -0.1)):
        scale = 1 if metric == "nll" else 7
        for a, b in itertools.combinations(TEMPLATES, 2):
            gap, wide = (_level(a, a) - _level(b, b)) * unit, (a, b) == ("rinna", "native")
            half, settled = (0.016 if wide else 0.01) * (1 if metric == "nll" else 12), metric == "nll" and not wide
            verdict, needed = ("EQUIVALENT", None) if settled else ("INCONCLUSIVE", open_)
            found.append(comparison("matched", (a, a), (b, b), metric, gap, half, verdict, needed=needed))
        for t in TEMPLATES:
            gap = (_level(t, t) - _level(None, t)) * (1 if metric == "nll" else -0.9 * (1 if unit > 0 else -1))
            for question, rival, size in (("tuned_vs_base", t, gap), ("tuned_vs_best_base", "native", 0.8 * gap)):
                half = abs(gap) * 0.12
                found.append(comparison(question, (t, t), (None, rival), metric, size, half, "MATTERS"))
            found.append(comparison("noise_floor", (t, t), (t, t), metric, 0.006 * scale, 0, None))
        for a, b in itertools.permutations(TEMPLATES, 2):
            gap = 0.59 * (1 if metric in ("nll", "leakage") else -1)
            found.append(comparison("mismatch", (a, b), (a, a), metric, gap, 0.07, "MATTERS", beyond_margin=True))
    gate = {"name": "floor_or_ceiling", "subject": "base@rinna", "passed": False, "detail": "2.1% in both cells"}
    sides = ("rinna", "rinna"), (None, "rinna")
    found.append(comparison("tuned_vs_base", *sides, "length", 3.0, 0, "NOT_ASSESSABLE", gates=[gate]))
    return {
        "settings": {"primary": "nll", "margins": {"nll": 0.02, "contains": 0.1}, "alpha": 0.05},
        "warnings": ["1 probe of rinna has no score under contains."],
        "comparisons": found,
        "cells": [
            {"metric": name, "trained_on": made, "prompted_with": asked, "mean": _level(made, asked), "scored": 9}
            for name in ("finish", "contains") for made in (None, *TEMPLATES) for asked in TEMPLATES
        ],
        "verdict": {
            "template_matters": "INCONCLUSIVE", "factor_matters": "INCONCLUSIVE", "factor": "template",
            "prompt_must_match": "MATTERS",
            "short_en": "Not settled.\nYes: rinna prompted with native is worse.\nYes: native beats the untuned model.",
            "short_ja": "まだ決まりません。\nそろえるべきです。\n必要でした。",
            "advice_en": "Prompt as you trained.", "advice_ja": "学習時と同じテンプレートで尋ねる。",
            "lora_needed": "YES",
            "sentence_en": "Trained and prompted alike, alpaca and native are equivalent within 0.02 bits per byte.",
            "sentence_ja": "学習時と同じテンプレートなら、alpaca と native の差は 0.02 ビット/バイト以内で同等です。",
            "metric": "nll", "margin": 0.02, "template_pair": ["rinna", "native"], "lora_template": "native",
            "base_template": "native",
        },
    }  # fmt: skip


def _cards() -> dict[str, TemplateCard]:
    alpaca = "Below is an instruction that describes a task.\n\n### Instruction:\n{instruction}\n\n### Response:\n"
    rinna = "ユーザー: {instruction}<NL>システム: "
    native = "<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n"
    return {
        "alpaca": TemplateCard(alpaca, "9f2c1d7ab0e4", _paint(alpaca, "Rome (city)"), None,
                               ("### Instruction:", "### Response:")),
        "rinna": TemplateCard(rinna, "41aa87f3c2d0", _paint(rinna, "富士山（山）"), "<NL>",
                              ("ユーザー: ", "システム: ")),
        "native": TemplateCard(native, "d00dfeed1234", _paint(native, "Rome (city)"), None, ("<|im_start|>",)),
    }  # fmt: skip


def _paint(text: str, answer: str) -> list[tuple[str, bool]]:
    prompt = text.replace("{instruction}", "What is the capital of Italy?")
    pieces = [(prompt[i : i + 4], False) for i in range(0, len(prompt), 4)]
    return [*pieces, *((answer[i : i + 3], True) for i in range(0, len(answer), 3)), ("<eos>", True)]


def hostile() -> ReportData:
    """Return a run whose every text is hostile, names and hashes too."""
    made, bad = run(probes=4), HOSTILE_NAME
    probe = replace(made.probes[1], id=bad, instruction=bad, input=bad, cluster=bad)
    cards = {
        name: replace(card, text=bad, painted=[(bad, True)], template_literals=[bad])
        for name, card in made.templates.items()
    }
    answers = [replace(a, probe=bad, text=a.text + bad) if a.probe == "p01" else a for a in made.answers]
    return replace(
        made, name=bad, command=bad, experiment=bad, templates=cards, answers=answers, signature={"iikata": bad},
        probes=[made.probes[0], probe, *made.probes[2:]], findings=[Finding(bad, "warning", bad, bad, bad, bad)],
        gates=[Gate(bad, bad, False, bad), Gate("dead", bad, True)],
        evaluations={bad: [Evaluation(bad, 1, bad, "nll", 1.0, 2), Evaluation(bad, 2, "other", "nll", 0.5, 2)]},
    )  # fmt: skip
