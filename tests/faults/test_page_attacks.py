"""The page holds against whoever can reach its port: strange requests, slow ones, many, and folders that lie."""

import re
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest
import uvicorn
from starlette.testclient import TestClient

from iikata.cli import main
from iikata.core.errors import IikataError
from iikata.core.records import Arm, Cell
from iikata.run_folder import RunFolder
from iikata.serve import patience
from iikata.serve.app import app
from iikata.serve.guard import HEADERS, csrf
from iikata.serve.question_queue import QuestionQueue
from iikata.serve.run import MOST_RATERS, Run
from iikata.serve.server import settings
from tiny_experiment import experiment

TOKEN = "the-token-of-this-start"
OUTSIDE = "a line of a file outside the run folder"
SECRET = "hf_sentinel0123456789"


def made(folder):
    """Write a run folder with an experiment, a report and nothing else; return it. Beside it lies a file of others."""
    from iikata.config import dump
    from iikata.core.io import write_text

    run = RunFolder(folder / "run")
    write_text(run.experiment, dump(experiment(folder, folder / "no model is loaded")))
    write_text(run.report / "index.html", "<p>finished")
    (folder / "outside.txt").write_text(OUTSIDE)
    return run.path


@contextmanager
def serving(page):
    """Serve as `iikata serve` does; give the port."""
    server = uvicorn.Server(settings(page))
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


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    with serving(app([Run(made(tmp_path_factory.mktemp("attacked")))], QuestionQueue(), TOKEN)) as port:
        yield port


def sent(port, content, seconds=5.0):
    """Send bytes and return all that comes back until the page has said nothing for a while or hangs up."""
    with socket.create_connection(("127.0.0.1", port), seconds) as client:
        with suppress(OSError):  # the page may have hung up in the middle
            client.sendall(content)
        client.settimeout(seconds)
        said = b""
        with suppress(OSError):
            while more := client.recv(1 << 16):
                said += more
                if whole(said):
                    break
        return said


def whole(said):
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


def chunked(path, body):
    return post(path, "", "Transfer-Encoding: chunked") + body


