"""The report as its reader meets it: in Chromium, opened from a file."""

from dataclasses import replace

import grid_run
import pytest
from screens import DESK, PHONE, faults_of_access
from synthetic_run import HOSTILE, HOSTILE_NAME, RATINGS, hostile, run

from iikata.core.records import Before
from iikata.report import write
from iikata.report.beside import RunSide, beside

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return write(replace(run(probes=12), ratings=RATINGS), tmp_path_factory.mktemp("report"))[0].as_uri()


def read(page, address):
    page.own = (address.split("#")[0].split("?")[0], "data:")
    page.goto(address)
    page.locator(".status", has_text=" / ").wait_for()
    return page


@pytest.fixture
def page(reader, address):
    """The report, opened."""
    return read(reader, address)


def shown(page):
    """Return the ids of the probes in the list."""
    return [text.partition("Cluster")[0].strip() for text in page.locator(".probes article h3").all_text_contents()]


def settled(page, act):
    """Do `act` and wait until the list has been filled again."""
    page.evaluate("document.querySelector('.status').textContent = ''")
    act()
    page.locator(".status", has_text=" / ").wait_for()


def chosen(page):
    return {box.get_attribute("aria-label") for box in page.locator(".picker input:checked").all()}


def test_the_page_opens_on_the_verdict_and_makes_no_request(page):
    assert page.locator("#verdict .short dd").first.is_visible()
    assert shown(page)[:2] == ["p00", "p01"]


def test_a_number_of_the_matrix_leads_to_its_answers(page):
    link = page.locator("figure.matrix").nth(1).locator("tbody tr").nth(3).locator("td a").first
    settled(page, link.click)
    assert chosen(page) == {"rinna@alpaca"}
    assert page.locator("[name=metric]").input_value() == "contains"
    assert "contains|norm:nfkc+lower|v:1" in page.locator(".followed").inner_text()
    assert "contains" in page.locator(".probes li small").first.text_content()
    assert page.evaluate("document.activeElement.closest('section').id") == "answers"
    page.locator(".followed a").click()
    assert page.evaluate("document.activeElement.hash").startswith("#show=contains;rinna@alpaca")


def test_a_number_of_the_forest_leads_to_both_cells_and_the_second_is_the_control(page):
    settled(page, page.locator("#effects .forest tbody tr").first.locator("td.number a").click)
    assert chosen(page) == {"alpaca@alpaca", "rinna@rinna"}
    assert page.locator("[name=control] option:checked").text_content() == "rinna@rinna"
    assert "held-out texts" in page.locator(".followed").inner_text(), "nll is not measured on these answers"
    assert "rinna" in page.locator(".probe .tag").first.locator("xpath=..").text_content()


def test_every_number_leads_somewhere(page):
    lost = page.evaluate(
        "[...document.querySelectorAll('a[href^=\"#\"]')].filter((a) => !document.getElementById(a.hash.slice(1))"
        " && !document.getElementById(decodeURIComponent(a.hash.slice(1)))).map((a) => a.hash)"
    )
    assert lost == []


def test_search_finds_questions_and_answers(page):
    for words, found in (("色の三原色", {"p01", "p07"}), ("THURSDAY (DAY)", {"p03", "p09"}), ("nobody said", set())):
        settled(page, lambda words=words: page.locator("[name=search]").fill(words))
        assert set(shown(page)) == found


def test_a_cluster_a_seed_and_a_difference_can_be_asked_for(page):
    settled(page, lambda: page.locator("[name=cluster]").select_option("c02"))
    assert shown(page) == ["p04", "p05"]
    everything = page.locator(".cells h4 small").last.text_content()
    settled(page, lambda: page.locator("[name=seed]").select_option("1"))
    assert page.locator(".cells h4 small").last.text_content() != everything
    settled(page, lambda: page.locator("[name=cluster]").select_option(""))
    settled(page, lambda: page.locator("[name=metric]").select_option("finish"))
    settled(page, lambda: page.locator("[name=differ]").check())
    assert 0 < int(page.locator(".status").inner_text().split(" ")[0].split("–")[-1]) < 12


