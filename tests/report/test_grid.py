"""A report of factors: profile, choosing table, groups, a probe before and after, words that lead to a glossary."""

import re
from dataclasses import asdict, replace
from urllib.parse import unquote

import pytest
from grid_run import PROBES, RATES, VARIANTS, run
from markdown_it import MarkdownIt
from synthetic_run import METRICS, comparison
from test_pages import Page

from iikata.core.records import Before, Variant
from iikata.report.bilingual import words
from iikata.report.context import context
from iikata.report.effects import groups
from iikata.report.glossary import explained, glossary
from iikata.report.pages import pages
from iikata.report.profile import EDGE, WIDTH, profile
from iikata.report.variants import Variants
from iikata.stats import compare

LR = "train.learning_rate"


@pytest.fixture(scope="module")
def data():
    return run(export="iikata export runs/grid alpaca+lr3e-3.s2 alpaca+lr3e-3.s2")


@pytest.fixture(scope="module")
def made(data):
    return pages(data)


@pytest.fixture(scope="module")
def shown(data):
    return context(data, words())


def test_the_profile_s_points_lie_at_the_logarithm_of_their_rate_and_lower_is_lower(shown):
    (found,) = shown["profiles"]
    assert [level for _, level in found.levels] == list(RATES)
    first, *between, last = [x for x, _ in found.levels]
    assert (first, last) == (EDGE, WIDTH - EDGE)
    assert between[0] - first == pytest.approx((last - first) * 0.4771 / 1.4771, abs=0.1)
    for curve in found.curves:
        heights = [point.y for point in curve.points]
        assert heights == sorted(heights), "a lower loss is drawn lower: y grows downward"
        assert all(point.interval[0] < point.y < point.interval[1] for point in curve.points)
    assert [curve.name for curve in found.curves] == ["alpaca", "native"]
    assert len({curve.colour for curve in found.curves}) == 2


def test_a_factor_that_is_nought_somewhere_has_a_linear_axis(data):
    record = {
        "factor": "train.lora.dropout", "metric": "nll", "level": 0.95, "n_seeds": 3, "n_clusters": 20,
        "curves": [{"levels": {}, "points": [
            {"level": level, "value": float(level), "variant": f"a{level}", "prompted_with": "a", "mean": 1.0,
             "interval": None} for level in ("0", "0.05", "0.2")]}],
    }  # fmt: skip
    found = profile(record, Variants())
    assert [x for x, _ in found.levels] == [EDGE, EDGE + (WIDTH - 2 * EDGE) / 4, WIDTH - EDGE]


def test_the_page_s_tables_hold_every_point_and_every_link_leads_to_answers(made, data, shown):
    page = Page(made["index.html"])
    links = [a["href"][1:] for a in page.named("a") if a["href"].startswith("#")]
    assert set(links) <= {*page.ids, *(unquote(one) for one in page.ids)}
    assert len(page.ids) == len(set(page.ids))
    targets = [point.target for one in shown["profiles"] for curve in one.curves for point in curve.points]
    assert len(targets) == len(VARIANTS)
    assert set(targets) <= set(links)
    rendered = MarkdownIt("commonmark").enable("table").render(made["report.md"])
    assert [line for line in rendered.splitlines() if line.startswith("<p>|")] == []
    for rate in RATES:
        assert re.search(rf"^\| `{rate}` \| [\d.]+ \[[\d.]+, [\d.]+\] \|", made["report.md"], re.M)


def test_the_choosing_table_shows_what_was_chosen_at_the_edge_of_the_grid(shown, made):
    table = shown["choosing"]
    assert [label for label, _ in table.rows] == list(RATES)
    chosen = {
        (label, level)
        for label, means in table.rows
        for level, (_, best) in zip(table.levels, means, strict=True)
        if best
    }
    assert chosen == {("3e-3", "alpaca"), ("3e-3", "native")}
    assert table.edges == ["alpaca+lr3e-3", "native+lr3e-3"]
    assert words()["choosing.edge"][0] in made["report.md"]
    assert context(run("average"), words())["choosing"] is None


