"""What the environment holds in secret reaches neither the terminal nor any file, whoever says it back."""

import json
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import loopback
from iikata.cli import main
from iikata.core.errors import IikataError
from iikata.core.text import redact, safe_text
from iikata.metrics import endpoint
from iikata.metrics.endpoint import Endpoint
from judge_stub import compared, longer
from tiny_experiment import ONE_ARM, written

KEY = "sk-Sentinel+Judge/0123=="
SECRETS = {
    "IIKATA_JUDGE_KEY": KEY,
    "HF_TOKEN": "hf_SentinelHub0123456789",
    "HUGGING_FACE_HUB_TOKEN": "hf_SentinelOldHub012345",
    "AWS_SECRET_ACCESS_KEY": "wJalrSentinelAws/K7MDENG+bPx",
    "AWS_SESSION_TOKEN": "FwoGSentinelSession//////////w==",
    "OPENAI_API_KEY": "sk-proj-SentinelOpenAi",
    "GITHUB_TOKEN": "ghp_SentinelGithub0123",
    "WANDB_API_KEY": "SentinelWandb40",
    "DB_PASSWORD": 'Sentinel "quoted" \\ slashed',
    "PGPASSWORD": "SentinelPostgres!",
    "GOOGLE_CREDENTIALS": '{\n  "private_key_id": "SentinelGoogle",\n  "private_key": "-----SentinelPem"\n}',
    "my_app_secret": "sentinel small letters",
    "MYSQL_PWD": "SentinelMysql",
    "PIP_INDEX_URL": "https://me:SentinelPip%40x@pypi.example/simple",
    "HTTPS_PROXY": "http://me:SentinelProxy@proxy.example:8080",
}
"""Variable -> its value; every secret part of one holds the word."""


@pytest.fixture
def secrets(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def assert_none_in(*said):
    for text in said:
        assert "entinel" not in text, text[max(0, text.find("entinel") - 200) :][:400]


@pytest.mark.parametrize("way", [str, repr, json.dumps, lambda s: json.dumps({"x": [s]}, indent=1), lambda s: f"<{s}>"])
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_named_instead_however_it_is_quoted(secrets, name, way, tally):
    said = safe_text(f"before {way(SECRETS[name])} after")
    assert_none_in(said)
    assert said.startswith("before ")
    assert said.endswith(" after")
    assert f"⟨{name}⟩" in said or "⟨…⟩@" in said
    tally("inputs tried")


def test_of_a_secret_in_another_the_whole_is_named(monkeypatch):
    monkeypatch.setenv("SHORT_TOKEN", "12345678")
    monkeypatch.setenv("LONG_TOKEN", "0123456789")
    monkeypatch.setenv("WHOLE_TOKEN", "12345678-abc")  # begins as the short one does
    assert redact("0123456789 12345678 12345678-abc") == "⟨LONG_TOKEN⟩ ⟨SHORT_TOKEN⟩ ⟨WHOLE_TOKEN⟩"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HF_TOKEN", "short"),
        ("EDITOR", "long enough"),
        ("PWD", "/home/me/runs"),
        ("OLDPWD", "/home/me/old"),
        ("KEY", ""),
    ],
)
def test_what_is_no_secret_is_shown(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert redact(f"it is {value} here") == f"it is {value} here"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("https://user:pass@host/simple", "https://⟨…⟩@host/simple"),
        ("https://token@host", "https://⟨…⟩@host"),
        ("https://user:p@ss@host/x", "https://⟨…⟩@host/x"),
        ("(ssh+git://git:x@host:22/a.git)", "(ssh+git://⟨…⟩@host:22/a.git)"),
        ("https://host/a@b and c@d", "https://host/a@b and c@d"),
        ("https://host?mail=a@b", "https://host?mail=a@b"),
        ("nobody/model@main", "nobody/model@main"),
        ("dolly_ja.s0@native", "dolly_ja.s0@native"),
    ],
)
def test_users_and_passwords_of_addresses_are_left_out(said, shown):
    assert redact(f"at {said} it ends") == f"at {shown} it ends"


@given(st.text(), st.text())
def test_a_text_without_secrets_stays_as_it_is(before, after):
    text = f"{before}{after}".replace("@", "")
    assert redact(text) == text


@pytest.mark.parametrize("text", ["a" * 300_000, "://" * 100_000, "@" * 300_000, "\\" * 300_000, "://a" * 75_000 + "@"])
def test_a_long_text_is_shown_at_once(secrets, text):
    began = time.process_time()
    safe_text(text)
    assert time.process_time() - began < 2


# ---- an endpoint that says back what it was sent --------------------------------------------------------------------