def test_the_list_goes_on_and_back_a_page_at_a_time(page):
    previous, following = (page.locator(f".more [name={name}]") for name in ("previous", "next"))
    assert (len(shown(page)), page.locator(".status").inner_text()) == (8, "1–8 / 12 probes shown")
    assert previous.is_disabled()
    settled(page, following.click)
    assert shown(page) == ["p08", "p09", "p10", "p11"], "what was shown before is gone"
    assert page.locator(".status").inner_text() == "9–12 / 12 probes shown · That is all."
    assert page.evaluate("document.activeElement.className").startswith("status")
    assert following.is_disabled()
    settled(page, previous.click)
    assert shown(page) == [f"p{i:02d}" for i in range(8)]
    settled(page, following.click)
    settled(page, lambda: page.locator("[name=cluster]").select_option("c02"))
    assert shown(page) == ["p04", "p05"], "a filter begins at the first page"
    assert not page.locator(".more").is_visible()


def test_what_differs_from_the_control_is_underlined_and_can_be_left_plain(page, address):
    settled(page, lambda: page.goto(f"{address}#show=contains;alpaca@alpaca;native@native"))
    settled(page, lambda: page.locator("[name=search]").fill("p01"))
    control = page.locator(".cells section", has=page.locator(".tag"))
    other = page.locator(".cells section").filter(has_not=page.locator(".tag"))
    assert control.locator("ins").count() == 0
    assert other.locator("li:not(.same) ins").count() > 0
    assert other.locator("li.same").count() > 0
    assert other.locator("li.same ins").count() == 0
    settled(page, lambda: page.locator("[name=marks]").uncheck())
    assert page.locator(".probes ins").count() == 0


def test_words_and_japanese_characters_are_compared_one_by_one(page):
    for control, text, new in (
        ("The sky is blue today", "The sea is blue", ["sea"]),
        ("富士山は高い山です", "富士山は低い山です", ["低"]),
        ("富士山（山）", "富士山（山）だ", ["だ"]),
        ("red, green", "red, dark blue, green", ["dark blue,"]),
        ("Rome (city)", "Rome (city)", []),
        ("", "Rome", ["Rome"]),
        ("Rome", "", []),
        ("word " * 4000, "other " * 3000, ["other " * 2999 + "other"]),  # too long to compare piece by piece
    ):
        marks = page.evaluate("([text, control]) => [...differing(text, control)]", [text, control])
        marked = "".join(c if mark else "\0" for c, mark in zip(text, marks, strict=True))
        assert [stretch for stretch in marked.split("\0") if stretch] == new


def test_the_language_is_switched_and_remembered(page, address):
    page.locator(".switch label", has_text="日本語").click()
    assert page.locator("html").get_attribute("lang") == "ja"
    for query, title in (("", "効果"), ("?lang=en", "Effects")):
        read(page, address + query)
        assert page.locator("#effects h2").inner_text() == title


def test_hostile_answers_are_shown_and_never_run(page):
    title = page.title()
    settled(page, page.locator(".picker button[name=all]").click)
    page.evaluate("document.querySelectorAll('.cells button').forEach((button) => button.click())")
    text = page.locator(".probes").text_content()
    for words in ("<script>document.title='owned'</script>", "onerror=", "</textarea></script>", "{{ 7 * 7 }}"):
        assert words in text
    assert all(f"⟨U+{code}⟩" in text for code in ("202E", "200B", "0007", "001B", "0000", "FEFF"))
    assert HOSTILE[7] in text
    assert "\u202e" not in text
    assert page.title() == title
    assert page.locator(".probes :is(img, script, svg, textarea, a, b:not(.tag))").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "a line of 10 kB widens nothing"
    assert "### Response:" in page.locator(".probes mark").all_text_contents(), "leaked template text is marked"
    assert page.locator(".probes .cut").count() > 0, "and so are answers that were cut off"


def test_hostile_names_are_shown_and_never_run(reader, tmp_path):
    page = read(reader, write(hostile(), tmp_path)[0].as_uri())
    page.locator(".probes").get_by_text("window.owned").first.wait_for()
    for place in ("#templates pre", "#checks", "#again pre", ".brand"):
        seen = page.locator(place).first.inner_text().replace("·", " ")
        assert HOSTILE_NAME.replace("\u202e", "⟨U+202E⟩") in seen
    assert page.locator("img, textarea").count() == 0
    settled(page, lambda: page.locator("[name=cluster]").select_option(HOSTILE_NAME))
    assert page.locator(".probes article").count() == 1


def test_everything_can_be_reached_and_used_by_keyboard(page):
    reached = set()
    for _ in range(400):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("[document.activeElement].map((e) => e.name || e.hash || e.tagName)[0]"))
        if "marks" in reached:
            break
    assert {"#matrix", "language", "search", "cluster", "seed", "metric", "control", "differ", "marks"} <= reached
    page.locator("figure.matrix td a").first.focus()
    settled(page, lambda: page.keyboard.press("Enter"))
    assert chosen(page) == {"base@alpaca"}


