"""YAML 1.2 text to plain values that remember their places, and back."""

import io
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
PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float")}
# YAML 1.2 has no dates: 2024-01-01 is text, as a revision or a name may be.
TEXT_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "timestamp", "value", "merge")}
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
            node = self._yaml.compose(io.StringIO(text))
            self.values: Any = None if node is None else self._plain(node, ())
        except MarkedYAMLError as error:
            raise IikataError(self._explain(error)) from None
        except ReaderError as error:
            line, column = _line_and_column(text, error.position)
            seen = f"{name}:{line}:{column}: the control character {chr(error.character)!r} was seen"
            raise IikataError(f"{seen}; write it as an escape in double quotes, or remove it.") from None
        except (YAMLError, ValueError) as error:
            raise IikataError(f"{name}:1:1: not YAML: {error}") from None
        except RecursionError:
            raise IikataError(f"{name}:1:1: nested too deeply, or an alias stands inside its own anchor.") from None

    def _explain(self, error: MarkedYAMLError) -> str:
        mark = error.problem_mark or error.context_mark
        problem = f"{error.problem or ''} {error.context or ''}".strip()
        cure = next((cure for words, cure in CURES.items() if words in problem), "")
        return f"{self.name}:{mark.line + 1}:{mark.column + 1}: YAML syntax: {problem}. {cure}".rstrip()

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
            if not isinstance(name, ScalarNode):
                self.faults.append((place, "a list or a mapping stands where a key belongs; quote it."))
            elif name.value in seen:
                self.faults.append((place, f'"{name.value}" stands twice; it stands at {seen[name.value]} too.'))
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
                return self._yaml.constructor.construct_object(node)
            problem = f"the tag {tag} is not used here; leave it out."
        except ValueError:
            problem = f"{node.value[:40]} cannot be read as {tag.rpartition(':')[2]}; put text in quotes."
        self.faults.append((self._place(node), problem))
        return node.value

    def _place(self, node: Any) -> str:
        return f"{self.name}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"


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
