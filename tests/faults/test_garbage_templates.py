"""Template files from anywhere: each broken one is refused with its place and its cure, and nothing is written."""
# ruff: noqa: E501 - one broken file a line

import json
import os

import pytest
from refusal import files_in, refused

from iikata.cli import main
from tiny_experiment import written

GOOD = {"prompt_input": "{instruction}\n{input}\n", "prompt_no_input": "{instruction}\n"}
USER = "{% for m in messages %}{{ m.content }}{% endfor %}"


def alpaca(**changes) -> bytes:
    """Return an Alpaca file with one key a line; None takes a key out."""
    kept = {key: value for key, value in (GOOD | changes).items() if value is not None}
    return json.dumps(kept, indent=0, ensure_ascii=True).encode()


def jinja(text: str, **more) -> bytes:
    return json.dumps({"kind": "jinja", "chat_template": text, **more}, indent=0).encode()


FILES = {
    # name of the defect: (file, its bytes, what the message says)
    "an empty file": ("t.json", b"", ("t.json:1: ", "holds nothing", "Save a text")),
    "zero bytes": ("t.json", alpaca() + b"\0\0", ("t.json:1: ", "a zero byte in line 4", "Save a text")),
    "Latin-1": ("t.json", '{"prompt_input":\n"é"}'.encode("latin-1"), ("t.json:2:2: ", "it can be read as cp1252", "as UTF-8")),
    "UTF-16 without": ("t.json", alpaca().decode().encode("utf-16-le"), ("t.json:1:1: ", "utf-16-le", "as UTF-8")),
    "an escaped surrogate": ("t.json", alpaca(prompt_input="{instruction}{input}\ud800"), ("t.json:2: ", "ud800", "Take it out")),
    "a surrogate in a list": ("t.json", alpaca(stop=["#", "\udfff"]), ("t.json:4: ", "udfff", "Take it out")),
    "an escaped zero": ("t.json", alpaca(prompt_no_input="{instruction}\0"), ("t.json:3: ", "u0000", "Take it out")),
    "a huge file": ("t.json", alpaca(description="x" * 1_000_000), ("t.json: ", "larger than 1,000,000 bytes")),
    "an array": ("t.json", b"[1]", ("t.json:1: ", "a template is a JSON object with the keys prompt_input")),
    "an object cut off": ("t.json", alpaca()[:-9], ("t.json:3:", "not JSON", "Correct it there")),
    "a Jinja template in .json": ("t.json", USER.encode(), ("t.json:1:2: ", "ends in .jinja")),
    "nesting without end": ("t.json", b"[" * 100_000, ("t.json:1: ", "nested too deeply", "Correct it there")),
    "a number of a million digits": ("t.json", b'{"newline": ' + b"9" * 99_999 + b"}", ("t.json:1: ", "more digits")),
    "a key twice": ("t.json", b'{"prompt_input": "a",\n"prompt_input": "b"}', ("t.json:2: ", '"prompt_input" is there twice')),
    "no keys": ("t.json", b"{}", ("t.json:1: ", 'key "prompt_input" is missing', "An Alpaca template has")),
    "a key missing": ("t.json", alpaca(prompt_no_input=None), ("t.json:1: ", '"prompt_no_input" is missing', "has prompt_input and")),
    "a needed key misspelt": ("t.json", alpaca(prompt_no_input=None, prompt_no_imput=""), ("t.json:1: ", '(is it "prompt_no_imput"?)')),
    "a key misspelt": ("t.json", alpaca(respons_split="#"), ("t.json:4: ", 'did you mean "response_split"', "Known: ")),
    "an unknown key of many characters": ("t.json", alpaca(**{"y" * 9999: "x"}), ("t.json:4: ", "is unknown", "Known: ")),
    "a number for a prompt": ("t.json", alpaca(prompt_input=3), ("t.json:2: ", "cannot be 3", "It is a text")),
    "a long list for a prompt": ("t.json", alpaca(prompt_input=[1] * 9999), ("t.json:2: ", "cannot be [1", "It is a text")),
    "a text for stop": ("t.json", alpaca(stop="###"), ("t.json:4: ", 'cannot be "###"', "a list of texts")),
    "an empty stop": ("t.json", alpaca(stop=[""]), ("t.json:4: ", 'cannot be [""]', "none of them empty")),
    "an empty newline": ("t.json", alpaca(newline=""), ("t.json:4: ", 'cannot be ""', "not empty, or null")),
    "true for newline": ("t.json", alpaca(newline=True), ("t.json:4: ", "cannot be true", "a text, not empty")),
    "a name that is a path": ("t.json", alpaca(name="../../etc/x"), ("t.json:4: ", '"../../etc/x"', "without a slash")),
    "a name with colours": ("t.json", alpaca(name="\x1b[31mred"), ("t.json:4: ", "u001b[31mred", "visible characters")),
    "a name that turns round": ("t.json", alpaca(name="a\u202eb"), ("t.json:4: ", "U+202E", "Give it another")),
    "a name of many lines": ("t.json", alpaca(name="a\nb"), ("t.json:4: ", '"a\\nb"', "one line")),
    "a name without end": ("t.json", alpaca(name="x" * 9999), ("t.json:4: ", "at most 100", "Give it another")),
    "an unknown kind": ("t.json", alpaca(kind="mustache"), ("t.json:4: ", "one of alpaca, jinja", '"mustache"')),
    "a list for a kind": ("t.json", alpaca(kind=["jinja"]), ("t.json:4: ", "one of alpaca, jinja", '["jinja"]')),
    "jinja without its template": ("t.json", b'{"kind": "jinja"}', ("t.json:1: ", '"chat_template" is missing', "kind jinja has")),
    "numbers for special tokens": ("t.json", jinja(USER, special_tokens={"a": 1}), ("t.json:4: ", "an object of texts")),
    "a day that is none": ("t.json", jinja(USER, date="2025-02-31"), ("t.json:4: ", 'cannot be "2025-02-31"', "a day as 2024-07-26")),
    "jinja with a fault": ("t.json", jinja("a\n{% if %}"), ("t.json:3: ", '"chat_template", line 2: ', "Correct it there")),
    "no {instruction}": ("t.json", alpaca(prompt_no_input="hello"), ("t.json:3: ", "has no {instruction}", "where it belongs")),
    "no {input}": ("t.json", alpaca(prompt_input="{instruction}"), ("t.json:2: ", "has no {input}", "where it belongs")),
    "{input} for no input": ("t.json", alpaca(prompt_no_input="{instruction}{input}"), ("t.json:3: ", "Move it to prompt_input")),
    "a placeholder misspelt": ("t.json", alpaca(prompt_input="{instruction}{input}{inptu}"), ("t.json:2: ", "has {inptu}", "Write {input}")),
    "a placeholder as Jinja's": ("t.json", alpaca(prompt_no_input="{{instruction}}"), ("t.json:3: ", "has {{instruction}}", "Write {instruction}")),
    "a chat template in Latin-1": ("t.jinja", USER.encode() + b"\n\xe9", ("t.jinja:2:1: ", "not UTF-8", "as UTF-8")),
    "a chat template with a zero": ("t.j2", b"\n" + USER.encode() + b"\0", ("t.j2:1: ", "a zero byte in line 2", "as UTF-8")),
    "a chat template of a book's length": ("t.jinja", b"x" * 50_001, ("t.jinja:1: ", "a template may have 50,000", "Shorten it")),
    "a chat template of a megabyte": ("t.jinja", b"x" * 1_000_001, ("t.jinja: ", "larger than 1,000,000 bytes")),
    "an unterminated tag": ("t.jinja", b"a\n{% if messages", ("t.jinja:2: ", "Correct it there")),
    "an unterminated loop": ("t.jinja", b"{% for m in messages %}\nx", ("t.jinja:", "endfor", "Correct it there")),
    "an unknown tag": ("t.jinja", b"{% load static %}", ("t.jinja:1: ", "unknown tag 'load'", "Correct it there")),
    "an unknown filter": ("t.jinja", b"\n{{ messages | trimm }}", ("t.jinja:2: ", "No filter named 'trimm'", "Correct it there")),
    "another file included": ("t.jinja", b"\n{% include 'x' %}", ('template "t", line 2,', "it reads another template", "Change the template")),
    "too many nested blocks": ("t.jinja", b"{% for a in b %}" * 50 + b"{% endfor %}" * 50, ("t.jinja:1: ", "nest less")),
    "a template that raises": ("t.jinja", b"\n{{ raise_exception('No \x1b[31msystem') }}", ('template "t", line 2,', "refuses a row: No", "Change the template")),
    "a template that knows no such name": ("t.jinja", b"{{ tokens.bos }}", ('template "t", line 1,', "'tokens' is undefined", "Change the template")),
    "a template that never ends": ("t.jinja", b"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", ('template "t"', "it takes more than", "Change the template")),
    "a template that changes the answer": ("t.jinja", b"{% for m in messages %}{{ m.content | upper }}{% endfor %}", ('template "t"', "changes the answer", "Choose a template")),
    "a template that leaves out the answer": ("t.jinja", b"{{ messages[0].content }}", ('template "t"', "changes the answer", "Choose a template")),
    "a template that begins anew": ("t.jinja", b"{% if messages | length == 2 %}A{% else %}B{% endif %}" + USER.encode(), ('template "t"', "does not begin with its own prompt", "Choose another")),
}  # fmt: skip


