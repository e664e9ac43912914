"""YAML 1.2 text to plain values that remember their lines, and back."""

import io
import re
import warnings
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, RoundTripConstructor, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.reader import ReaderError

from iikata.core.errors import IikataError

if TYPE_CHECKING:
    from iikata.config.settings import Experiment

Key = tuple[str | int, ...]
"""Where a value is: ("train", "lora", "r"), ("templates", 0)."""
TAG = "tag:yaml.org,2002:"
FIX = "Check the quotes, brackets and indentation there."
FIXES = {
    "that cannot start any token": "Indent with spaces, not tabs; put text that begins with @ ` % in quotes.",
    "mapping values are not allowed": 'Put text that holds ": " in quotes, and check the indentation.',
    "expected <block end>": "Check the indentation.",
    "undefined alias": "Put text that begins with * in quotes.",
    "another document": "Write one experiment a file, without a second ---.",
    "found duplicate key": "Keep one of them.",
    "cannot be read as": "Put text in quotes.",
    "is not used here": "Leave it out.",
}
_WIDE = str.maketrans(
    {"：": ": ", "，": ", ", "、": ", ", "［": "[", "］": "]", "｛": "{", "｝": "}", "＃": "#", "\u3000": " "}
)
_KEY = re.compile(r"""^\s*["']?[A-Za-z_][\w.]*["']?\s*(：|:(?=[^\s:/]))|^\s*\u3000""", re.MULTILINE)
"""A line that would be `key: value` but for a full-width colon, a missing blank, or a full-width blank before it."""


def wide(text: str) -> str:
    """Return the sentence that says how a text with full-width punctuation is written in YAML, if it has any."""
    meant = text.translate(_WIDE)
    return f" Its punctuation is full-width; YAML wants {short(meant)}" if meant != text else ""


def _unknown(constructor: Any, node: Any) -> Any:
    raise ConstructorError(None, None, f"the tag {short(node.tag)} is not used here", node.start_mark)


class _Constructor(RoundTripConstructor):
    """Mappings and lists keep their lines (`.lc`); scalars are Python's own, and nothing else is made."""

    yaml_multi_constructors: dict[str, Any] = {}  # noqa: RUF012
    yaml_constructors: dict[str | None, Any] = {  # noqa: RUF012
        # YAML 1.2 has no dates: 2024-01-01 is text, as a revision or a name may be.
        **{TAG + kind: SafeConstructor.construct_yaml_str for kind in ("str", "timestamp", "value", "merge")},
        **{TAG + kind: getattr(SafeConstructor, f"construct_yaml_{kind}") for kind in ("null", "bool", "int", "float")},
        **{TAG + kind: getattr(RoundTripConstructor, f"construct_yaml_{kind}") for kind in ("map", "seq")},
        None: _unknown,
    }

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
            if isinstance(node, ScalarNode):
                str(value)  # Python writes no number of more than 4300 digits
            return value
        except (ValueError, LookupError):
            seen = f"{short(node.value)} cannot be read as {node.tag.removeprefix(TAG)}"
            raise ConstructorError(None, None, seen, node.start_mark) from None


def load(text: str, name: str) -> Any:
    """Return the values of the YAML `text`; raises IikataError at `name:line:column` where it is none."""
    yaml = YAML(typ="rt", pure=True)
    yaml.Constructor = _Constructor
    try:
        with warnings.catch_warnings(action="ignore"):
            return yaml.load(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else f"{name}:1:1"
        problem = (error.problem or error.context or "").partition(" with value ")[0]
        problem = f"{error.context}, {problem}" if problem.startswith("but ") else problem
        fix = next((fix for words, fix in FIXES.items() if words in problem), FIX)
        said = f"{key_line(text, name)}{place}: YAML syntax: {problem:.300}. {fix}"
    except ReaderError as error:
        place = _place(text, error.position, name)
        said = f"{place}: the control character {chr(error.character)!r} was seen; write it as an escape, or remove it."
    except RecursionError:
        said = f"{name}:1:1: nested too deeply. Compare it with iikata schema."
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        # The library meets some broken files with its own faults.
        said = f"{name}:1:1: not YAML ({short(error)}). Compare it with iikata schema."
    raise IikataError(said)


def key_line(text: str, name: str) -> str:
    """Return the line that names what YAML does not take for `key: value` and people do; "" where there is none."""
    found = _KEY.search(text)
    advice = "write a half-width colon and a blank behind the name, `name: value`, after plain blanks"
    return f"{_place(text, found.end() - 1, name)}: {advice}.\n" if found else ""


def _place(text: str, offset: int, name: str) -> str:
    return f"{name}:{text.count(chr(10), 0, offset) + 1}:{offset - text.rfind(chr(10), 0, offset)}"


def position(values: Any, key: Key, of_name: bool = False) -> str:
    """Return `line:column` of the value at `key`, or of its name; of what holds it where it has none of its own."""
    line, column = 0, 0
    for part in key:
        found = (getattr(getattr(values, "lc", None), "data", None) or {}).get(part)
        if found is None:
            break
        values = values[part]
        # Where nothing was written, YAML puts the value at the next token.
        line, column = found[:2] if of_name or values is None else found[-2:]
    return f"{line + 1}:{column + 1}"


def short(said: object) -> str:
    """Return the beginning of what is there, on one line: enough to find it by."""
    text = " ".join(str(said).split())
    return text if len(text) <= 60 else text[:57] + "..."


def dump(experiment: "Experiment") -> str:
    """Return the frozen copy as YAML: every setting, local files by absolute path.

    `read` gives an experiment with the same `resolved()` from it, wherever the copy is.
    """
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 100_000
    text = io.StringIO()
    yaml.dump(experiment.resolved(), text)
    return text.getvalue()
