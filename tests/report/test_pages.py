"""The page is whole, still and bilingual, whatever a model has answered."""

import base64
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from synthetic_run import HOSTILE, METRICS, RATINGS, run

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
        self.tags, self.ids, self.scripts, self.open, self.text = [], [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]
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
            self.text.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def material():
    return run()


@pytest.fixture(scope="module")
def made(material):
    return pages(material)


@pytest.fixture(scope="module")
def page(made):
    return Page(made["index.html"])


def test_write_leaves_the_files_and_nothing_half_done(material, tmp_path):
    paths = write(material, tmp_path)
    assert [str(p.relative_to(tmp_path)) for p in paths] == [
        "index.html",
        "report.md",
        "report.zenn.md",
        "plots/forest.svg",
        "plots/loss.svg",
    ]
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(paths)


def test_the_same_run_makes_the_same_bytes_in_any_process(material, made):
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


def test_data_blocks_hold_base64_only(page):
    assert all(re.fullmatch(r"[A-Za-z0-9+/=\n]+", data) for data in page.scripts[:-1])


def test_hostile_text_is_shown_and_makes_no_element(page):
    assert not [a for _, attributes in page.tags for a in attributes if a.startswith("on")]
    assert not page.named("img") + page.named("textarea") + page.named("iframe")
    shown = "".join(page.text)
    assert "<script>document.title='owned'</script>" in shown
    assert "{{ 7 * 7 }} {% raw %}" in shown
    assert not re.search("[\x00-\x08\u202a-\u202e\u200b]", shown)


def test_the_script_puts_text_into_the_page_as_text_only(page):
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", page.scripts[-1]
    )


def test_hostile_names_are_inert_everywhere(material):
    bad = '"><script>alert(1)</script>|`'
    probes = [replace(material.probes[0], id=bad, instruction=bad, cluster=bad), *material.probes[1:]]
    answers = [replace(a, probe=bad) if a.probe == "p00" else a for a in material.answers]
    cards = {**material.templates, "alpaca": replace(material.templates["alpaca"], text=bad, painted=[(bad, True)])}
    found = pages(replace(material, name=bad, probes=probes, answers=answers, templates=cards, command=bad))
    assert len(Page(found["index.html"]).named("script")) == 3
    assert "<script" not in MarkdownIt("commonmark").enable("table").render(found["report.md"])


def test_every_number_of_matrix_and_effects_leads_to_answers_and_shows_its_signature(page, material):
    links = [a for a in page.named("a") if a["href"].startswith("#show=")]
    cells = 12 * len(METRICS)
    verdicts = 2
    assert len(links) == verdicts + cells + len(material.comparisons["comparisons"])
    for link in links:
        assert link["href"][1:] in page.ids
        metric = unquote(link["href"]).removeprefix("#show=").split(";")[0]
        assert METRICS[metric].signature in link["title"]


def test_ids_are_unique(page):
    assert len(page.ids) == len(set(page.ids))


def test_every_word_is_there_in_both_languages():
    for key, pair in words().items():
        assert len(pair) == 2, key
        assert all(text.strip() for text in pair), key
    assert set(SCRIPT_WORDS) <= set(words())