def put(folder, defect: str):
    name, content, said = FILES[defect]
    (folder / name).write_bytes(content)
    return name, said


@pytest.mark.parametrize("defect", FILES)
def test_broken_template_is_refused_and_nothing_is_written(defect, tmp_path, monkeypatch, capsys, tally):
    monkeypatch.chdir(tmp_path)
    name, said = put(tmp_path, defect)
    before = files_in(tmp_path)
    other = "out/new.jinja" if name.endswith(".json") else "out/new.json"
    refused(["templates", "show", name], capsys, *said)
    convert = refused(["templates", "convert", name, other], capsys)
    if ".json" in name or said[0].startswith(name):  # what a row shows, a conversion may see otherwise
        assert all(words in convert for words in said)
    assert files_in(tmp_path) == before
    tally("inputs tried")


IN_AN_EXPERIMENT = (
    "Latin-1", "an escaped surrogate", "a key twice", "nesting without end", "a list for a kind", "a name with colours",
    "no {instruction}", "a placeholder misspelt", "jinja with a fault", "an unterminated loop", "a template that raises",
    "a template that never ends", "a template that leaves out the answer",
)  # fmt: skip


@pytest.mark.parametrize("defect", IN_AN_EXPERIMENT)
def test_check_names_the_broken_template(defect, tmp_path, monkeypatch, capsys, llama_folder, tally):
    monkeypatch.chdir(tmp_path)
    name, said = put(tmp_path, defect)
    assert main(["check", str(written(tmp_path, llama_folder, templates=["plain", name]))]) == 1
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    for words in said[1:]:
        assert words in out + err
    tally("inputs tried")


