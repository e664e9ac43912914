"""The page is complete, still and bilingual, whatever a model has answered."""

import base64
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from synthetic_run import HOSTILE, HOSTILE_NAME, METRICS, RATINGS, hostile, run

from iikata.core.text import HIDDEN
from iikata.doctor import RULES
from iikata.metrics import METRICS as SHELF
from iikata.metrics.judge import Judge
from iikata.report import write
from iikata.report.bilingual import words
from iikata.report.context import SCRIPT_WORDS, context
from iikata.report.pages import pages

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Collects tags with their attributes, ids, and the text of scripts; refuses tags that do not nest."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.scripts, self.open, self.text = [], [], [], ""
        self.feed(html)
        self.ids = [attributes["id"] for _, attributes in self.tags if "id" in attributes]
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        else:
            self.text += data

    def named(self, *tags):
        return [attributes for name, attributes in self.tags if name in tags]


@pytest.fixture(scope="module")
def data():
    return run()


@pytest.fixture(scope="module")
def made(data):
    return pages(data)


@pytest.fixture(scope="module")
def page(made):
    return Page(made["index.html"])


def test_the_pages_script_writes_out_what_the_terminal_does(page):
    (table,) = re.findall(r"HIDDEN = /\((.*?)\)/u;", "".join(page.scripts))
    script = re.sub(r"\\u\{([0-9a-f]+)\}", lambda found: f"\\U{int(found[1], 16):08x}", table)
    every = "".join(map(chr, range(0x110000)))
    assert re.findall(script, every) == HIDDEN.findall(every)


def test_write_leaves_the_files_and_nothing_half_done(data, tmp_path):
    paths = write(data, tmp_path)
    names = ["index.html", "report.md", "report.zenn.md", "card_en.svg", "card_ja.svg"]
    names += ["plots/forest.svg", "plots/loss.svg", "plots/held_out.svg"]
    assert [path for path in paths if path.suffix != ".png"] == [tmp_path / name for name in names]
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(paths)