class Echo(loopback.Handler):
    """Answers as `way` has it, with the key that came."""

    def do_POST(self):  # noqa: N802 - the library's name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.stub.keys.append(self.headers["Authorization"])
        self.server.stub.way(self, self.headers["Authorization"], body)

    do_GET = do_POST  # noqa: N815

    def say(self, status, content, reason=None, **headers):
        self.send_response(status, reason)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def echo(way):
    stub = SimpleNamespace(way=way, keys=[])
    with loopback.serving(Echo, stub) as address:
        yield stub, f"{address}/v1"


def chat(text):
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def judged(page, key, body):
    """Judge as a good server does, and say the key in the reply all the same."""
    page.say(200, chat(f"You are {key}. {longer(*compared(json.loads(body)))}"))


WAYS = {
    # name: (what the server does, what the message says)
    "an error's body": (lambda p, key, body: p.say(401, f"bad header {key}".encode()), "401"),
    "an error's reason": (lambda p, key, body: p.say(403, b"", f"no {key}"), "403"),
    "a busy server's body": (lambda p, key, body: p.say(500, key.encode()), "500"),
    "a line that is no HTTP": (lambda p, key, body: p.wfile.write(f"{key}\r\n\r\n".encode()), "gave no answer"),
    "a body that is no JSON": (lambda p, key, body: p.say(200, key.encode()), "gave no answer"),
    "JSON of another shape": (lambda p, key, body: p.say(200, json.dumps({key: key}).encode()), "choices"),
    "JSON that is a text": (lambda p, key, body: p.say(200, json.dumps(key).encode()), "gave no answer"),
    "JSON nested without end": (lambda p, key, body: p.say(200, b"[" * 100_000), "nested too deeply"),
    "bytes without end": (lambda p, key, body: p.say(200, b" " * (endpoint.MOST_BYTES + 9)), "more than"),
    "half of a body": (lambda p, key, body: p.say(200, b"{", **{"Content-Length": "99"}), "gave no answer"),
    "an empty body": (lambda p, key, body: p.say(200, b""), "gave no answer"),
    "a hanging up": (lambda p, key, body: p.connection.close(), "gave no answer"),
    "a redirect in a circle": (lambda p, key, body: p.say(307, b"", Location=f"/{key}"), "307"),
}


@pytest.mark.parametrize("name", WAYS)
def test_an_endpoint_that_fails_gets_the_key_out_of_nobody(secrets, tmp_path, monkeypatch, name, tally):
    way, said = WAYS[name]
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with echo(way) as (server, url), pytest.raises(IikataError) as error:
        Endpoint(url, "m", tmp_path / "replies.jsonl", KEY, 5.0).reply("x")
    assert server.keys[0] == f"Bearer {KEY}"
    assert said in str(error.value)
    assert "is the key right" in str(error.value)
    assert_none_in(str(error.value))
    assert not (tmp_path / "replies.jsonl").exists()
    tally("faults injected")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_is_sent_nowhere_else(secrets, tmp_path, status, tally):
    with (
        echo(judged) as (other, elsewhere),
        echo(lambda p, key, body: p.say(status, b"", Location=elsewhere)) as (_, url),
        pytest.raises(IikataError, match=str(status)),
    ):
        Endpoint(url, "m", tmp_path / "replies.jsonl", KEY, 5.0).reply("x")
    assert other.keys == []
    tally("faults injected")


def test_a_key_with_a_line_break_is_sent_without_it(secrets, tmp_path):
    with echo(lambda p, key, body: p.say(200, chat(f"said {key}"))) as (server, url):
        assert Endpoint(url, "m", tmp_path / "r.jsonl", f"{KEY}\n", 5.0).reply("x") == "said Bearer ⟨IIKATA_JUDGE_KEY⟩"
    assert server.keys == [f"Bearer {KEY}"]
    assert_none_in((tmp_path / "r.jsonl").read_text())


@pytest.mark.parametrize("key", [f"{KEY}\nX: y", f"{KEY}鍵"])
def test_a_key_that_is_no_header_is_refused_unseen(secrets, monkeypatch, tmp_path, key):
    monkeypatch.setenv("IIKATA_JUDGE_KEY", key)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with echo(judged) as (server, url), pytest.raises(IikataError) as error:
        Endpoint(url, "m", tmp_path / "r.jsonl", key, 5.0).reply("x")
    assert server.keys == []
    assert_none_in(str(error.value))


# ---- whole commands -------------------------------------------------------------------------------------------------


