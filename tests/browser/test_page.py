"""The page as its user meets it: in Chromium, followed while a run goes on, asked, in two languages, on a phone."""

import pytest
from screens import DESK, PHONE, faults_of_access
from served import HOSTILE, TOKEN, StandIn, StandInQueue, answer, steps, written
from synthetic_run import run as run_of_report
from visits import Served, ask, begin, enter, press

from iikata.core.io import Appender
from iikata.core.records import Arm, Cell, plain
from iikata.report import write
from iikata.run_folder import RunFolder

pytestmark = pytest.mark.browser


@pytest.fixture
def hostile(tmp_path):
    """A run all of whose answers are hostile, and a model that says nothing else."""
    run = written(tmp_path, lambda c, p, s: f"{HOSTILE[s]}{len(c.name)}{HOSTILE[2]}")
    found = Served(run, StandInQueue(StandIn(HOSTILE, pause=0.05)))
    yield found
    found.close()


def test_a_run_is_followed_while_it_goes_on(reader, tmp_path):
    run = written(tmp_path)
    store, arm = RunFolder(run), Arm("plain", 1)
    cell = Cell(arm, "plain")
    (store.arm(arm) / "DONE").unlink()
    store.steps(arm).unlink()
    store.answers(cell).unlink()
    served = Served(run, StandInQueue(StandIn(["."])))
    try:
        enter(reader, served)
        train = reader.locator(".bars div", has_text="Train")
        assert "18 / 24" in train.inner_text()
        curves = reader.locator(".curve").count()
        with Appender(store.steps(arm)) as file:
            for step in steps(arm, 6):
                file.add(plain(step))
        with Appender(store.unfinished_answers(cell)) as file:
            file.add(plain(answer(cell, "p0", 0, "I have just come in")))
        reader.get_by_text("I have just come in").wait_for()
        assert "24 / 24" in train.inner_text()
        assert reader.locator(".curve").count() == curves + 1
        assert "Generate" in reader.get_by_role("status").inner_text()
    finally:
        served.close()


def test_the_finished_report_works_within_its_sandbox(reader, served):
    write(run_of_report(), served.run / "report")
    enter(reader, served)
    reader.locator(".switch label", has_text="日本語").click()
    reader.get_by_role("link", name="レポート").click()
    reader.locator(".status", has_text=" / ").wait_for()
    assert reader.locator("#effects h2").inner_text() == "効果"
    assert reader.evaluate("origin") == "null"


def watch(page):
    """Note in window.seen all answers' texts whenever one of them changes."""
    page.evaluate(
        """() => {
          window.seen = [];
          const texts = () => [...document.querySelectorAll('#heard .text')].map((node) => node.textContent);
          new MutationObserver(() => window.seen.push(texts()))
            .observe(document.querySelector('#heard'), {childList: true, subtree: true, characterData: true});
        }"""
    )


def test_answers_stream_side_by_side(reader, served):
    enter(reader, served, "/ask/1")
    watch(reader)
    reader.get_by_label("plain.s1").uncheck()
    ask(reader)
    assert reader.locator("#heard section").count() == 8
    assert set(reader.locator("#heard .text").all_inner_texts()) == {"Rome."}
    seen = reader.evaluate("window.seen")
    assert any(texts and all(text == "Ro" for text in texts) for texts in seen), "all have begun before any goes on"
    assert any(texts and all(text == "Rome" for text in texts) for texts in seen)
    assert reader.locator("#heard h3").first.inner_text() == "alpaca_short.s0@alpaca_short"


def test_a_question_can_be_stopped_and_leaving_the_page_stops_it_too(reader, served):
    served.queue.model = StandIn(["word "] * 500, pause=0.02)
    enter(reader, served, "/ask/1")
    for leave in (lambda: reader.get_by_role("button", name="Stop").click(), lambda: reader.goto(served.address)):
        reader.get_by_label("Instruction").fill("Why?")
        reader.get_by_role("button", name="Ask", exact=True).click()
        reader.locator("#heard .text", has_text="word").first.wait_for()
        leave()
        question = served.queue.asked[-1]
        for _ in range(100):
            if question.ended:
                break
            reader.wait_for_timeout(20)
        assert question.ended
    assert len(served.queue.asked) == 2


def test_hostile_answers_are_shown_and_never_run(reader, hostile):
    enter(reader, hostile)
    shown = reader.locator(".newest").inner_text()
    assert "<script>window.owned = 1" in shown
    assert "⟨U+202E⟩" in shown
    reader.goto(f"{hostile.address}/rate/1")
    begin(reader, '<img src=x onerror="window.owned=1">')
    for _ in range(3):
        text = reader.locator("#pair").inner_text()
        assert "<script>window.owned" in text or "</textarea>" in text
        assert "⟨U+0000⟩" in text
        press(reader, "1")
    reader.goto(f"{hostile.address}/ratings/1")
    assert "<img src=x" in reader.locator("main").inner_text()
    reader.goto(f"{hostile.address}/ask/1")
    ask(reader, HOSTILE[0])
    text = reader.locator("#heard").inner_text()
    assert all(words in text for words in ("</textarea>", "onerror=", "⟨U+0007⟩", "{{ 7 * 7 }}", "A" * 10_000))
    assert "\u202e" not in text
    assert reader.locator("main :is(img, script, svg, iframe)").count() == 0
    assert reader.evaluate("document.documentElement.scrollWidth <= innerWidth"), "a line of 10 kB widens nothing"


def test_the_language_is_switched_and_remembered(reader, served):
    enter(reader, served, "/rate/1")
    assert reader.locator("h1").inner_text() == "Who is rating?"
    reader.locator(".switch label", has_text="日本語").click()
    assert reader.locator("h1").inner_text() == "評価する人の名前"
    assert reader.evaluate("document.documentElement.lang") == "ja"
    reader.goto(f"{served.address}/ask/1")
    assert reader.locator("h1").inner_text() == "質問"
    other = Served(served.run, StandInQueue(StandIn(["."])))
    try:
        enter(reader, other, "/ask/1")
        assert reader.locator("h1").inner_text() == "質問", "the next start remembers, on whatever port"
    finally:
        other.close()


@pytest.mark.parametrize(("language", "screen", "scheme"), [("en", DESK, "light"), ("ja", PHONE, "dark")])
def test_axe_finds_nothing_serious_on_any_page(seen_as, served, language, screen, scheme):
    page = seen_as(language, screen, scheme)
    page.goto(f"{served.address}/?token={TOKEN}")
    for address in ("/", "/rate/1", "/rate/1?rater=%00", "/rate/1?rater=Aki", "/ratings/1", "/ask/1"):
        page.goto(served.address + address)
        assert page.evaluate("document.documentElement.lang") == language
        if address.endswith("Aki"):
            page.locator("#pair form[data-htmx-powered]").wait_for()
            press(page, "1")
        if address == "/ask/1":
            ask(page, "Why?")
        assert faults_of_access(page) == {}