RATING = "rater=aki&pair=x&choice=tie"
ATTACKS = {
    # name: (request, statuses that are an answer; 0: hung up without one)
    # ---- without the token
    "no token": (get("/", cookie=False), {403}),
    "a wrong token": (get("/?token=wrong", cookie=False), {403}),
    "an empty token": (get("/?token=", cookie=False), {403}),
    "the token in another case": (get(f"/?token={TOKEN.upper()}", cookie=False), {403}),
    "the right token, then a wrong one": (get(f"/?token={TOKEN}&token=wrong", cookie=False), {403}),
    "the token as a password": (get("/", f"Authorization: Bearer {TOKEN}", cookie=False), {403}),
    "the token at another address": (get(f"/report/1?token={TOKEN}", cookie=False), {403}),
    "the token by HEAD": (request(f"HEAD /?token={TOKEN} HTTP/1.1", cookie=False), {403}),
    "the token posted": (request("POST / HTTP/1.1", body=f"token={TOKEN}", cookie=False), {403}),
    "the cookie of another port": (get("/", f"Cookie: iikata_token_1={TOKEN}", cookie=False), {403}),
    "a cookie that begins like the token": (get("/", "Cookie: iikata_token_{port}=" + TOKEN[:-1], cookie=False), {403}),
    "a cookie of control characters": (get("/", "Cookie: iikata_token_{port}=\x01\x02", cookie=False), {400, 403}),
    "a cookie of bytes": (get("/", "Cookie: iikata_token_{port}=\xff\xfe", cookie=False), {403}),
    # ---- another host's name that points here
    "a foreign host": (get("/", host="evil.example"), {400}),
    "a foreign host with our port": (get("/", host="evil.example:{port}"), {400}),
    "a host that begins like ours": (get("/", host="127.0.0.1.evil.example"), {400}),
    "a host with a user": (get("/", host="127.0.0.1@evil.example"), {400}),
    "this machine as a number": (get("/", host="2130706433"), {400}),
    "this machine shortened": (get("/", host="127.1"), {400}),
    "every address": (get("/", host="0.0.0.0:{port}"), {400}),
    "this machine in IPv6": (get("/", host="[::1]:{port}"), {400}),
    "no host": (get("/", host=""), {400}),
    "two hosts": (get("/", "Host: evil.example"), {400}),
    "a host of the address line": (get("http://evil.example/"), {404}),
    "a host forwarded": (get("/", "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example"), {200}),
    "a foreign host with the token": (get(f"/?token={TOKEN}", host="evil.example", cookie=False), {400}),
    # ---- a foreign page that posts
    "a post of no page": (post("/rate/1", RATING, origin=""), {403}),
    "a post of a foreign page": (post("/rate/1", RATING, origin="https://evil.example"), {403}),
    "a post of no origin": (post("/rate/1", RATING, origin="null"), {403}),
    "a post of another local page": (post("/rate/1", RATING, origin="http://127.0.0.1:1"), {403}),
    "a post of the same host over TLS": (post("/rate/1", RATING, origin="https://127.0.0.1:{port}"), {403}),
    "a post of localhost to 127.0.0.1": (post("/rate/1", RATING, origin="http://localhost:{port}"), {403}),
    "a post that forges the referrer": (
        post("/rate/1", RATING, "Referer: http://127.0.0.1:{port}/", origin=""),
        {403},
    ),
    "a post without the second token": (post("/rate/1", RATING, token=""), {403}),
    "a post with the first token as the second": (post("/rate/1", RATING, token=TOKEN), {403}),
    "a post with the second token in the body": (post("/rate/1", RATING + "&csrf={csrf}", token=""), {403}),
    "a post without the cookie": (post("/rate/1", RATING, cookie=False), {403}),
    "a rating by GET": (get(f"/rate/1/undo?{RATING}"), {405}),
    "a method override": (get("/rate/1", "X-HTTP-Method-Override: POST"), {200}),
    # ---- methods
    "OPTIONS": (request("OPTIONS / HTTP/1.1"), {403}),
    "OPTIONS of everything": (request("OPTIONS * HTTP/1.1"), {403}),
    "a preflight": (
        request("OPTIONS /rate/1 HTTP/1.1", "Origin: https://evil.example", "Access-Control-Request-Method: POST"),
        {403},
    ),
    "TRACE": (request("TRACE / HTTP/1.1", "X-Secret: echoed"), {403}),
    "CONNECT": (request("CONNECT evil.example:443 HTTP/1.1"), {403}),
    "PUT": (post("/report/1", "x").replace("POST", "PUT", 1), {405}),
    "DELETE": (post("/rate/1", "x").replace("POST", "DELETE", 1), {405}),
    "PATCH": (post("/", "x").replace("POST", "PATCH", 1), {405}),
    "PROPFIND": (request("PROPFIND / HTTP/1.1"), {403}),
    "a method nobody knows": (request("ＧＥＴ / HTTP/1.1".encode().decode("latin-1")), {400}),
    "a method in small letters": (request("get / HTTP/1.1"), {403}),
    "a long method": (request("G" * 600_000 + " / HTTP/1.1"), {400, 0}),
    # ---- files of others
    "a folder above": (get("/../outside.txt"), {404}),
    "folders above": (get("/../../../../../../etc/passwd"), {404}),
    "a folder above, encoded": (get("/%2e%2e/outside.txt"), {404}),
    "a folder above, slashes encoded": (get("/report/..%2f..%2foutside.txt"), {404}),
    "a folder above, encoded twice": (get("/%252e%252e%252foutside.txt"), {404}),
    "a folder above, overlong": (get("/%c0%ae%c0%ae/outside.txt"), {404}),
    "a folder above, backslashes": (get("/..\\..\\outside.txt"), {404}),
    "a folder above, backslashes encoded": (get("/report/1%5c..%5c..%5coutside.txt"), {404}),
    "a folder above, behind a run": (get("/report/1/../../outside.txt"), {404}),
    "a folder above, behind a file": (get("/serve.js/../app.py"), {404}),
    "two slashes": (get("//etc/passwd"), {404}),
    "a slash at the end": (get("/browse/1/"), {404}),
    "another host's address": (get("//evil.example/%2e%2e/"), {404}),
    "a NUL": (get("/report/1%00.html"), {404}),
    "a name with a NUL": (get("/serve.js%00"), {404}),
    "a file as a parameter": (get("/report/1?file=../../outside.txt&lang=../../outside"), {200}),
    "a scheme": (get("file:///etc/passwd"), {404}),
    "the code": (get("/app.py"), {404}),
    "a template of a page": (get("/frame.html.jinja"), {404}),
    "the folder of the run": (get("/run/"), {404}),
    "the experiment": (get("/experiment.yaml"), {404}),
    "a stream of NTFS": (get("/serve.js::$DATA"), {404}),
    "a run of another alphabet": (get("/browse/%EF%BC%91"), {404}),
    "a run with a sign": (get("/browse/+1"), {404}),
    "a run of a fraction": (get("/browse/1.0"), {404}),
    "a run of none": (get("/browse/0"), {404}),
    "a run of 5,000 digits": (get("/browse/" + "1" * 5000), {404}),
    "a run with parameters": (get("/browse/1;a=b"), {404}),
    # ---- headers that would be written
    "a header in the path": (get("/%0d%0aSet-Cookie:%20owned=1"), {404}),
    "a header in the language": (get("/?lang=en%0d%0aSet-Cookie:%20owned=1"), {200}),
    "a header in the rater": (get("/rate/1?rater=a%0d%0aSet-Cookie:%20owned=1"), {200}),
    "a header in the token": (get("/?token=%0d%0aSet-Cookie:%20owned=1", cookie=False), {403}),
    "a header in a cookie": (get("/", "Cookie: iikata_language=en%0d%0aSet-Cookie: owned=1"), {200}),
    "markup in the rater": (get("/rate/1?rater=%3Cscript%3Ealert(1)%3C/script%3E"), {200}),
    "a template in the rater": (get("/rate/1?rater=%7B%7B7*7%7D%7D"), {200}),
    # ---- requests that are none
    "nothing but bytes": ("\x00\x01\x02\xff\r\n\r\n", {400}),
    "a hello of TLS": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "x" * 50, {400, 0}),
    "a preface of HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 403, 505}),
    "HTTP/0.9": ("GET /\r\n\r\n", {400}),
    "a line of a terminal": ("HELO evil.example\r\n\r\n", {400}),
    "an upgrade": (
        get("/", "Upgrade: websocket", "Sec-WebSocket-Key: eA==", "Sec-WebSocket-Version: 13", close=False).replace(
            "Host", "Connection: Upgrade\r\nHost", 1
        ),
        {200},
    ),
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
    "a length and chunks": (
        post("/rate/1", "0\r\n\r\nGET /report/1 HTTP/1.1\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"),
        {400},
    ),
    "chunks of no length": (chunked("/rate/1", "zz\r\nabc\r\n0\r\n\r\n"), {400}),
    "300,000 bytes": (post("/rate/1", "rater=" + "x" * 300_000), {413}),
    "300,000 bytes of a question": (post("/ask/1", "instruction=" + "x" * 300_000), {413}),
    "100,000 fields": (post("/rate/1", "&".join(["a=1"] * 60_000)), {400}),
    "bytes that are no text": (post("/rate/1", "rater=\xff"), {400}),
    "encoded bytes that are no text": (post("/rate/1", "rater=%ff"), {400}),
    "JSON": (post("/ask/1", '{"instruction": "x"}', "Content-Type: application/json"), {400}),
    "a body of zip": (post("/ask/1", "\x1f\x8b\x08\x00", "Content-Encoding: gzip"), {400}),
    "a body of a file": (post("/rate/1", "--x\r\nContent-Disposition: form-data", "Content-Type: multipart/x"), {400}),
    "an unknown arm": (post("/ask/1", "instruction=x&arm=../../etc&template=plain"), {400}),
    "an unknown template": (post("/ask/1", "instruction=x&arm=base&template=..%2f..%2foutside"), {400}),
    "a billion samples": (post("/ask/1", "instruction=x&arm=base&template=plain&samples=1000000000"), {400}),
    "no samples": (post("/ask/1", "instruction=x&arm=base&template=plain&samples=-1"), {400}),
    "no question": (post("/ask/1", "instruction=%20%0a&arm=base&template=plain"), {400}),
    "a choice that is none": (post("/rate/1", "rater=aki&pair=x&choice=all"), {400}),
    "a rater of 300 letters": (post("/rate/1", f"rater={'x' * 300}&pair=x&choice=tie"), {400}),
    "a rater who writes backwards": (post("/rate/1", "rater=%E2%80%AEaki&pair=x&choice=tie"), {400}),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_gets_a_refusal_that_tells_nothing(port, name, monkeypatch, tally):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    raw, statuses = ATTACKS[name]
    raw = raw.replace("{port}", str(port)).replace("{csrf}", csrf(TOKEN)).encode("latin-1")
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
    said = sent(port, get("/report/1").replace("{port}", str(port)).encode())
    assert b" 200 " in said[:20]
    assert said.endswith(b"<p>finished")


