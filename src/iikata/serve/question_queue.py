"""Where questions wait for the model: it answers one at a time, on a thread of its own."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock

from iikata.pipeline.ask import Key, Panel, panel
from iikata.serve.run import Run

ROOM = 8
"""Questions that may wait; a desk with more of them would answer nobody in time."""


class GoneError(Exception):
    """Nobody listens to this question any more."""


@dataclass(frozen=True)
class Asked:
    """A question, and to whom."""

    instruction: str
    input: str
    arms: Sequence[str]
    templates: Sequence[str]
    samples: int


class Question:
    """What is heard of one question so far; told by the model's thread, read by the page's."""

    def __init__(self, run: Run, asked: Asked) -> None:
        self.run = run
        self.asked = asked
        # Plain flags: a signal's handler may set them, where a lock could be held already.
        self.begun = self.ended = self.gone = False
        self.fault: Exception | None = None
        self._lock = Lock()
        self._news: dict[Key, tuple[str, str]] = {}

    def emit(self, key: Key, text: str, finish: str) -> None:
        """Keep a row's text so far. Raises GoneError where nobody listens any more, which ends the answering."""
        if self.gone:
            raise GoneError
        with self._lock:
            self._news[key] = text, finish

    def news(self) -> dict[Key, tuple[str, str]]:
        """Return the rows that have changed since the last call; what was told in between is not missed."""
        with self._lock:
            news, self._news = self._news, {}
        return news


class QuestionQueue:
    """Loads each run's model once, when it is first asked."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._panels: dict[Run, Panel] = {}
        self._line: list[Question] = []

    def put(self, question: Question) -> bool:
        """Take a question into the line; False where the line is full."""
        self._line = [one for one in self._line if not one.ended]
        if len(self._line) >= ROOM:
            return False
        self._line.append(question)
        self._thread.submit(self._answer, question)
        return True

    def ahead(self, question: Question) -> int:
        """Return how many questions must end before this one begins."""
        before = self._line[: self._line.index(question)] if question in self._line else []
        return sum(not one.ended for one in before)

    def cancel_all(self) -> None:
        """End what is being answered and what waits."""
        for question in self._line:
            question.gone = True

    def _answer(self, question: Question) -> None:
        try:
            if not question.gone:
                question.begun = True
                self._speak(question)
        except GoneError:
            pass
        except Exception as fault:  # the page tells it; the thread lives on for the next question
            question.fault = fault
        finally:
            question.ended = True

    def _speak(self, question: Question) -> None:
        asked = question.asked
        self._panel(question).ask(asked.instruction, asked.input, asked.samples, question.emit)

    def _panel(self, question: Question) -> Panel:
        run, asked = question.run, question.asked
        if run not in self._panels:
            self._panels[run] = panel(str(run.folder))
        whole, adapters = self._panels[run], run.adapters()  # arms that were trained since are there too
        return replace(
            whole,
            adapters={arm: adapters[arm] for arm in asked.arms},
            templates={name: whole.templates[name] for name in asked.templates},
        )