def run_judged(folder, model, url):
    score = {"judge": {"url": url, "model": "m"}, "metrics": ["nll", "finish"]}
    small = {"templates": ["plain"], "generate": {"samples": 1, "max_new_tokens": 4}, "train": ONE_ARM}
    return main(["run", str(written(folder, model, score=score, **small)), "--out", str(folder / "run")])


def test_a_whole_run_with_a_judge_leaves_no_secret_anywhere(secrets, tmp_path, llama_folder, capsys, tally):
    with echo(judged) as (server, url):
        assert run_judged(tmp_path, llama_folder, url) == 0
        assert f"Bearer {KEY}" in server.keys
        said = [*capsys.readouterr()]
        run = str(tmp_path / "run")
        for command in (
            ["encode", run], ["encode", run, "--json"], ["compare", run, "--json"],
            ["report", run], ["plan", run],
            ["export", run, "plain.s0", str(tmp_path / "exported"), "--base", "owner/base"],
        ):  # fmt: skip
            assert main(command) == 0, capsys.readouterr().err
            said += capsys.readouterr()
    replies = (tmp_path / "run" / "score" / "judge_cache.jsonl").read_text()
    assert "⟨IIKATA_JUDGE_KEY⟩" in replies
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 30
    assert_none_in(*said, *(path.read_bytes().decode("latin-1") for path in files), *map(str, files))
    # A spreadsheet runs what begins with = in such a file; iikata writes none.
    assert not [path for path in files if path.suffix in (".csv", ".tsv", ".xlsx")]
    tally("inputs tried", len(SECRETS))


def test_a_judge_that_fails_ends_the_run_without_a_secret(secrets, tmp_path, llama_folder, capsys, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with echo(WAYS["an error's reason"][0]) as (_, url):
        assert run_judged(tmp_path, llama_folder, url) == 1
    said = capsys.readouterr()
    assert "403" in said.err
    assert_none_in(*said, *(p.read_bytes().decode("latin-1") for p in tmp_path.rglob("*") if p.is_file()))


def everything():
    return "\n".join([*SECRETS.values(), repr(SECRETS), json.dumps(SECRETS)])


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (lambda: IikataError(everything()), 1),
        (lambda: OSError(13, everything(), everything()), 1),
        (lambda: RuntimeError(everything()), 3),
        (lambda: KeyError(everything()), 3),
        (lambda: UnicodeDecodeError("utf-8", everything().encode(), 0, 1, everything()), 3),
        (lambda: KeyboardInterrupt(everything()), 130),
    ],
)
def test_no_fault_tells_a_secret(secrets, monkeypatch, capsys, fault, code, tally):
    def fails(given):
        print(everything())
        print(everything(), file=sys.stderr)
        try:
            raise ValueError(everything())
        finally:
            raise fault()

    monkeypatch.setattr("iikata.cli.stages.schema", fails)
    assert main(["schema"]) == code
    assert_none_in(*capsys.readouterr())
    tally("faults injected")


@pytest.mark.parametrize("command", [["{}"], ["run", "x", "{}"], ["run", "{}.yaml"], ["encode", "x", "--limit", "{}"]])
def test_no_wrong_word_tells_a_secret(secrets, capsys, command, tally):
    for value in SECRETS.values():
        try:
            main([word.format(value) if "{}" in word else word for word in command])
        except SystemExit as stopped:
            assert stopped.code == 2  # noqa: PT017 - 1 does not raise
        assert_none_in(*capsys.readouterr())
        tally("inputs tried")


def test_an_installer_that_fails_tells_no_password(secrets, tmp_path, monkeypatch, capsys):
    script = tmp_path / "uv"
    script.write_text(
        f"#!/bin/sh\necho 'ERROR: no match at {SECRETS['PIP_INDEX_URL']} with SentinelPip%40x' >&2\nexit 1\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("UV", str(script))
    monkeypatch.setenv("IIKATA_CACHE", str(tmp_path / "cache"))
    assert main(["ask", "smollm2", "Why?"]) == 1
    err = capsys.readouterr().err
    assert "https://⟨…⟩@pypi.example/simple with ⟨PIP_INDEX_URL⟩" in err
    assert_none_in(err)


def test_a_hub_that_refuses_tells_no_token(secrets, tmp_path, monkeypatch, capsys):
    def refuses(*given, **named):
        raise OSError(f"401 for https://me:SentinelPip%40x@hub.example/x: Authorization: Bearer {SECRETS['HF_TOKEN']}")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuses)
    assert main(["ask", "nobody/no-model", "Why?"]) == 1
    err = capsys.readouterr().err
    assert "Bearer ⟨HF_TOKEN⟩" in err
    assert_none_in(err)
