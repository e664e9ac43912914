"""What each shelf of inputs promises of an item, and that one from another package is taken as well."""

import json
from importlib.metadata import EntryPoint

import pytest

from iikata.core import registry
from iikata.core.errors import IikataError
from iikata.data.rows import read_rows
from iikata.doctor import RULES
from iikata.templates import TEMPLATES, load, read_saved, saved
from iikata.templates.files import KINDS


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_has_its_shelfs_name_and_is_read_again_with_the_same_hash(name, tmp_path):
    template = TEMPLATES[name]
    assert template.name == name
    (tmp_path / "t.json").write_text(saved(template), encoding="utf-8")
    assert read_saved(tmp_path / "t.json") == template
    assert read_saved(tmp_path / "t.json").hash == template.hash


@pytest.mark.parametrize("name", KINDS)
def test_a_format_names_itself_and_the_fields_that_it_needs(name):
    assert KINDS[name].kind == name
    assert KINDS[name].needed


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_called_as_its_function_and_says_what_it_holds(name):
    assert RULES[name].__name__ == name
    assert (RULES[name].__doc__ or "").endswith(".")


def read_loudly(path, shown):
    yield f"{shown}:1", {"instruction": path.read_text().upper()}


def test_what_a_package_brings_is_taken(monkeypatch, tmp_path):
    theirs = {
        "iikata.readers": EntryPoint(".loud", f"{__name__}:read_loudly", "iikata.readers"),
        "iikata.rules": EntryPoint("mine", "iikata.doctor.rows:held_out", "iikata.rules"),
        "iikata.templates": EntryPoint("shout", "test_shelves:SHOUT", "iikata.templates"),
        "iikata.formats": EntryPoint("short", "iikata.templates:AlpacaTemplate", "iikata.formats"),
    }
    monkeypatch.setattr(registry, "entry_points", lambda group: [theirs[group]] if group in theirs else [])
    (tmp_path / "rows.loud").write_text("hello")
    assert list(read_rows(tmp_path / "rows.loud", "r")) == [("r:1", {"instruction": "HELLO"})]
    assert RULES.names()[-1] == "mine"
    assert load("shout", tmp_path) is SHOUT
    (tmp_path / "t.json").write_text(json.dumps({"kind": "short", "prompt_input": "{instruction} {input}"}))
    with pytest.raises(IikataError, match='"prompt_no_input" is missing'):
        read_saved(tmp_path / "t.json")


SHOUT = TEMPLATES["plain"]
