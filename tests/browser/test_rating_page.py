"""Rating as a rater meets it: in Chromium, by keyboard alone, with the server killed in the middle."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from served import written
from visits import begin, enter, far, press

from iikata.rating import Ratings

pytestmark = pytest.mark.browser


@contextlib.contextmanager
def started(run: Path, port: int = 0):
    """Run `iikata serve` as its user does; yield the process and the address it prints."""
    command = [sys.executable, "-m", "iikata", "serve", str(run), "--port", str(port)]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet) as child:
        yield child, child.stdout.readline().strip()
        child.kill()


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
