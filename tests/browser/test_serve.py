"""The page as its user meets it: in Chromium, followed, rated by keyboard, killed and gone on with, asked."""

import contextlib
import os
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path

import pytest
import uvicorn
from served import HOSTILE, StandIn, StandInQueue, answer, steps, written
from synthetic_run import run as run_of_report

from iikata.core.io import Appender
from iikata.core.records import Arm, Cell, plain
from iikata.pipeline import Pipeline
from iikata.rating import Ratings
from iikata.report import write
from iikata.run_folder import RunFolder
from iikata.serve.app import app
from iikata.serve.question_queue import QuestionQueue
from iikata.serve.run import Run
from iikata.serve.server import listen
from tiny_experiment import experiment

AXE = Path(__file__).parent / "axe.min.js"
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
TOKEN = "browser-token"
LONGER = {"samples": 1, "max_new_tokens": 150}


class Served:
    """The page in a thread of this process."""

    def __init__(self, run: Path, queue: QuestionQueue) -> None:
        self.run, self.queue = run, queue
        self._listening = listen(0)
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._server = uvicorn.Server(
            uvicorn.Config(app([Run(run)], self.queue, TOKEN), log_level="warning", access_log=False, ws="none")
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listening]})
        self._thread.start()

    def close(self) -> None:
        self.queue.cancel_all()
        self._server.should_exit = True
        self._thread.join(20)


@contextlib.contextmanager
def started(run: Path, port: int = 0):
    """Run `iikata serve` as its user does; yield the process and the address it prints."""
    command = [sys.executable, "-m", "iikata", "serve", str(run), "--port", str(port)]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet) as child:
        yield child, child.stdout.readline().strip()
        child.kill()