def test_a_head_has_the_headers_of_a_get_and_nothing_else(port):
    said = sent(port, request("HEAD /report/1 HTTP/1.1").replace("{port}", str(port)).encode(), 1.0)
    assert b" 200 " in said[:20]
    assert said.endswith(b"\r\n\r\n")


# ---- slow and many -------------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(patience, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(patience, "STALLED_SECONDS", 0.3)


BEGINNINGS = {
    "nothing at all": "",
    "half a line": "GET / HT",
    "a line": "GET / HTTP/1.1\r\n",
    "half of the headers": "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-A: b\r\n",
    "half of a body": post("/rate/1", "rater=aki", "Content-Length: 1000", close=False),
    "half of a chunk": post("/rate/1", "ff\r\nrater", "Transfer-Encoding: chunked").replace(
        "Content-Length: 9\r\n", ""
    ),
    "half of a body, refused": post("/rate/1", "rater=aki", "Content-Length: 1000", token="", close=False),
    "a request and half of the next": get("/serve.js", close=False) + "GET / HT",
}


@pytest.mark.parametrize("beginning", BEGINNINGS.values(), ids=BEGINNINGS)
def test_who_does_not_finish_a_request_is_hung_up_on(port, hasty, beginning, tally):
    beginning = beginning.replace("{port}", str(port)).replace("{csrf}", csrf(TOKEN)).encode()
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(beginning)
        client.settimeout(0.05)
        while time.monotonic() - began < 5:  # a letter now and then buys no time
            with suppress(TimeoutError):
                try:
                    if not client.recv(1 << 16):
                        break
                    continue
                except ConnectionResetError:
                    break
            with suppress(OSError):
                client.sendall(b"x" if beginning else b"")
    assert time.monotonic() - began < 3
    tally("attacks on the page")