@pytest.mark.long
def test_the_same_run_makes_the_same_bytes_in_any_process(data, made):
    write = "import hashlib; from synthetic_run import run; from iikata.report.pages import pages; "
    write += "print(hashlib.sha256(repr(pages(run())).encode()).hexdigest())"
    wanted = hashlib.sha256(repr(made).encode()).hexdigest()
    for seed in ("1", "2"):
        paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths}
        done = subprocess.run([sys.executable, "-c", write], env=env, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == wanted


def test_nothing_is_fetched_from_anywhere(made, page):
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset", "xlink:href"):
            value = attributes.get(name, "#")
            assert value.startswith("#") or value == "data:,", (tag, name, value)
    style = re.search("<style>(.*?)</style>", made["index.html"], re.S).group(1)
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_allows_our_script_by_its_hash_and_no_other(page):
    [policy] = [m["content"] for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    running = [a for a in page.named("script") if a.get("type") != "application/octet-stream"]
    assert len(running) == 1
    digest = base64.b64encode(hashlib.sha256(page.scripts[-1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert all(re.fullmatch(r"[A-Za-z0-9+/=\n]+", data) for data in page.scripts[:-1]), "data blocks hold base64 only"
    as_text = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function"
    assert not re.search(as_text, page.scripts[-1]), "the script puts text into the page as text only"


def test_hostile_text_is_shown_and_makes_no_element(page):
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
    assert not page.named("img", "textarea", "iframe")
    shown = page.text
    assert "<script>document.title='owned'</script>" in shown
    assert "{{ 7 * 7 }} {% raw %}" in shown
    assert not re.search("[\x00-\x08\u202a-\u202e\u200b]", shown)


def test_hostile_names_are_inert_everywhere():
    found = pages(hostile())
    assert len(Page(found["index.html"]).named("script")) == 3
    assert "<script" not in MarkdownIt("commonmark").enable("table").render(found["report.md"])
    for name in ("index.html", "plots/held_out.svg"):
        assert HOSTILE_NAME not in found[name]
        assert "<script>window.owned" not in found[name]


def test_every_number_of_matrix_and_effects_leads_to_answers_and_shows_its_signature(page, data):
    links = [a for a in page.named("a") if a["href"].startswith("#show=")]
    verdicts, cells = 2, 12 * len(METRICS)
    assert len(links) == verdicts + cells + len(data.comparisons["comparisons"])
    assert len(page.ids) == len(set(page.ids))
    for link in links:
        assert link["href"][1:] in page.ids
        metric = unquote(link["href"]).removeprefix("#show=").split(";")[0]
        assert METRICS[metric].signature in link["title"]


def test_every_word_is_there_and_shown_in_both_languages(page):
    assert all(len(pair) == 2 and all(text.strip() for text in pair) for pair in words().values())
    languages = [a["lang"] for tag, a in page.tags if "lang" in a and tag == "span"]
    assert len(languages) > 100
    assert languages == ["en", "ja"] * (len(languages) // 2)


def test_the_verdict_comes_first_and_in_both_languages(made, page, data):
    html = made["index.html"]
    order = [
        html.index(f'<section id="{name}"')
        for name in ("verdict", "matrix", "effects", "lora", "answers", "loss", "templates", "checks", "again")
    ]
    assert order == sorted(order)
    assert "この学習手順" in html
    assert data.comparisons["verdict"]["sentence_ja"] in page.text


def test_without_javascript_the_first_probes_can_be_read(page, data):
    assert data.probes[0].instruction in page.text
    assert "AAAA" in page.text


def test_a_run_that_has_only_scores_still_makes_a_report(data):
    none = dict.fromkeys(("template_matters", "lora_needed"), "NOT_ASSESSABLE") | {"template_pair": None}
    verdict = data.comparisons["verdict"] | none | {"lora_template": None}
    bare = replace(
        data, probes=[], answers=[], templates={}, steps={}, evaluations={}, findings=[], gates=[], costs=[], counts={},
        comparisons={**data.comparisons, "comparisons": [], "verdict": verdict, "warnings": []},
    )  # fmt: skip
    found = pages(bare)
    Page(found["index.html"])
    assert set(found) == {"index.html", "report.md", "report.zenn.md", "card_en.svg", "card_ja.svg"}


def test_plots_are_wellformed_svg_with_text_as_text(made):
    for name in ("plots/forest.svg", "plots/loss.svg", "plots/held_out.svg"):
        root = ElementTree.fromstring(made[name])
        texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
        assert any("alpaca" in (text or "") for text in texts)


def test_the_markdown_has_whole_tables_and_no_html_but_folds(made):
    rendered = MarkdownIt("commonmark").enable("table").render(made["report.md"])
    ours = "details summary h1 h2 p strong em code pre table thead tbody tr th td ul li img"
    assert set(re.findall(r"</?([a-z0-9]+)", rendered)) <= set(ours.split())
    assert rendered.count("<details>") == rendered.count("</details>")
    assert "document.title=" in rendered, "the hostile answers are shown"
    assert len(HOSTILE[7]) > 10_000 > max(map(len, made["report.md"].splitlines()))
    rows = [line for line in rendered.splitlines() if line.startswith("<p>|")]
    assert rows == [], "a table that did not parse"


def test_the_markdown_is_english_first_and_zenns_twin_japanese_first_and_folded_as_zenn_does(made):
    english, japanese = "Does the template matter?", "テンプレートは結果に影響するか？"
    text, zenn = made["report.md"], made["report.zenn.md"]
    assert text.index(english) < text.index("# 日本語") < text.index(japanese)
    assert zenn.index(japanese) < zenn.index("# English") < zenn.index(english)
    assert all(f"](plots/{name}.svg)" in text for name in ("forest", "loss", "held_out"))
    assert all(f"](plots/{name}.png)" in zenn for name in ("forest", "loss", "held_out"))
    assert ".svg)" not in zenn
    folds = [line for line in zenn.splitlines() if line.startswith("::::::details ")]
    assert "\n<details>" not in zenn
    assert len(folds) == zenn.splitlines().count("::::::") == text.splitlines().count("<details>")


def test_everything_that_is_shown_by_a_name_of_its_own_has_words():
    open_ = ("INCONCLUSIVE", "NOT_ASSESSABLE", "SMALL")
    documented = (Path(__file__).parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")
    gates = re.findall(r"^\| `(\w+)` \|", documented.partition("| gate |")[2], re.M)
    assert "live_adapter" in gates
    metrics = (*SHELF.values(), Judge)
    shown = {
        "template_matters": {"MATTERS", "EQUIVALENT", *open_},
        "lora_needed": {"YES", "NO", "HARMED", *open_},
        "rule": RULES,
        "gate": gates,
        "metric": [metric.name for metric in metrics],
        "unit": [metric.unit for metric in metrics],
    }
    assert {f"{kind}.{name}" for kind, names in shown.items() for name in names} | set(SCRIPT_WORDS) <= set(words())


def test_rows_left_out_are_counted_with_where_they_are(page):
    assert "3 (a.jsonl:4)" in page.text
    assert "{'rows'" not in page.text


def test_ratings_are_told_where_there_are_any(data, made):
    found = pages(replace(data, ratings=RATINGS))
    rated = Page(found["index.html"])
    assert 'id="ratings"' in found["index.html"]
    assert 'id="ratings"' not in made["index.html"]
    links = [a["href"][1:] for a in rated.named("a") if a["href"].startswith("#show=rated")]
    assert links == ["show=rated;alpaca@alpaca;native@native", "show=rated;base@native;native@native"]
    assert set(links) <= set(rated.ids)
    for text in (rated.text, found["report.md"], found["report.zenn.md"]):
        assert all(told in text for told in ("47.6%", "−0.05", "+1.200", "[−2.000, −0.300]"))


def test_a_score_of_all_samples_or_of_a_held_out_text_is_beside_no_single_answer(data):
    single = context(data, words())["packed"].metrics
    assert single == ["contains", "finish", "leakage", "length"]
    together = replace(data, metrics=METRICS | {"contains": SHELF["distinct"]})
    assert context(together, words())["packed"].metrics == ["finish", "leakage", "length"]
