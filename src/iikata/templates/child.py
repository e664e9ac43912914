"""The one child process that chat templates run in: started when first asked, ended with this process or its limits."""

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from iikata.core.system import GROUP

MOST_BYTES = 512 * 2**20
"""Of the child's memory, Python and Jinja among them (some 40 MB)."""
MOST_SECONDS = 4.0
"""Of the processor's time for one row with its answers, hundreds of times what chat templates take."""
KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT")
"""What Python may need of the environment; the rest of it holds keys that are no template's business."""


class Refusal(Exception):  # noqa: N818 - a template's or a row's fault, told as an IikataError by who asked
    """Why a template is refused, for a row or at all: its line, where that is known, and whether the child ended."""

    def __init__(self, reason: str, line: int | None = None, ended: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.line, self.ended = reason, line, ended


class Child:
    """A process that renders, its pipes, and the one thread that may use them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0
        self._barred: set[str] = set()
        """Templates that took too long for a row: a run waits for each of them once, not once a row."""

    def ask(self, text: str, **more: Any) -> dict[str, Any]:
        """Return what `sandbox.answer` returns; raises Refusal for a refusal, and where the process ended over it."""
        with self._lock:
            if more and text in self._barred:
                raise Refusal(_too_long(), ended=True)
            try:
                answer: dict[str, Any] = json.loads(self._exchanged(json.dumps({"text": text, **more})))
            except Refusal as refusal:
                if refusal.reason == _too_long():
                    self._barred.add(text)
                raise
        if "reason" in answer:
            raise Refusal(answer["reason"], answer["line"])
        return answer

    def _exchanged(self, question: str) -> str:
        process, answer = self._started(), ""
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(question + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            pass
        finally:  # somebody may have pressed Ctrl-C: the next question must not get this one's answer
            if not answer.endswith("\n"):
                self.end()
        if not answer.endswith("\n"):
            code = process.returncode
            ended = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            reason = _too_long() if ended == "SIGPROF" else f"the process that renders it ended ({ended})"
            raise Refusal(reason, ended=True)
        return answer

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._owner != os.getpid():  # a forked process must not use its parent's
            known = {name: os.environ[name] for name in KEPT if name in os.environ}
            command = [sys.executable, "-SPB", str(Path(__file__).with_name("sandbox.py"))]
            self._process = subprocess.Popen(
                [*command, str(MOST_BYTES), str(MOST_SECONDS)],
                env=known | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUTF8": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                **GROUP,
            )
            self._owner = os.getpid()
        return self._process

    def end(self) -> None:
        """End the process, if there is one; the next question starts another."""
        process, self._process = self._process, None
        if process and self._owner == os.getpid():
            process.kill()
            process.communicate()


def _too_long() -> str:
    return f"it takes more than {MOST_SECONDS:g} seconds of the processor's time for a row"


CHILD = Child()
atexit.register(CHILD.end)
