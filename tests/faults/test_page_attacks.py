"""The page holds against whoever can reach its port: strange requests, and many."""

import re
import socket
import threading
import time
from contextlib import suppress

import pytest
import uvicorn

from iikata.config import dump
from iikata.core.io import write_text
from iikata.run_folder import RunFolder
from iikata.serve.app import app
from iikata.serve.guard import HEADERS, csrf
from iikata.serve.question_queue import QuestionQueue
from iikata.serve.run import ServedRun
from iikata.serve.server import MOST_CONNECTIONS, settings
from tiny_experiment import experiment

TOKEN = "the-token-of-this-start"
OUTSIDE = "a line of a file outside the run folder"
SECRET = "hf_sentinel0123456789"


def made(folder):
    """Write a run folder with an experiment and a report alone, and a file beside it; return the folder."""
    run = RunFolder(folder / "run")
    write_text(run.experiment, dump(experiment(folder, folder / "no model is loaded")))
    write_text(run.report / "index.html", "<p>finished")
    (folder / "outside.txt").write_text(OUTSIDE)
    return run.path


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Serve as `iikata serve` does; give the port."""
    run = made(tmp_path_factory.mktemp("attacked"))
    server = uvicorn.Server(settings(app([ServedRun(run)], QuestionQueue(), TOKEN)))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(256)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            server.force_exit = server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


def sent(port, content, seconds=5.0):
    """Send a request and return all that comes back until the page has said nothing for a while or hangs up."""
    content = content.replace("{port}", str(port)).replace("{csrf}", csrf(TOKEN)).encode("latin-1")
    with socket.create_connection(("127.0.0.1", port), seconds) as client:
        with suppress(OSError):  # the page may have hung up in the middle
            client.sendall(content)
        client.settimeout(seconds)
        said = b""
        with suppress(OSError):
            while more := client.recv(1 << 16):
                said += more
                if is_complete(said):
                    break
        return said


def is_complete(said):
    head, found, body = said.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
    return bool(found and length and len(body) >= int(length[1]))


def request(line, *headers, cookie=True, host="127.0.0.1:{port}", body="", close=True):
    """Return a request as text; {port} and {csrf} are filled in later."""
    lines = [line, *([f"Host: {host}"] if host else []), *headers]
    lines += ["Cookie: iikata_token_{port}=" + TOKEN] if cookie else []
    lines += [f"Content-Length: {len(body)}"] if body and not any("length" in h.lower() for h in headers) else []
    lines += ["Connection: close"] if close else []
    return "\r\n".join(lines) + "\r\n\r\n" + body


def get(path, *headers, **more):
    return request(f"GET {path} HTTP/1.1", *headers, **more)


def post(path, body, *headers, origin="http://127.0.0.1:{port}", token="{csrf}", **more):
    own = [f"Origin: {origin}"] if origin else []
    own += [f"X-CSRF-Token: {token}"] if token else []
    return request(f"POST {path} HTTP/1.1", *own, *headers, body=body, **more)


RATING = "rater=aki&pair=x&choice=tie"
EVIL = "evil.example"
FOREIGN_HOSTS = [
    EVIL, f"{EVIL}:{{port}}", f"127.0.0.1.{EVIL}", f"127.0.0.1@{EVIL}", "2130706433", "127.1", "0.0.0.0:{port}",
    "[::1]:{port}", "",
]  # fmt: skip
FOREIGN_ORIGINS = [
    "", f"https://{EVIL}", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}", "http://localhost:{port}",
]  # fmt: skip
NO_ADDRESSES = [
    "/../outside.txt", "/../../../../../../etc/passwd", "/%2e%2e/outside.txt", "/report/..%2f..%2foutside.txt",
    "/%252e%252e%252foutside.txt", "/%c0%ae%c0%ae/outside.txt", "/..\\..\\outside.txt",
    "/report/1%5c..%5c..%5coutside.txt", "/report/1/../../outside.txt", "/serve.js/../app.py", "//etc/passwd",
    "/browse/1/", f"//{EVIL}/%2e%2e/", f"http://{EVIL}/", "file:///etc/passwd", "/report/1%00.html", "/serve.js%00",
    "/app.py", "/words.json", "/frame.html.jinja", "/static/", "/run/", "/experiment.yaml", "/serve.js::$DATA",
    "/browse/%EF%BC%91", "/browse/+1", "/browse/1.0", "/browse/0", "/browse/" + "1" * 5000, "/browse/1;a=b",
    "/%0d%0aSet-Cookie:%20owned=1",
]  # fmt: skip
QUESTION = "instruction=x&arm=base&template=plain"
NO_FORMS = {  # what is posted to an address that would take a form
    "/rate/1": [
        *(f"rater={name}&pair=x&choice=tie" for name in ("\xff", "%ff", "x" * 300, "%E2%80%AEaki")),
        "rater=aki&pair=x&choice=all", RATING + "&a=1" * 60_000,
    ],
    "/ask/1": [
        '{"instruction": "x"}', "\x1f\x8b\x08\x00", "instruction=x&arm=../../etc&template=plain",
        "instruction=x&arm=base&template=..%2f..%2foutside", f"{QUESTION}&samples=1000000000", f"{QUESTION}&samples=-1",
        "instruction=%20%0a&arm=base&template=plain",
    ],
}  # fmt: skip
COOKIE = "Cookie: iikata_token_{port}="
ATTACKS = {
    # name: (request, statuses that are an answer; 0: hung up without one)
    "no token": (get("/", cookie=False), {403}),
    "a wrong token": (get("/?token=wrong", cookie=False), {403}),
    "an empty token": (get("/?token=", cookie=False), {403}),
    "the token in another case": (get(f"/?token={TOKEN.upper()}", cookie=False), {403}),
    "the right token, then a wrong one": (get(f"/?token={TOKEN}&token=wrong", cookie=False), {403}),
    "the token as a password": (get("/", f"Authorization: Bearer {TOKEN}", cookie=False), {403}),
    "the token at another address": (get(f"/report/1?token={TOKEN}", cookie=False), {403}),
    "the token by HEAD": (request(f"HEAD /?token={TOKEN} HTTP/1.1", cookie=False), {403}),
    "the token posted": (request("POST / HTTP/1.1", body=f"token={TOKEN}", cookie=False), {403}),
    "the token and a header in it": (get("/?token=%0d%0aSet-Cookie:%20owned=1", cookie=False), {403}),
    "the cookie of another port": (get("/", f"Cookie: iikata_token_1={TOKEN}", cookie=False), {403}),
    "a cookie that begins like the token": (get("/", COOKIE + TOKEN[:-1], cookie=False), {403}),
    "a cookie of control characters": (get("/", COOKIE + "\x01\x02", cookie=False), {400, 403}),
    "a cookie of bytes": (get("/", COOKIE + "\xff\xfe", cookie=False), {403}),
    # ---- another host's name that points here, a foreign page that posts
    **{f"the host {host!r}": (get("/", host=host), {400}) for host in FOREIGN_HOSTS},
    "two hosts": (get("/", f"Host: {EVIL}"), {400}),
    "a host forwarded": (get("/", f"X-Forwarded-Host: {EVIL}", f"Forwarded: host={EVIL}"), {200}),
    "a foreign host with the token": (get(f"/?token={TOKEN}", host=EVIL, cookie=False), {400}),
    **{f"a post of {origin!r}": (post("/rate/1", RATING, origin=origin), {403}) for origin in FOREIGN_ORIGINS},
    "a forged referrer": (post("/rate/1", RATING, "Referer: http://127.0.0.1:{port}/", origin=""), {403}),
    "a post without the second token": (post("/rate/1", RATING, token=""), {403}),
    "a post with the first token as the second": (post("/rate/1", RATING, token=TOKEN), {403}),
    "a post with the second token in the body": (post("/rate/1", RATING + "&csrf={csrf}", token=""), {403}),
    "a post without the cookie": (post("/rate/1", RATING, cookie=False), {403}),
    # ---- methods
    "a rating by GET": (get(f"/rate/1/undo?{RATING}"), {405}),
    "a method override": (get("/rate/1", "X-HTTP-Method-Override: POST"), {200}),
    **{
        f"{method} {target}": (request(f"{method} {target} HTTP/1.1", f"Origin: https://{EVIL}", "X: echoed"), {403})
        for method, target in (
            ("OPTIONS", "/rate/1"), ("OPTIONS", "*"), ("TRACE", "/"), ("CONNECT", f"{EVIL}:443"),
            ("PROPFIND", "/"), ("get", "/"),
        )
    },
    **{f"{name} by the page": (post("/rate/1", "x").replace("POST", name, 1), {405}) for name in ("PUT", "DELETE")},
    "a method nobody knows": (request("ＧＥＴ / HTTP/1.1".encode().decode("latin-1")), {400}),
    "a long method": (request("G" * 600_000 + " / HTTP/1.1"), {400, 0}),
    # ---- files of others, headers that would be written
    **{path[:60]: (get(path), {404}) for path in NO_ADDRESSES},
    "a file as a parameter": (get("/report/1?file=../../outside.txt&lang=../../outside"), {200}),
    "a header in the language": (get("/?lang=en%0d%0aSet-Cookie:%20owned=1"), {200}),
    "a header in the rater": (get("/rate/1?rater=a%0d%0aSet-Cookie:%20owned=1"), {200}),
    "a header in a cookie": (get("/", "Cookie: iikata_language=en%0d%0aSet-Cookie: owned=1"), {200}),
    "markup in the rater": (get("/rate/1?rater=%3Cscript%3Ealert(1)%3C/script%3E"), {200}),
    # ---- requests that are none
    "nothing but bytes": ("\x00\x01\x02\xff\r\n\r\n", {400}),
    "a hello of TLS": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "x" * 50, {400, 0}),
    "a preface of HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 403, 505}),
    "HTTP/0.9": ("GET /\r\n\r\n", {400}),
    "an upgrade": (get("/", "Connection: Upgrade", "Upgrade: websocket", close=False), {200}),
    "a header without a name": (get("/", ": x"), {400}),
    "a header with a space": (get("/", "Cookie : x"), {400}),
    "a header with a NUL": (get("/", "X: a\x00b"), {400}),
    "a header in two lines": (get("/", "X: a\r\n b"), {200, 400}),
    "headers of 600,000 bytes": (get("/", "X: " + "x" * 600_000), {400, 0}),
    "100,000 headers": (get("/", *(f"X{i}: x" for i in range(100_000))), {400, 0}),
    "an address of 600,000 bytes": (get("/" + "x" * 600_000), {400, 0}),
    # ---- bodies
    "two lengths": (post("/rate/1", RATING, "Content-Length: 5", "Content-Length: 27"), {400}),
    "a negative length": (post("/rate/1", RATING, "Content-Length: -1"), {400}),
    "a length that is no number": (post("/rate/1", RATING, "Content-Length: 0x10"), {400}),
    "a length of 1 GB": (post("/rate/1", RATING, "Content-Length: 1000000000"), {413}),
    "a length and chunks": (post("/rate/1", "0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"), {400}),
    "chunks of no length": (post("/rate/1", "", "Transfer-Encoding: chunked") + "zz\r\nabc\r\n0\r\n\r\n", {400}),
    "300,000 bytes": (post("/rate/1", "rater=" + "x" * 300_000), {413}),
    "300,000 bytes of a question": (post("/ask/1", "instruction=" + "x" * 300_000), {413}),
    **{f"{body[:40]!r} to {path}": (post(path, body), {400}) for path, bodies in NO_FORMS.items() for body in bodies},
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_a_refusal_that_tells_nothing(port, name, monkeypatch, tally):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    raw, statuses = ATTACKS[name]
    said = sent(port, raw)
    head, _, body = said.partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head else 0
    assert status in statuses, said[:500]
    for secret in (TOKEN, OUTSIDE, SECRET, "root:", "Traceback", "site-packages", "echoed"):
        assert secret.encode() not in said
    assert b"owned" not in head.lower()
    assert b"<script>alert" not in body
    assert b"set-cookie" not in head.lower()
    if status and b"Invalid HTTP request received." not in body:
        fields = {line.split(b": ", 1)[0].lower() for line in head.split(b"\r\n")[1:]}
        assert {header.lower().encode() for header in HEADERS} <= fields
        assert b"server" not in fields
        assert not any(field.startswith(b"access-control") for field in fields)
    tally("attacks on the page")


def test_after_all_attacks_the_page_still_answers(port):
    said = sent(port, get("/report/1"))
    assert b" 200 " in said[:20]
    assert said.endswith(b"<p>finished")


def test_a_head_has_the_headers_of_a_get_and_nothing_else(port):
    said = sent(port, request("HEAD /report/1 HTTP/1.1"), 1.0)
    assert b" 200 " in said[:20]
    assert said.endswith(b"\r\n\r\n")


def test_too_many_connections_are_refused_and_the_page_comes_back(port, tally):
    held = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(MOST_CONNECTIONS)]
    try:
        assert b" 503 " in sent(port, get("/serve.js"))[:20]
    finally:
        for one in held:
            one.close()
    end = time.monotonic() + 5
    while b" 200 " not in sent(port, get("/serve.js"))[:20]:
        assert time.monotonic() < end
        time.sleep(0.05)
    tally("attacks on the page")


def test_a_question_too_many_is_refused(port, monkeypatch):
    monkeypatch.setattr(QuestionQueue, "put", lambda self, question: False)
    said = sent(port, post("/ask/1", QUESTION))
    assert b" 503 " in said[:20]
    assert said.endswith(b"Too many questions wait already.")