@pytest.fixture
def served(tmp_path):
    found = Served(written(tmp_path), StandInQueue(StandIn(["Ro", "me", "."], pause=0.2)))
    yield found
    found.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run all of whose answers are hostile, and a model that says nothing else."""
    run = written(tmp_path_factory.mktemp("hostile"), lambda c, p, s: f"{HOSTILE[s]}{len(c.name)}{HOSTILE[2]}")
    found = Served(run, StandInQueue(StandIn(HOSTILE, pause=0.05)))
    yield found
    found.close()


@pytest.fixture
def reader(browser):
    """Open pages; afterwards nothing may have left this machine's page, failed or run."""
    context = browser.new_context(viewport=DESK, locale="en-US")
    context.add_init_script("Object.defineProperty(window, 'owned', {set() { console.error('a text has run'); }})")
    page = context.new_page()
    faults = []
    page.on("console", lambda line: faults.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("dialog", lambda dialog: (faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda r: None if r.url.startswith(("http://127.0.0.1:", "data:")) else faults.append(r.url))
    page.faults = faults
    yield page
    assert faults == []
    context.close()


def enter(page, served, path="/"):
    page.goto(f"{served.address}/?token={TOKEN}")
    assert page.url == f"{served.address}/", "the token leaves the address bar"
    if path != "/":
        page.goto(served.address + path)


def begin(page, rater="Aki"):
    page.get_by_label("Name").fill(rater)
    page.keyboard.press("Enter")
    page.locator("#pair form[data-htmx-powered]").wait_for()


def far(page):
    return int(page.locator("#far").inner_text().split(" / ")[0])


def press(page, key):
    """Press a key and wait until the next pair can be rated."""
    page.locator("#pair").evaluate("(node) => { node.dataset.old = 'yes'; }")
    page.keyboard.press(key)
    page.locator("#pair:not([data-old]) form[data-htmx-powered]").wait_for()


def ask(page, question="What is the capital of Italy?"):
    page.get_by_label("Instruction").fill(question)
    page.keyboard.press("Control+Enter")
    page.locator("[data-state=ended]").wait_for(state="visible")


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


def test_ten_pairs_are_rated_by_keyboard_alone(reader, served):
    enter(reader, served)
    reader.keyboard.press("Tab")
    assert reader.evaluate("document.activeElement.className") == "skip"
    for _ in range(20):
        reader.keyboard.press("Tab")
        if reader.evaluate("document.activeElement.pathname") == "/rate/1":
            break
    reader.keyboard.press("Enter")
    reader.get_by_label("Name").wait_for()
    reader.wait_for_function("document.activeElement.name === 'rater'")  # the page gives it the focus a moment later
    reader.keyboard.type("Aki")
    reader.keyboard.press("Enter")
    reader.locator("#pair form[data-htmx-powered]").wait_for()
    for count, key in enumerate("120ts12101", 1):
        press(reader, key)
        assert far(reader) == count
        assert reader.evaluate("document.activeElement.matches('h2.asked')"), "reading goes on at the question"
    press(reader, "u")
    assert far(reader) == 9
    press(reader, "2")
    kept = [rating.choice for rating in Ratings(served.run / "rate" / "ratings.jsonl").of("Aki").values()]
    assert len(kept) == 10
    assert [place for place, choice in enumerate(kept) if choice == "tie"] == [2, 3, 8]
    assert [place for place, choice in enumerate(kept) if choice == "skip"] == [4]


def test_a_key_with_control_or_in_a_field_rates_nothing(reader, served):
    enter(reader, served, "/rate/1")
    begin(reader, "1")
    reader.keyboard.press("Control+1")
    reader.keyboard.press("x")
    reader.wait_for_timeout(200)
    assert far(reader) == 0
    assert not (served.run / "rate").exists()


def test_a_server_killed_in_the_middle_of_rating_loses_nothing(reader, tmp_path):
    run = written(tmp_path)
    file = run / "rate" / "ratings.jsonl"
    with started(run) as (child, address):
        reader.goto(address)
        port = int(address.split(":")[2].split("/")[0])
        reader.goto(f"http://127.0.0.1:{port}/rate/1")
        begin(reader)
        for _ in range(5):
            press(reader, "1")
        question = reader.locator("#pair h2").inner_text(), reader.locator("#pair .text").all_inner_texts()
        child.kill()
        child.wait()
        reader.keyboard.press("2")
        reader.get_by_role("alert").get_by_text("does not answer").wait_for()
        assert len(Ratings(file).of("Aki")) == 5
    with started(run, port) as (_, address):
        reader.keyboard.press("2")
        reader.wait_for_timeout(200)
        assert len(Ratings(file).of("Aki")) == 5, "a page of the last start cannot rate"
        assert reader.get_by_role("alert").is_visible()
        reader.goto(address)
        reader.get_by_role("link", name="Rate", exact=True).first.click()
        reader.get_by_role("link", name="Aki").click()
        reader.locator("#pair form[data-htmx-powered]").wait_for()
        assert far(reader) == 5
        assert (reader.locator("#pair h2").inner_text(), reader.locator("#pair .text").all_inner_texts()) == question
        for _ in range(5):
            press(reader, "2")
        assert far(reader) == 10
    assert len(file.read_text(encoding="utf-8").splitlines()) == 10
    assert len(Ratings(file).of("Aki")) == 10
    reader.faults[:] = [fault for fault in reader.faults if "ERR_CONNECTION" not in fault and "403" not in fault]
    reader.faults[:] = [fault for fault in reader.faults if not fault.startswith("htmx: htmx:error")]


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


def test_a_real_model_answers_in_the_page(reader, tmp_path, llama_folder):
    train = {"seeds": [0], "epochs": 1, "batch_size": 4, "cutoff_len": 200, "lora": {"r": 2}}
    made = experiment(tmp_path, llama_folder, train=train, generate=LONGER)
    Pipeline(made, tmp_path / "run").run("train", True)
    served = Served(tmp_path / "run", QuestionQueue())
    try:
        enter(reader, served, "/ask/1")
        watch(reader)
        ask(reader)
        assert reader.locator("#heard .text").count() == 6
        assert all(reader.locator("#heard .text").all_inner_texts())
        lengths = [[len(text) for text in texts] for texts in reader.evaluate("window.seen") if texts]
        assert len({tuple(seen) for seen in lengths}) >= 3, "it is shown while it grows"
        assert all(before <= after for row in zip(*lengths, strict=True) for before, after in pairwise(row))
    finally:
        served.close()


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


def grave(page):
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return {
        one["id"]: [node["html"][:200] for node in one["nodes"][:3]]
        for one in found
        if one["impact"] in ("serious", "critical")
    }


@pytest.mark.parametrize(("language", "size", "scheme"), [("en", DESK, "light"), ("ja", PHONE, "dark")])
def test_axe_finds_nothing_serious_on_any_page(browser, served, language, size, scheme):
    context = browser.new_context(
        viewport=size, locale="ja-JP" if language == "ja" else "en-US", bypass_csp=True, color_scheme=scheme
    )
    page = context.new_page()
    page.goto(f"{served.address}/?token={TOKEN}")
    found = {}
    for address in ("/", "/rate/1", "/rate/1?rater=%00", "/rate/1?rater=Aki", "/ratings/1", "/ask/1"):
        page.goto(served.address + address)
        assert page.evaluate("document.documentElement.lang") == language
        if address.startswith("/rate/1?rater=Aki"):
            page.locator("#pair form[data-htmx-powered]").wait_for()
            press(page, "1")
        if address == "/ask/1":
            page.locator("#instruction").fill("Why?")
            page.keyboard.press("Control+Enter")
            page.locator("[data-state=ended]").wait_for(state="visible")
        found[address] = grave(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{address} is too wide"
    assert not any(found.values()), found
    context.close()