def test_who_does_not_read_is_hung_up_on(tmp_path, hasty, tally):
    run = made(tmp_path)
    (run / "report" / "index.html").write_bytes(b"x" * (1 << 24))
    with (
        serving(app([Run(run)], QuestionQueue(), TOKEN)) as port,
        socket.create_connection(("127.0.0.1", port), 5) as client,
    ):
        client.sendall(get("/report/1", close=False).replace("{port}", str(port)).encode())
        time.sleep(1.0)
        read = 0
        client.settimeout(5)
        with suppress(ConnectionResetError):
            while more := client.recv(1 << 20):
                read += len(more)
        assert read < 1 << 24
    tally("attacks on the page")


def test_too_many_connections_are_refused_and_the_page_comes_back(port, hasty, tally):
    held = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(patience.MOST_CONNECTIONS)]
    asked = get("/serve.js").replace("{port}", str(port)).encode()
    try:
        assert b" 503 " in sent(port, asked)[:20]
        end = time.monotonic() + 5
        while b" 200 " not in sent(port, asked)[:20]:
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        for one in held:
            one.close()
    tally("attacks on the page")


def test_a_question_too_many_is_refused(port, monkeypatch):
    monkeypatch.setattr(QuestionQueue, "put", lambda self, question: False)
    asked = post("/ask/1", "instruction=x&arm=base&template=plain").replace("{port}", str(port))
    said = sent(port, asked.replace("{csrf}", csrf(TOKEN)).encode())
    assert b" 503 " in said[:20]
    assert said.endswith(b"Too many questions wait already.")


