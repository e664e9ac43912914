"""What a stranger's chat template may not do: take time or memory without end, reach out, read other files."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from bombs import BOMBS

from iikata.core.errors import IikataError
from iikata.templates import child, native
from iikata.templates.child import CHILD
from iikata.templates.jinja import JinjaTemplate
from tokenizer_folders import CHATML

SECONDS = child.MOST_SECONDS if os.environ.get("IIKATA_FAULTS") == "long" else 0.2
"""Of processor time for a bomb; `make faults` grants all that templates have."""
posix = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="limits are POSIX")


@pytest.fixture(scope="module")
def impatient():
    """A child that ends sooner than usual."""
    kept, child.MOST_SECONDS = child.MOST_SECONDS, SECONDS
    CHILD.end()
    yield
    child.MOST_SECONDS = kept
    CHILD.end()
    CHILD._barred.clear()


def refusal(text: str, name: str = "foreign") -> str:
    """Return why the template is refused, for a row or at all."""
    with pytest.raises(IikataError) as error:
        JinjaTemplate(name, chat_template=text).prompt_of("a", "b")
    return str(error.value)


# Before those who wait less: such a row takes longer than they grant.
def test_row_that_is_too_long_is_refused():
    with pytest.raises(IikataError, match=r"writes 6,000,\d+ characters; a row may become 5,000,000"):
        native(CHATML, {}).render("🐟" * 6_000_000)


def test_row_of_a_million_characters_is_written():
    assert len(native(CHATML, {}).render("次" * 1_000_000).prompt) > 1_000_000


@posix
@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_defused_and_does_no_harm(name, impatient):
    start = time.monotonic()
    said = refusal(BOMBS[name], "bomb")
    assert said.startswith('template "bomb"')
    assert time.monotonic() - start < 10 * SECONDS + 5  # other work may have the processor
    assert native(CHATML, {}).render("q").prompt.count("q") == 1


@posix
def test_each_limit_is_told(impatient):
    assert f"more than {SECONDS:g} seconds of the processor's time" in refusal(BOMBS["a loop that writes nothing"])
    assert "line 1, refuses a row: it takes more memory" in refusal(BOMBS["a text times a number"])
    assert "calls itself without end" in refusal(BOMBS["a macro that calls itself"])


@posix
def test_nobody_waits_twice_for_a_template_that_took_too_long(impatient):
    said = refusal(BOMBS["a loop that writes nothing"])
    start = time.monotonic()
    assert {refusal(BOMBS["a loop that writes nothing"]) for _ in range(50)} == {said}
    assert time.monotonic() - start < 2


ESCAPES = {
    "class of a text": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "class by subscript": "{{ ''['__class__'] }}",
    "class by attr": "{{ '' | attr('__class__') }}",
    "class by map": "{{ [''] | map(attribute='__class__') | list }}",
    "class by sort": "{{ ['', 'a'] | sort(attribute='__class__.__name__') }}",
    "class by str.format": "{{ '{0.__class__}'.format('') }}",
    "class by str.format_map": "{{ '{a.__class__}'.format_map({'a': ''}) }}",
    "class by a kept format": "{% set f = '{0.__class__.__mro__}'.format %}{{ f('') }}",
    "class by map of format": "{{ ['{0.__class__}'] | map('format', '') | list }}",
    "class by safe text": "{{ ('{0.__class__}' | safe).format('') }}",
    "class asked for only": "{% if ''.__class__ is defined %}x{% endif %}",
    "globals of cycler": "{{ cycler.__init__.__globals__ }}",
    "globals of namespace": "{{ namespace.__init__.__globals__ }}",
    "globals of lipsum": "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "globals of raise_exception": "{{ raise_exception.__globals__ }}",
    "globals of a macro": "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "context of self": "{{ self._TemplateReference__context }}",
    "environment of self": "{{ self.__dict__ }}",
    "context of a block": "{% block b %}{{ self.b._context }}{% endblock %}",
    "inside of the loop": "{% for a in [1] %}{{ loop._iterable }}{% endfor %}",
    "undefined's hint": "{{ nothing._undefined_hint }}",
    "frame of a generator": "{{ (messages | map('string')).__reduce__ }}",
    "code of a range": "{{ range.__code__ }}",
    "self of a method": "{{ messages.append.__self__ }}",
    "a list changed": "{{ messages.append(1) }}",
    "a dict changed": "{{ messages[0].update({'role': 'x'}) }}",
    "a dict changed by its type": "{{ dict.update(messages[0], {'role': 'x'}) }}",
    "debug": "{% debug %}",
    "import of Python": "{{ __import__('os') }}",
    "another file included": "a\n{% include 'secret.txt' %}",
    "another file imported": "{% import 'a.jinja' as a %}",
    "another file extended": "{% extends 'a.jinja' %}",
}  # fmt: skip


@pytest.mark.parametrize("text", ESCAPES.values(), ids=ESCAPES)
def test_escape_is_refused_or_comes_to_nothing(text):
    try:
        written = JinjaTemplate("foreign", chat_template=text).prompt_of("a", "b")
    except IikataError:
        return
    assert written in ("", "[]", "[Undefined]")


RAISES = {
    "RecursionError": ("{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}", "it calls itself without end"),
    "ZeroDivisionError": ("\n{{ 1 / 0 }}", "line 2, refuses a row: division by zero"),
    "UndefinedError": ("\n\n{{ nothing.at.all }}", "line 3, refuses a row: 'nothing' is undefined"),
    "KeyError": ("{{ messages[0].nothing.at }}", "has no attribute 'nothing'"),
    "ValueError": ("{{ [3] | tojson(separators=[1]) }}", "refuses a row"),
    "its own words": ("{{ raise_exception('only system') }}", "refuses a row: only system."),
    "its own words without end": ("{{ raise_exception('x' * 99999) }}", "xxx."),
    "no words at all": ("{{ raise_exception('') }}", "refuses a row: TemplateError."),
    "too many nested brackets": ("{{ " + "(" * 999 + ")" * 999 + " }}", "nest less"),
    "a number of thousands of digits": ("{{ " + "9" * 9999 + " }}", "shorter numbers"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), RAISES.values(), ids=RAISES)
def test_whatever_a_template_raises_is_a_refusal(text, message):
    said = refusal(text)
    assert message in said
    assert len(said) < 1200


def test_threads_get_their_own_answers():
    template = JinjaTemplate("t", chat_template="{{ messages[0].content }}")
    written: dict[int, str] = {}
    threads = [
        threading.Thread(target=lambda i=i: written.update({i: template.prompt_of(f"{i}", "")})) for i in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == {i: f"{i}" for i in range(40)}


def test_interrupted_question_does_not_answer_the_next(monkeypatch):
    template = JinjaTemplate("t", chat_template="{{ messages[0].content }}")
    template.prompt_of("before", "")

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(CHILD._started().stdout, "readline", interrupted)
    with pytest.raises(KeyboardInterrupt):
        template.prompt_of("first", "")
    assert template.prompt_of("second", "") == "second"


def test_child_that_is_killed_is_replaced():
    template = JinjaTemplate("t", chat_template="{{ messages[0].content }}")
    template.prompt_of("a", "")
    CHILD._started().kill()
    with pytest.raises(IikataError, match="the process that renders it ended"):
        template.prompt_of("b", "")
    assert template.prompt_of("b", "") == "b"


def test_child_knows_nothing_of_the_environment_and_starts_fast(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    CHILD.end()
    start = time.monotonic()
    assert CHILD.ask(text="{{ a }}") == {"names": ["a"]}
    assert time.monotonic() - start < 10  # 0.1 s on an idle machine
    environment = f"/proc/{CHILD._started().pid}/environ"
    if os.path.exists(environment):
        with open(environment, "rb") as file:
            assert b"secret" not in file.read()


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="SIGKILL is POSIX")
def test_child_ends_with_its_parent_however_that_ends():
    code = (
        "import os, signal\nfrom iikata.templates.child import CHILD\nCHILD.ask(text='x')\n"
        "print(CHILD._started().pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    deadline = time.monotonic() + 10
    while _is_there(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_there(int(done.stdout))


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"  # dead, and nobody has asked how it ended
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return os.path.isdir("/proc/self") is False