def test_many_effects_stand_under_what_they_share_and_few_under_nothing(data):
    found = context(run("each"), words())["forests"]["nll"]
    heads = {group.question: [effect.head for effect in group.effects] for group in found}
    assert heads["matched"] == [""] * len(RATES), "few"
    assert heads["mismatch"] == ["alpaca"] * 4 + ["native"] * 4
    rates = {"alpaca": RATES, "native": RATES, "third": RATES}
    many = {f"{t}{r}": Variant(f"{t}{r}", (t,), ((LR, r),)) for t, of in rates.items() for r in of}
    asked = [
        comparison(
            "matched", (f"alpaca{r}", "alpaca"), (f"{t}{r}", t), "nll", 0.1, 0.1, "MATTERS", detail={"others": {LR: r}}
        )
        for t in ("native", "third")
        for r in RATES
    ]
    apart = [{**one, "detail": {"others": {LR: str(i)}}} for i, one in enumerate(asked)]
    (group,) = groups(apart, "nll", None, Variants(many))
    assert {effect.head for effect in group.effects} == {""}, "a head for each row would say nothing"
    (group,) = groups(asked, "nll", None, Variants(many))
    assert [effect.head for effect in group.effects] == [f"learning_rate {r}" for r in RATES for _ in range(2)]


def test_rows_of_a_matrix_are_sorted_under_the_factor_s_levels_whichever_it_is():
    by_rate = Variants(VARIANTS, LR)
    rows = [(head, span, label) for _, head, span, label in by_rate.headed(by_rate.sorted([None, *VARIANTS]))]
    assert rows[:3] == [(None, 0, ""), ("1e-4", 2, "alpaca"), (None, 2, "native")]
    assert [head for head, _, _ in rows if head] == list(RATES)
    plain = Variants({}, "template")
    assert [(head, label) for _, head, _, label in plain.headed(["alpaca", "native"])] == [
        (None, "alpaca"),
        (None, "native"),
    ]


def test_a_cell_is_called_by_its_variant_where_that_tells_how_it_was_prompted():
    known = Variants({**VARIANTS, "mixed": Variant("mixed", ("alpaca", "native"))})
    assert known.side(("alpaca+lr1e-4", "alpaca")) == "alpaca+lr1e-4"
    assert known.side(("alpaca+lr1e-4", "native")) == "alpaca+lr1e-4@native"
    assert known.side(("mixed", "native")) == "mixed@native"
    assert known.side((None, "native")) == "base@native"
    assert Variants().side(("a", "a")) == "a"


def test_an_average_leads_to_the_answers_of_all_that_it_is_an_average_of():
    known = Variants(VARIANTS, LR)
    assert known.cells(("1e-4", "alpaca|native")) == [("alpaca+lr1e-4", "alpaca"), ("native+lr1e-4", "native")]
    assert known.cells(("1e-4", "native")) == [("alpaca+lr1e-4", "native")]
    page = Page(pages(run("average", LR))["index.html"])
    assert {a["href"][1:] for a in page.named("a") if a["href"].startswith("#show=")} <= set(page.ids)


def test_of_many_cells_those_that_the_verdict_is_about_are_shown_first(shown, data):
    assert set(shown["first_cells"]) == {("alpaca+lr3e-3", "alpaca"), ("native+lr3e-3", "native"), (None, "alpaca")}
    assert {("alpaca", "alpaca"), (None, "native")} <= set(
        Variants().first([("alpaca", "alpaca"), ("alpaca", "native"), (None, "native")], [])
    )


def test_one_probe_is_shown_untuned_and_tuned_the_first_and_not_a_picked_one(shown, made, data):
    found = shown["behaviour"]
    assert found.probe == PROBES[0]
    assert (found.untuned, found.tuned) == ((None, "alpaca"), ("alpaca+lr3e-3", "alpaca"))
    assert [answers for _, answers in found.answers] == [[(("Hm p00", True), 1)], [(("It is p00", False), 5)]]
    assert found.shares == [("finish", 0.0, 1.0)]
    moved = replace(data, probes=PROBES[::-1])
    assert context(moved, words())["behaviour"].probe == PROBES[-1]
    assert "Hm p00" in Page(made["index.html"]).text


def test_shares_are_those_of_the_two_cells_that_are_named_whatever_untuned_template_their_metric_prefers(data):
    def ends(one):
        return (
            replace(one, value=float(one.prompted_with == "native" or one.probe == "p00"))
            if not one.trained_on
            else one
        )

    found = {**data.scores, "finish": [ends(one) for one in data.scores["finish"]]}
    result = compare(
        [*found["nll"], *found["finish"]], METRICS, "nll", {"nll": 0.02}, others="best", choosing_seeds=(0, 1)
    )
    untuned = {c.metric: c.control["prompted_with"] for c in result.comparisons if c.question == "tuned_vs_best_base"}
    assert (untuned["nll"], untuned["finish"]) == ("alpaca", "native")
    plain = {**result.to_json(), "comparisons": [asdict(one) for one in result.comparisons]}
    shown = context(replace(data, scores=found, comparisons=plain), words())
    name, before, after = shown["behaviour"].shares[0]
    cells = shown["matrices"][1].entries
    assert (name, before, after) == ("finish", pytest.approx(1 / 12), 1.0)
    assert [cells[side].mean for side in (shown["behaviour"].untuned, shown["behaviour"].tuned)] == [before, after]