def test_any_number_of_raters_takes_no_more_memory(tmp_path):
    run = Run(made(tmp_path))
    for number in range(3 * MOST_RATERS):
        run.pairs(f"rater {number}")
    assert sum(isinstance(name, tuple) for name in run._kept) == MOST_RATERS


# ---- folders that lie ----------------------------------------------------------------------------------------------

LINKS = {
    "the report": "report/index.html",
    "answers": "generate/plain.s0@plain.jsonl",
    "answers to come": "generate/base@plain.partial.jsonl",
    "losses": "train/plain.s0/steps.jsonl",
    "the counts": "encode/counts.json",
    "the templates": "encode/templates.json",
    "the times": "timing.jsonl",
    "the ratings": "rate/ratings.jsonl",
    "an adapter": "train/plain.s0/adapter_model.safetensors",
    "the mark of an arm that is done": "train/plain.s1/DONE",
}


@pytest.mark.parametrize("way", ["absolute", "relative"])
@pytest.mark.parametrize("place", LINKS.values(), ids=LINKS)
def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path, place, way, tally):
    folder = made(tmp_path)
    with TestClient(app([Run(folder)], QuestionQueue(), TOKEN), base_url="http://127.0.0.1:8000") as client:
        client.get("/", params={"token": TOKEN})
        link = folder / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        up = "../" * (len(link.relative_to(folder).parts))
        link.symlink_to(tmp_path / "outside.txt" if way == "absolute" else f"{up}outside.txt")
        headers = {"origin": "http://127.0.0.1:8000", "x-csrf-token": csrf(TOKEN)}
        said = [
            client.get(address)
            for address in ("/", "/browse/1", "/report/1", "/rate/1?rater=a", "/ratings/1", "/ask/1")
        ]
        said.append(client.post("/rate/1", content=RATING, headers=headers))
        for answer in said:
            assert OUTSIDE not in answer.text
            assert "leads out of the run folder" in answer.text
    assert (tmp_path / "outside.txt").read_text() == OUTSIDE
    tally("attacks on the page")


def test_a_folder_with_a_link_out_of_it_is_not_served(tmp_path, capsys):
    folder = made(tmp_path)
    (folder / "train").symlink_to("/etc")
    assert main(["serve", str(folder)]) == 1
    assert "leads out of the run folder" in capsys.readouterr().err


def test_links_within_the_folder_and_to_the_folder_are_followed(tmp_path):
    folder = made(tmp_path)
    (folder / "report" / "latest.html").symlink_to("index.html")
    (tmp_path / "link").symlink_to(folder)
    assert Run(tmp_path / "link").page is not None


def test_an_error_of_the_page_holds_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    folder = made(tmp_path)
    path = RunFolder(folder).answers(Cell(Arm("plain", 0), "plain"))
    path.parent.mkdir()
    path.write_text("garbage\n")
    with TestClient(app([Run(folder)], QuestionQueue(), TOKEN), base_url="http://127.0.0.1:8000") as client:
        client.get("/", params={"token": TOKEN})

        def fails(*_):
            raise IikataError(f"could not fetch https://me:password@hub.example/x with Bearer {SECRET}\x1b[31m")

        monkeypatch.setattr("iikata.serve.run.Run.newest", fails)
        monkeypatch.setattr("iikata.serve.run.Run.pairs", fails)
        for address in ("/", "/browse/1", "/rate/1?rater=aki"):
            said = client.get(address).text
            assert "could not fetch" in said
            assert SECRET not in said
            assert "password@" not in said
            assert "\x1b" not in said


def test_a_fault_of_the_page_tells_the_browser_nothing(tmp_path, monkeypatch):
    page = app([Run(made(tmp_path))], QuestionQueue(), TOKEN)
    with TestClient(page, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        client.get("/", params={"token": TOKEN})
        monkeypatch.setattr("iikata.serve.asking.page", lambda *_, **__: 1 / 0)
        answer = client.get("/ask/1")
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")
        assert {header.lower() for header in HEADERS} <= set(answer.headers)