@pytest.mark.parametrize(("language", "screen", "scheme"), [("en", PHONE, "light"), ("ja", DESK, "dark")])
def test_axe_finds_nothing_serious(seen_as, address, language, screen, scheme):
    page = read(seen_as(language, screen, scheme), f"{address}#show=contains;alpaca@alpaca;native@native")
    assert page.locator("html").get_attribute("lang") == language
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert faults_of_access(page) == {}


def test_print_opens_every_fold_and_hides_the_tools(page):
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert not page.locator(".tools").is_visible()
    assert page.locator("#verdict .says").first.is_visible()
    assert page.pdf()[:5] == b"%PDF-"


@pytest.fixture(scope="module")
def of_factors(tmp_path_factory):
    return write(grid_run.run(), tmp_path_factory.mktemp("factors"))[0].as_uri()


def test_of_many_variants_the_verdict_s_are_shown_first_and_all_can_be_chosen(reader, of_factors):
    page = read(reader, of_factors)
    assert chosen(page) == {"alpaca+lr3e-3@alpaca", "native+lr3e-3@native", "base@alpaca"}
    heads = page.locator(".probes article").first.locator(".cells h4").all_text_contents()
    assert [head.split()[0] for head in heads] == ["base@alpaca", "alpaca+lr3e-3", "native+lr3e-3"]
    settled(page, page.locator(".picker [name=matched]").click)
    assert len(chosen(page)) == 8 + 2


def test_a_point_of_the_profile_leads_to_its_answers_and_a_word_to_its_meaning(reader, of_factors):
    page = read(reader, of_factors)
    settled(page, page.locator("#settings .profile td a").nth(3).click)
    assert chosen(page) == {"native+lr3e-4@native"}
    page.locator("#verdict .short .term:visible").first.click()
    assert page.evaluate("document.querySelector('.glossary :target').id") == page.evaluate("location.hash.slice(1)")


@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("screen", [PHONE, DESK], ids=["phone", "desk"])
def test_a_report_of_factors_can_be_read_by_everyone_and_fits_the_screen(seen_as, of_factors, language, screen):
    page = seen_as(language, screen, "light")
    page.goto(f"{of_factors}?lang={language}")
    page.locator(".status", has_text=" / ").wait_for()
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert faults_of_access(page) == {}


@pytest.mark.parametrize(("language", "screen"), [("en", PHONE), ("ja", PHONE), ("ja", DESK)])
def test_two_runs_side_by_side_can_be_read_by_everyone_and_fit_the_screen(seen_as, tmp_path, language, screen):
    path = tmp_path / "beside.html"
    path.write_text(beside(RunSide(run(probes=4), "one", "a.html"), RunSide(grid_run.run(), "two", "b.html")), "utf-8")
    page = seen_as(language, screen, "dark")
    page.goto(f"{path.as_uri()}?lang={language}")
    assert page.locator("#differs h2").inner_text() == {"en": "What differs", "ja": "違い"}[language]
    left, right = (one.bounding_box() for one in page.locator("#verdict article").all())
    assert (left["y"] == right["y"]) == (screen is DESK)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert faults_of_access(page) == {}


def test_a_report_without_answers_opens_in_silence(reader, tmp_path):
    address = write(replace(grid_run.run(), probes=[], answers=[]), tmp_path)[0].as_uri()
    reader.own = (address, "data:")
    reader.goto(address)
    reader.wait_for_function("document.documentElement.lang === 'en'")
    reader.wait_for_timeout(300)
    assert reader.locator(".tools").is_hidden()


def test_a_conversation_is_read_and_found_message_by_message(seen_as, tmp_path):
    data = grid_run.run()
    before = Before("Be short.", (("Which is\nnumber 8?", "It is 8."),))
    talk = replace(data.probes[0], before=before)
    address = write(replace(data, probes=[talk, *data.probes[1:]]), tmp_path)[0].as_uri()
    page = read(seen_as("ja", DESK, "light"), f"{address}?lang=ja")
    first = page.locator(".probes article").first
    assert first.locator(".before dd").all_inner_texts() == ["Be short.", "Which is\nnumber 8?", "It is 8."]
    assert first.locator(".before dt").all_inner_texts() == ["システム", "ユーザー", "アシスタント"]
    assert page.locator(".probes article").nth(1).locator(".before").count() == 0
    settled(page, lambda: page.locator("[name=search]").fill("number 8"))
    assert shown(page) == ["p00", "p08"]
    assert faults_of_access(page) == {}
