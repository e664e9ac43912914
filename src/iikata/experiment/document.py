"""YAML 1.2 text to plain values that remember their places, and back."""

import io
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from iikata.errors import IikataError

if TYPE_CHECKING:
    from iikata.experiment.settings import Experiment

Key = tuple[str | int, ...]
"""Where a value stands: ("train", "lora", "r"), ("templates", 0)."""
MOST_VALUES = 10_000
MOST_WHOLE = 2**63
"""Whole numbers beyond this are no setting, and Python writes none of more than 4300 digits."""
PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float")}
# YAML 1.2 has no dates: 2024-01-01 is text, as a revision or a name may be.
TEXT_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "timestamp", "value", "merge")}
CURE = "Check the quotes, brackets and indentation there."
CURES = {
    "that cannot start any token": "Indent with spaces, not tabs; put text that begins with @ ` % in quotes.",
    "mapping values are not allowed": 'Put text that holds ": " in quotes, and check the indentation.',
    "expected <block end>": "Check the indentation.",
    "undefined alias": "Put text that begins with * in quotes.",
    "another document": "Write one experiment a file, without a second ---.",
}


class Document:
    """Plain values (dict, list, scalars), their places (`file:line:column`), and what is wrong."""

    def __init__(self, text: str, name: str) -> None:
        """Read `text`; raises IikataError where it is no YAML. Values that cannot be used go to `faults`."""
        self.name = name
        self.keys: dict[Key, str] = {(): f"{name}:1:1"}
        self.places: dict[Key, str] = {}
        self.faults: list[tuple[str, str]] = []
        """(place, message) of each key that stands twice, each tag and each value that cannot be read."""
        self._yaml = YAML(typ="safe", pure=True)
        self._left = MOST_VALUES
        try:
            with warnings.catch_warnings(action="ignore"):  # an anchor may be given anew
                node = self._yaml.compose(io.StringIO(text))
            self.values: Any = None if node is None else self._plain(node, ())
        except MarkedYAMLError as error:
            raise IikataError(self._explain(error)) from None
        except ReaderError as error:
            line, column = _line_and_column(text, error.position)
            seen = f"{name}:{line}:{column}: the control character {chr(error.character)!r} was seen"
            raise IikataError(f"{seen}; write it as an escape in double quotes, or remove it.") from None
        except RecursionError:
            raise IikataError(f"{name}:1:1: nested too deeply, or an alias stands inside its own anchor.") from None
        except (YAMLError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
            # The library meets some broken files with its own faults.
            raise IikataError(f"{name}:1:1: not YAML ({short(error)}). Compare it with iikata schema.") from None

    def _explain(self, error: MarkedYAMLError) -> str:
        mark = error.problem_mark or error.context_mark
        place = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
        problem = f"{error.problem or ''} {error.context or ''}".strip()
        cure = next((cure for words, cure in CURES.items() if words in problem), "")
        return f"{self.name}:{place}: YAML syntax: {problem:.300}. {cure or CURE}"

    def _plain(self, node: Any, key: Key) -> Any:
        self.places[key] = self._place(node)
        self._left -= 1
        if self._left < 0:
            # A few lines of nested aliases stand for billions of values.
            raise IikataError(f"{self._place(node)}: more than {MOST_VALUES} values, aliases written out.")
        if isinstance(node, MappingNode):
            return dict(self._entries(node, key))
        if isinstance(node, SequenceNode):
            return [self._plain(item, (*key, i)) for i, item in enumerate(node.value)]
        return self._scalar(node)

    def _entries(self, node: Any, key: Key) -> Iterator[tuple[str, Any]]:
        seen: dict[str, str] = {}
        for name, value in node.value:
            place = self._place(name)
            tag = str(name.tag)
            if not isinstance(name, ScalarNode):
                self.faults.append((place, "a list or a mapping stands where a key belongs; quote it."))
            elif tag not in PLAIN_TAGS | TEXT_TAGS:
                self.faults.append((place, f"the tag {short(tag)} is not used here; leave it out."))
            elif name.value in seen:
                self.faults.append((place, f'"{short(name.value)}" stands twice; it stands at {seen[name.value]} too.'))
            else:
                seen[name.value] = self.keys[(*key, name.value)] = place
                yield name.value, self._plain(value, (*key, name.value))
                if value.start_mark.index == value.end_mark.index:
                    # Nothing was written: YAML puts the value's place at the next token.
                    self.places[(*key, name.value)] = place

    def _scalar(self, node: Any) -> Any:
        tag = str(node.tag)
        if tag in TEXT_TAGS:
            return node.value
        try:
            if tag in PLAIN_TAGS:
                value = self._yaml.constructor.construct_object(node)
                if not isinstance(value, int) or abs(value) < MOST_WHOLE:
                    return value
            problem = f"the tag {short(tag)} is not used here; leave it out."
        except (ValueError, LookupError, TypeError):
            value = None
        if tag in PLAIN_TAGS:
            problem = f"{short(node.value)} cannot be read as {tag.rpartition(':')[2]}; put text in quotes."
        self.faults.append((self._place(node), problem))
        return node.value

    def _place(self, node: Any) -> str:
        return f"{self.name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


def short(said: object) -> str:
    """Return the beginning of what stands there, on one line: enough to find it by."""
    text = " ".join(str(said).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _line_and_column(text: str, position: int) -> tuple[int, int]:
    before = text[:position]
    return before.count("\n") + 1, position - before.rfind("\n")


def dump(experiment: "Experiment") -> str:
    """Return the frozen copy as YAML: every setting, local files by absolute path.

    `read` gives an experiment with the same `resolved()` from it, wherever the copy lies.
    """
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 100_000
    text = io.StringIO()
    yaml.dump(experiment.resolved(), text)
    return text.getvalue()
