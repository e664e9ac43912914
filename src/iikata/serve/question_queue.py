"""Where questions wait for the model: it answers one at a time, on its own thread."""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from iikata.core.records import Before
from iikata.pipeline.ask import Key, Respondents, respondents
from iikata.serve.run import ServedRun

LONGEST = 8
"""Questions that may wait; in a longer queue nobody would be answered in time."""


class GoneError(Exception):
    """Nobody listens to this question any more."""


@dataclass(eq=False)
class Question:
    """A question, to whom, and what is heard so far; told by the model's thread, read by the page's."""

    run: ServedRun
    instruction: str
    input: str
    arms: Sequence[str]
    templates: Sequence[str]
    samples: int
    system: str = ""
    # Plain flags: a signal's handler may set them, where a lock could be held already.
    begun: bool = False
    ended: bool = False
    gone: bool = False
    error: Exception | None = None
    _told: deque[tuple[Key, str, str]] = field(default_factory=deque)

    def emit(self, key: Key, text: str, finish: str) -> None:
        """Keep a row's text so far. Raises GoneError where nobody listens any more, which ends the answering."""
        if self.gone:
            raise GoneError
        self._told.append((key, text, finish))

    def news(self) -> dict[Key, tuple[str, str]]:
        """Return the rows that have changed since the last call."""
        found = {}
        while self._told:
            key, *said = self._told.popleft()
            found[key] = said[0], said[1]
        return found


class QuestionQueue:
    """Loads each run's model once, when it is first asked."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._respondents: dict[ServedRun, Respondents] = {}
        self._waiting: list[Question] = []

    def put(self, question: Question) -> bool:
        """Take a question into the queue; False where it is full."""
        self._waiting = [one for one in self._waiting if not one.ended]
        if len(self._waiting) >= LONGEST:
            return False
        self._waiting.append(question)
        self._thread.submit(self._answer, question)
        return True

    def ahead(self, question: Question) -> int:
        """Return how many questions must end before this one begins."""
        before = self._waiting[: self._waiting.index(question)] if question in self._waiting else []
        return sum(not one.ended for one in before)

    def cancel_all(self) -> None:
        """End what is being answered and what waits."""
        for question in self._waiting:
            question.gone = True

    def _answer(self, question: Question) -> None:
        try:
            if not question.gone:
                question.begun = True
                self._ask(question)
        except GoneError:
            pass
        except Exception as error:  # the page tells it; the thread lives on for the next question
            question.error = error
        finally:
            question.ended = True

    def _ask(self, question: Question) -> None:
        run = question.run
        if run not in self._respondents:
            self._respondents[run] = respondents(str(run.folder))
        everyone, adapters = self._respondents[run], run.adapters()  # arms that were trained since are there too
        asked = replace(
            everyone,
            adapters={arm: adapters[arm] for arm in question.arms},
            templates={name: everyone.templates[name] for name in question.templates},
        )
        before = Before(question.system)
        asked.ask(question.instruction, question.input, question.samples, question.emit, before)