def test_a_conversation_is_shown_message_by_message_in_both_languages(data):
    before = Before("Be short.", (("Which is\nnumber 8?", "8"),))
    made = pages(replace(data, probes=[replace(PROBES[0], before=before), *PROBES[1:]]))
    page, (shown, in_full) = made["index.html"], made["index.html"].split('<dl class="before">')[1:3]
    for part in (shown, in_full):
        assert part.index("Be short.") < part.index("Which is\nnumber 8?") < part.index("Which is number 0?")
        assert 'System</span><span lang="ja">システム</span></dt><dd dir="auto">Be short.' in part
    assert page.count('<dl class="before">') == 2  # beside the advice and among the answers, of this probe alone
    assert "User: `Which is↵number 8?`" in made["report.md"]


def test_the_command_to_export_what_is_recommended_stands_beside_the_advice(made, data):
    assert data.comparisons["verdict"]["recommended"]["trained_on"] == "alpaca+lr3e-3"
    for text in (Page(made["index.html"]).text, made["report.md"], made["report.zenn.md"]):
        assert data.export in text
    for name, text in pages(replace(data, export=None)).items():
        assert "iikata export" not in text, name


def test_the_glossary_has_ten_words_in_both_languages_each_with_an_anchor(made):
    page = Page(made["index.html"])
    assert len(glossary()) == 10
    for one in glossary():
        assert all(len(one[part]) == 2 and all(one[part]) for part in ("word", "said", "forms"))
        assert f"word-{one['key']}" in page.ids
        assert one["said"][0] in made["report.md"]


@pytest.mark.parametrize(
    ("text", "language", "keys"),
    [
        ("Not settled: a minus b is 0.1 (−0.2 to 0.3), your margin is 0.02.", "en", ["open", "interval", "margin"]),
        (
            "Use either: your margin is 1; only 8 held-out rows and 2 seeds.",
            "en",
            ["equivalent", "margin", "probe", "arm"],
        ),
        ("Yes: my_template beats native+seed by 1.", "en", []),
        ("templates and templates", "en", ["template"]),
        ("別のテンプレートでは 0.2〜1.4 悪くなる。", "ja", ["template"]),
        ("another template costs 0.2 to 1.4 bits", "en", ["template"]),
        ("まだ決まりません。差は 0.1(−0.2〜0.3)、許容差は 0.02 です。", "ja", ["open", "interval", "margin"]),
    ],
)
def test_words_of_the_answers_lead_to_the_glossary_once_each_and_names_do_not(text, language, keys):
    found = explained(text, language)
    assert re.findall(r'href="#word-(\w+)"', found) == keys
    assert Page(f"<p>{found}</p>").text == text


def test_a_name_that_is_markup_stays_text_in_an_explained_answer():
    said = explained("<b onclick=x>margin</b> \u202e", "en")
    found = Page(f"<p>{said}</p>")
    assert [tag for tag, _ in found.tags] == ["p", "a"]
    assert found.text == "<b onclick=x>margin</b> ⟨U+202E⟩"


def test_japanese_markdown_has_full_width_punctuation_outside_code_and_bold_words_stay_bold(made):
    """In both files; what templates, rows and answers say is code, and so is a metric's name."""
    for name, in_front in (("report.md", "# 日本語"), ("report.zenn.md", "")):
        text = made[name][made[name].index(in_front) :]
        prose = re.sub(r"```.*?```|`+[^`\n]*`+", "``", text, flags=re.DOTALL)
        kana = "[ぁ-ヿ一-龠]"
        assert re.findall(rf".*{kana}(?:\*\*)? ?[(:,;].*|.*\){kana}.*", prose) == [], name
        assert "検証行の回答の損失（``）" in prose
        rendered = MarkdownIt("commonmark").enable("table").render(text)
        assert re.search(r"<strong>検証行の回答の損失（<code>nll</code>）</strong>：", rendered)
        assert "**" not in re.sub(r"<(pre|code)>.*?</\1>", "", rendered, flags=re.DOTALL)
