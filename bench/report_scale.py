"""Measure the report of a large run: 10 arms x 3 templates x 300 probes x 20 samples = 180,000 answers.

    python bench/report_scale.py [FOLDER [PROBES SAMPLES]]

The answers are strings of words drawn with Zipf's weights, 5 to 60 words in English or 10 to 90 characters in
Japanese, of which a third repeats: harder to compress than what a model writes. Prints sizes and seconds, and
how long the page takes to open where Chromium and playwright are installed.
"""

import importlib.util
import random
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "report")]
from synthetic_run import METRICS, run  # noqa: E402

from iikata.core.records import Answer, Probe, Score  # noqa: E402
from iikata.report import write  # noqa: E402

ARMS, PROMPTS, PROBES, SAMPLES = 10, 3, 300, 20


def text(dice: random.Random, japanese: bool, words: list[str], weights: list[float]) -> str:
    if japanese:
        return "".join(chr(0x3042 + min(80, int(dice.expovariate(0.05)))) for _ in range(dice.randint(10, 90)))
    return " ".join(dice.choices(words, cum_weights=weights, k=dice.randint(5, 60)))


def material(probes_asked: int, samples: int):
    dice = random.Random(0)
    words = ["".join(dice.choices("etaoinshrdlucm", k=dice.randint(2, 9))) for _ in range(8000)]
    weights, total = [], 0.0
    for rank in range(1, len(words) + 1):
        total += 1 / rank
        weights.append(total)
    probes = [Probe(f"q{i:05d}", f"question {i}", cluster=f"c{i // 3:03d}") for i in range(probes_asked)]
    answers, scores = [], {name: [] for name in METRICS if name != "nll"}
    for place, probe in enumerate(probes):
        common = [text(dice, bool(place % 2), words, weights) for _ in range(5)]
        for arm in range(ARMS):
            for prompt in range(PROMPTS):
                for sample in range(samples):
                    again = dice.random() < 1 / 3
                    said = dice.choice(common) if again else text(dice, bool(place % 2), words, weights)
                    where = (f"t{arm}", 0, f"t{prompt}", probe.id)
                    answers.append(Answer(*where, sample, said, dice.choice(["stop", "length"]), 20))
                    for name, found in scores.items():
                        value = float(len(said)) if name == "length" else float(dice.random() < 0.5)
                        found.append(Score(*where, probe.cluster, sample, name, value, METRICS[name].signature))
    return replace(run(), probes=probes, answers=answers, scores={"nll": run().scores["nll"], **scores})


def opened(page: Path) -> str:
    """Return how long Chromium takes to paint the page and to show its first answers."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        window = browser.new_page()
        start = time.perf_counter()
        window.goto(page.as_uri())
        window.locator(".status", has_text=" / ").wait_for()
        took = time.perf_counter() - start
        asked = window.context.new_cdp_session(window)
        asked.send("Performance.enable")
        spent = {one["name"]: one["value"] for one in asked.send("Performance.getMetrics")["metrics"]}
        painted = window.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime") / 1000
        browser.close()
    memory = f"{spent['JSHeapUsedSize'] / 1e6:.0f} MB of JavaScript"
    return f"first paint after {painted:.1f} s, first answers after {took:.1f} s; {memory}"


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    made = material(*(map(int, sys.argv[2:4]) if len(sys.argv) > 3 else (PROBES, SAMPLES)))
    start = time.perf_counter()
    paths = write(made, folder)
    print(f"{len(made.answers):,} answers, {sum(len(a.text.encode()) for a in made.answers) / 1e6:.1f} MB of text")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"built in {time.perf_counter() - start:.1f} s, peak memory {peak:.1f} GB")
    for path in paths:
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    if shutil.which("chromium") and importlib.util.find_spec("playwright"):
        print(opened(paths[0]))
    else:
        print("opening was not measured: it needs Chromium and playwright")