def test_every_shown_word_comes_in_a_pair(page):
    languages = [a["lang"] for tag, a in page.tags if "lang" in a and tag == "span"]
    assert len(languages) > 100
    assert languages == ["en", "ja"] * (len(languages) // 2)


def test_the_verdict_comes_first_and_in_both_languages(made, material):
    html = made["index.html"]
    order = [
        html.index(f'<section id="{name}"')
        for name in ("verdict", "matrix", "effects", "lora", "answers", "loss", "templates", "checks", "again")
    ]
    assert order == sorted(order)
    assert "この学習手順" in html
    assert material.comparisons["verdict"]["sentence_ja"] in html


@pytest.mark.parametrize("template", ["MATTERS", "SMALL", "EQUIVALENT", "INCONCLUSIVE", "NOT_ASSESSABLE"])
@pytest.mark.parametrize("lora", ["YES", "SMALL", "NO", "HARMED", "INCONCLUSIVE", "NOT_ASSESSABLE"])
def test_every_verdict_has_words(template, lora):
    assert f"template_matters.{template}" in words()
    assert f"lora_needed.{lora}" in words()


def test_without_javascript_the_first_probes_can_be_read(page, material):
    shown = "".join(page.text)
    assert material.probes[0].instruction in shown
    assert "AAAA" in shown


def test_a_run_that_has_only_scores_still_makes_a_report(material):
    empty = {
        "template_pair": None,
        "lora_template": None,
        "template_matters": "NOT_ASSESSABLE",
        "lora_needed": "NOT_ASSESSABLE",
    }
    verdict = material.comparisons["verdict"] | empty
    bare = replace(
        material, probes=[], answers=[], templates={}, steps={}, findings=[], gates=[], costs=[], counts={},
        comparisons={**material.comparisons, "comparisons": [], "verdict": verdict, "warnings": []},
    )  # fmt: skip
    found = pages(bare)
    Page(found["index.html"])
    assert set(found) == {"index.html", "report.md", "report.zenn.md"}


def test_plots_are_wellformed_svg_with_text_as_text(made):
    for name in ("plots/forest.svg", "plots/loss.svg"):
        root = ElementTree.fromstring(made[name])
        texts = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
        assert any("alpaca" in (text or "") for text in texts)


def test_the_markdown_twin_is_english_first_and_then_japanese(made):
    text = made["report.md"]
    assert (
        text.index("Does the template matter?")
        < text.index("# 日本語")
        < text.index("テンプレートは結果に影響するか？")
    )
    assert "](plots/forest.svg)" in text
    assert "](plots/loss.svg)" in text


def test_the_markdown_has_whole_tables_and_no_html_but_folds(made):
    rendered = MarkdownIt("commonmark").enable("table").render(made["report.md"])
    ours = "details summary h1 h2 p strong em code pre table thead tbody tr th td ul li img"
    assert set(re.findall(r"</?([a-z0-9]+)", rendered)) <= set(ours.split())
    assert rendered.count("<details>") == rendered.count("</details>")
    assert "document.title=" in rendered, "the hostile answers are shown"
    assert len(HOSTILE[7]) > 10_000 > max(map(len, made["report.md"].splitlines()))
    rows = [line for line in rendered.splitlines() if line.startswith("<p>|")]
    assert rows == [], "a table that did not parse"


def test_the_twin_for_zenn_folds_as_zenn_does_and_begins_in_japanese(made):
    text = made["report.zenn.md"]
    assert "\n<details>" not in text
    opened = [line for line in text.splitlines() if line.startswith("::::::details ")]
    assert len(opened) == text.splitlines().count("::::::") == made["report.md"].splitlines().count("<details>")
    assert (
        text.index("テンプレートは結果に影響するか？")
        < text.index("# English")
        < text.index("Does the template matter?")
    )
    assert "回答を並べて読む" in text


def test_every_rule_of_the_doctor_and_every_gate_after_training_has_a_name_in_both_languages():
    assert {f"rule.{name}" for name in RULES} <= set(words())
    documented = (Path(__file__).parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")
    gates = re.findall(r"^\| `(\w+)` \|", documented.partition("| gate |")[2], re.M)
    assert "live_adapter" in gates
    assert {f"gate.{name}" for name in gates} <= set(words())


def test_rows_left_out_are_counted_with_where_they_stand(page):
    shown = "".join(page.text)
    assert "3 (a.jsonl:4)" in shown
    assert "{'rows'" not in shown


def test_every_metric_and_unit_has_a_name_in_both_languages():
    for metric in (*SHELF.values(), Judge):
        assert f"metric.{metric.name}" in words()
        assert f"unit.{metric.unit}" in words()


def test_ratings_are_told_where_there_are_any(material, made):
    found = pages(replace(material, ratings=RATINGS))
    rated = Page(found["index.html"])
    assert 'id="ratings"' in found["index.html"]
    assert 'id="ratings"' not in made["index.html"]
    links = [a["href"][1:] for a in rated.named("a") if a["href"].startswith("#show=rated")]
    assert links == ["show=rated;alpaca@alpaca;native@native", "show=rated;base@native;native@native"]
    assert set(links) <= set(rated.ids)
    for text in ("".join(rated.text), found["report.md"], found["report.zenn.md"]):
        assert all(told in text for told in ("47.6%", "−0.05", "+1.200", "[−2.000, −0.300]"))


def test_a_score_of_all_samples_or_of_a_held_out_text_stands_beside_no_single_answer(material):
    single = context(material, words())["packed"].metrics
    assert single == ["contains", "finish", "leakage", "length"]
    distinct = SimpleNamespace(**vars(METRICS["contains"]), score_group=None)
    together = replace(material, metrics=METRICS | {"contains": distinct})
    assert context(together, words())["packed"].metrics == ["finish", "leakage", "length"]
