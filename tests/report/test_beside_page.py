"""Two runs on one page keep their own numbers, lie on one axis, and what differs is told."""

import base64
import hashlib
import re
from dataclasses import replace
from html import unescape

import grid_run
import pytest
from synthetic_run import HOSTILE_NAME, hostile, run
from test_pages import Page

from iikata.report.beside import RunSide, beside, differing, flat, questions
from iikata.report.bilingual import words
from iikata.report.context import context
from iikata.report.effects import QUESTIONS
from iikata.report.figures import difference, value
from iikata.report.pages import pages

SETTINGS = {"name": "one", "train": {"seeds": [0, 1], "epochs": 2}, "data": {"train": ["/here/rows.jsonl"]}, "vary": {}}


def shown(first, second):
    return beside(RunSide(first, "one", "index.html"), RunSide(second, "two", "../../two/report/index.html"))


@pytest.fixture(scope="module")
def data():
    return replace(
        run(probes=4), settings=SETTINGS, signature={"data": {"validation": "aa"}, "software": {"torch": "2"}}
    )


@pytest.fixture(scope="module")
def other(data):
    more = {"train": {"seeds": [0, 1], "epochs": 3}, "data": {"train": ["/there/rows.jsonl"]}}
    return replace(
        data,
        settings=SETTINGS | more,
        signature={"data": {"validation": "bb"}, "software": {"torch": "2"}, "probes": {"p": "1", "q": "2"}},
    )


@pytest.fixture(scope="module")
def html(data):
    return shown(data, grid_run.run())


def sides(*runs):
    return [context(replace(one, answers=()), words()) for one in runs]


def test_both_runs_lie_on_one_axis_question_by_question(data):
    for question, (first, second) in questions(sides(data, grid_run.run()), common=True):
        assert first.ticks == second.ticks, question
        (at0, low), *_, (at1, high) = first.ticks
        for effect in (*first.effects, *second.effects):
            wanted = at0 + (at1 - at0) * (effect.record["difference"] - low) / (high - low)
            assert effect.at == pytest.approx(wanted, abs=0.02)
            assert at0 <= effect.interval[0] <= effect.interval[1] <= at1


def test_where_metrics_differ_each_run_has_its_own_axis_and_that_is_told(data):
    found = questions(sides(data, grid_run.run()), common=False)
    assert any(first.ticks != second.ticks for _, (first, second) in found)
    settings = {**data.comparisons["settings"], "primary": "contains"}
    page = shown(data, replace(data, comparisons={**data.comparisons, "settings": settings}))
    assert "nll | contains" in page
    assert "nll | contains" not in shown(data, data)


def test_a_run_keeps_its_own_verdict_means_and_differences(html, data):
    text = Page(html).text
    for one in (data, grid_run.run()):
        verdict = one.comparisons["verdict"]
        assert verdict["advice_en"] in text
        assert verdict["advice_ja"] in text
        assert all(line in text for line in verdict["short_en"].split("\n"))
        primary = one.comparisons["settings"]["primary"]
        effects = [c for c in one.comparisons["comparisons"] if c["metric"] == primary and c["question"] in QUESTIONS]
        assert effects
        assert all(difference(c["difference"], one.metrics[primary]) in text for c in effects)
        assert all(value(e.mean, one.metrics[primary]) in text for e in sides(one)[0]["matrices"][0].entries.values())


def test_same_and_other_factors_are_told(html, data):
    same, different = words()["beside.same_factor"][0], words()["beside.other_factor"][0]
    assert same in html
    assert different not in html
    page = shown(data, grid_run.run(others="average", factor=grid_run.LR))
    assert different in page
    assert "template | train.learning_rate" in page
    assert words()["asked.matched.factor"][0] in page


def test_what_differs_is_told_once_and_what_does_not_is_counted(data, other):
    page = unescape(shown(data, other))
    rows = re.findall(
        r'<tr><th scope="row"><code>(.*?)</code></th><td><code>(.*?)</code></td><td><code>(.*?)</code>', page
    )
    assert rows[:2] == [("train.epochs", "2", "3"), ("data.validation", "aa", "bb")], "a path is no setting"
    assert [name for name, *_ in rows[2:]] == ["probes"], "all of them in one row"
    assert re.search(r'2 <span lang="en">other settings are the same', page), "seeds and data.train"
    assert words()["beside.other_rows"][0] in page
    assert words()["beside.same_rows"][0] in shown(data, data)
    assert words()["beside.nothing"][0] in shown(data, data)


def test_settings_are_flat_and_what_is_not_set_is_left_out():
    given = {"a": {"b": None, "c": [1, "x"]}, "d": "/way/to/file.json", "e": [], "f": [{"g": 1}], "h": False}
    assert dict(flat(given)) == {"a.c": "1, x", "d": "file.json", "f": '[{"g": 1}]', "h": "false"}
    assert differing({"a": "1", "b": "2"}, {"b": "3", "c": "4"}) == [
        ("a", ("1", "–")), ("b", ("2", "3")), ("c", ("–", "4")),
    ]  # fmt: skip


def test_every_number_leads_to_the_report_of_its_own_run(html, data):
    ids = {"index.html": set(Page(pages(data)["index.html"]).ids)}
    ids["../../two/report/index.html"] = set(Page(pages(grid_run.run())["index.html"]).ids)
    links = [a["href"].split("#") for a in Page(html).named("a") if "#show=" in a["href"]]
    assert {home for home, _ in links} == set(ids)
    assert all(target in ids[home] for home, target in links)


def test_hostile_text_is_inert_and_only_our_script_runs(data):
    page = Page(shown(hostile(), replace(hostile(), name=HOSTILE_NAME, settings={HOSTILE_NAME: HOSTILE_NAME})))
    assert not page.named("img", "textarea")
    [policy] = [m["content"] for m in page.named("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    [script] = page.scripts
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert all(a.get("src") is None for _, a in page.tags)
