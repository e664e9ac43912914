"""The page for a browser: served in this process, entered with its token, rated by keys and asked."""

import threading
from pathlib import Path

import uvicorn
from served import TOKEN

from iikata.serve.app import app
from iikata.serve.question_queue import QuestionQueue
from iikata.serve.run import ServedRun
from iikata.serve.server import listen, settings


class Served:
    """The page in a thread of this process."""

    def __init__(self, run: Path, queue: QuestionQueue) -> None:
        self.run, self.queue = run, queue
        self._listening = listen(0)
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._server = uvicorn.Server(settings(app([ServedRun(run)], queue, TOKEN)))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listening]})
        self._thread.start()

    def close(self) -> None:
        self.queue.cancel_all()
        self._server.should_exit = True
        self._thread.join(20)


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
    page.locator("#instruction").fill(question)
    page.keyboard.press("Control+Enter")
    page.locator("[data-state=ended]").wait_for(state="visible")