PLACES = {
    "a missing file": (
        "tt.json",
        ("tt.json: ", "no such file", 'did you mean "t.json"', "Give a .json or .jinja file"),
    ),
    "a missing chat template": ("t.jinja", ("t.jinja: ", "no such file", "Give a .json or .jinja file")),
    "a missing folder": ("none/t.json", ("t.json: ", "no such file", "Give a .json")),
    "a folder": ("folder.json", ("folder.json: ", "a folder where", "Give a .json or .jinja file")),
    "a pipe": ("pipe.json", ("pipe.json: ", "a pipe", "Give a .json or .jinja file")),
    "a link to nothing": ("link.json", ("link.json: ", "no such file", "Give a .json")),
    "an unknown name": ("alpacca", ('template "alpacca" is unknown', 'did you mean "alpaca"', "Known: ", "native")),
    "an unknown ending": ("t.txt", ('template "t.txt" is unknown', "Known: ")),
    "a module that is none": ("nothing:here", ("cannot be imported", 'Write "package.module:name"')),
    "a name with colours": ("\x1b[31m.json", ("no such file", "Give a .json")),
    "a path without end": ("x" * 3000 + ".json", ("File name too long", "Give a .json")),
    "the native one": ("native", ("no model is named here", "iikata encode EXP")),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes are POSIX")
@pytest.mark.parametrize(("spec", "said"), PLACES.values(), ids=PLACES)
def test_place_without_a_template_is_refused(spec, said, tmp_path, monkeypatch, capsys, tally):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.json").write_bytes(alpaca())
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to("nowhere.json")
    refused(["templates", "show", spec], capsys, *said)
    tally("inputs tried")


def test_unreadable_file_is_refused(tmp_path, monkeypatch, capsys, tally):
    (tmp_path / "t.json").write_bytes(alpaca())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.json").chmod(0)
    if os.access("t.json", os.R_OK):
        pytest.skip("this user may read everything")
    refused(["templates", "show", "t.json"], capsys, "t.json: ", "Permission denied", "Give a .json")
    tally("inputs tried")


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf" + alpaca(), alpaca().decode().encode("utf-16"), alpaca().replace(b"\n", b"\r\n")],
    ids=["BOM", "UTF-16", "CRLF"],
)
def test_template_of_another_editor_is_read(content, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.json").write_bytes(content)
    assert main(["templates", "show", "t.json"]) == 0
    assert "{instruction}\n{output}[end token]" in capsys.readouterr().out
