"""The sandbox that strangers' chat templates run in: transformers' names, a meter on all they do, no way out."""

import json
from collections.abc import Callable
from functools import lru_cache, wraps
from types import BuiltinMethodType, GeneratorType
from typing import Any

from jinja2 import TemplateAssertionError, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.runtime import BlockReference, LoopContext, Macro, TemplateReference
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from jinja2.utils import Cycler, Joiner, Namespace

from iikata.templates.meter import AHEAD, METER, PARTS, STEP, Meter, made, spend, weight
from iikata.templates.metering import Metered

LONGEST = 50_000
"""Characters of a template. Those in use have less than 30,000; Jinja and Python need a second to compile so many."""
WIDEST = 16
FILTERS = """
abs capitalize count d default dictsort e escape first float indent int items join last length list lower map max
min reject rejectattr replace reverse round safe select selectattr sort string title trim unique upper
"""
"""What chat templates use, and other engines for them know; one that pads, repeats or formats is an open door."""
METHODS = """
capitalize casefold copy count endswith find get index isalnum isalpha isdecimal isdigit islower isnumeric isspace
istitle isupper items join keys lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition
rsplit rstrip split splitlines startswith strip swapcase title upper values
"""
"""Of texts, lists and dicts. No `format`: it reads attributes, and a width in it writes without end."""
INNER = ("_loop_vars", "_block_vars")
"""What Jinja itself gives to a call, by name."""
OWN = (BlockReference, LoopContext, Macro, TemplateReference, Cycler, Joiner, Namespace)
AT_ONCE = """
boolean callable defined false filter float integer iterable mapping none number sameas sequence string test true
undefined
"""
"""Tests that take no longer for a longer value."""


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, in which every call, filter and test is weighed and only METHODS can be reached."""

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[loopcontrols, Generation],
            optimized=False,
        )
        shelf: Any = self.filters
        self.filters = {name: _weighed(f"|{name}", shelf[name]) for name in FILTERS.split()} | PARTS
        self.filters |= {name: shelf[name] for name in ("length", "count", "default", "d")}  # as in AT_ONCE
        self.filters["tojson"] = _weighed("|tojson", tojson)
        checks: Any = self.tests
        self.tests = {name: test if name in AT_ONCE.split() else _weighed("", test) for name, test in checks.items()}
        self._methods = frozenset(METHODS.split())
        self.globals.update(namespace=Names, raise_exception=raise_exception)
        del self.globals["lipsum"]

    def _parse(self, *source: Any) -> nodes.Template:
        if len(source[0]) > LONGEST:
            raise TemplateSyntaxError(
                f"it has {len(source[0]):,} characters; a template may have {LONGEST:,}. Shorten it.", 1
            )
        tree = Metered().visit(super()._parse(*source))
        tree.set_environment(self)
        return tree

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as in Jinja
        named = {key: value for key, value in kwargs.items() if key not in INNER} if kwargs else kwargs
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str) and __obj.__name__ in AHEAD:
            spend(AHEAD[__obj.__name__](owner, *args, *named.values()))
        spend(sum(map(weight, (*args, *named.values()))) // 8)
        if type(__obj) is BuiltinMethodType:  # a plain method needs no context, which takes its time
            return made(__obj(*args, **named))
        spend(2 * STEP)
        return made(__context.call(__obj, *args, **kwargs))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        return attr in self._methods or (isinstance(obj, OWN) and not attr.startswith("_"))

    def wrap_str_format(self, value: Any) -> None:
        """Leave `format` to `is_safe_attribute`."""

    def unsafe_undefined(self, obj: Any, attribute: str) -> Any:
        raise SecurityError(f"it reads {attribute!r} of a {type(obj).__name__}, which no chat template needs")


def _weighed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the filter or test, paid for before and after; it is called with the same first argument by Jinja."""
    ahead, start = AHEAD.get(name), int(hasattr(function, "jinja_pass_arg"))

    @wraps(function)
    def weighed(*args: Any, **kwargs: Any) -> Any:
        given = args[start:]
        spend(sum(map(weight, (*given, *kwargs.values()))) // 8)
        if ahead:
            spend(ahead(*given, **kwargs))
        result = function(*args, **kwargs)
        # A generator in a generator in a generator ... would run, and be freed, beyond the depth of Python's stack.
        return iter(made(list(result))) if isinstance(result, GeneratorType) else made(result)

    return weighed


class Names(Namespace):
    """Jinja's namespace, whose own text would be that of all it holds, and of all that that holds."""

    def __repr__(self) -> str:
        return "<namespace>"


class Generation(Extension):
    """{% generation %} marks the assistant's text for training code; here it is only read over."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def raise_exception(message: str) -> None:
    raise TemplateError(message)


def tojson(value: Any, ensure_ascii: bool = False, **form: Any) -> str:
    """Write JSON as transformers' filter does; raises SecurityError for an indent that would be a bomb."""
    for blank in (form.get("indent"), *(form.get("separators") or ())):
        if (blank if isinstance(blank, int) else len(blank or "")) > WIDEST:
            raise SecurityError(f"it writes JSON with indents or separators of more than {WIDEST} characters")
    return json.dumps(value, ensure_ascii=ensure_ascii, **form)


@lru_cache(maxsize=1)
def environment() -> Sandbox:
    """Return the sandbox chat templates run in: transformers' names, but no `strftime_now`.

    A template must not change with the day, so one that asks for the date takes its branch without it.
    """
    return Sandbox()


@lru_cache(maxsize=32)  # a template is often copied, with its special tokens
def opened(text: str) -> tuple[Any, frozenset[str]]:
    """Return the compiled template and the names that it reads; raises TemplateSyntaxError for whatever is wrong."""
    try:
        sandbox = environment()
        return sandbox.from_string(text), frozenset(meta.find_undeclared_variables(sandbox.parse(text)))
    except TemplateAssertionError as error:
        known = f"those of a chat template are: {FILTERS.strip()}, tojson".replace("\n", " ")
        message = f"{error.message} ({known})" if "filter" in str(error.message) else error.message
        raise TemplateSyntaxError(str(message), error.lineno) from None
    except (SyntaxError, RecursionError, MemoryError, ValueError, OverflowError) as error:
        # Python's own word on what Jinja made of it: too many nested blocks, a number of thousands of digits.
        reason = str(error).partition(" (")[0] or type(error).__name__
        raise TemplateSyntaxError(f"it cannot be compiled ({reason}): nest less, write shorter numbers", 1) from None


def render(template: Any, names: dict[str, Any]) -> str:
    """Return what a compiled template writes; raises whatever it raises, SecurityError beyond the budget."""
    token = METER.set(Meter())
    try:
        return str(template.render(**names))
    finally:
        METER.reset(token)
