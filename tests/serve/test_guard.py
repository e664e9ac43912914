"""Only who was given this start's token reaches the page, and only the page itself changes anything.

What a stranger may send instead is tried byte by byte in tests/faults/test_page_attacks.py.
"""

import pytest
from served import TOKEN, posting

PAGES = ("browse", "report", "rate", "ratings", "ask")
RATING = {"rater": "aki", "pair": "", "choice": "tie"}


@pytest.mark.parametrize("address", ["/", *(f"/{page}/1" for page in PAGES), "/serve.js", "/htmx.js", "/nowhere"])
def test_nothing_is_shown_without_the_token(stranger, address):
    answer = stranger.get(address)
    assert answer.status_code == 403
    assert TOKEN not in answer.text


def test_the_token_is_exchanged_for_a_cookie_that_no_script_reads_and_leaves_the_address(stranger):
    answer = stranger.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert stranger.get("/").status_code == 200


def test_another_token_gets_no_cookie(stranger):
    assert "set-cookie" not in stranger.get("/", params={"token": "日本"}).headers


def test_localhost_is_a_name_of_this_machine(client):
    headers = {"host": "localhost:8000", "cookie": f"iikata_token_8000={TOKEN}"}
    assert client.get("/serve.js", headers=headers).is_success


@pytest.mark.parametrize("address", ["/rate/1", "/rate/1/undo", "/ask/1"])
def test_a_post_that_does_not_come_from_the_page_is_refused(client, run, address):
    assert client.post(address, data=RATING).status_code == 403
    assert client.post(address, data=RATING, headers=posting(origin="https://example.com")).status_code == 403
    assert not (run / "rate").exists()


def test_the_csrf_token_does_not_tell_the_token(client):
    assert TOKEN not in client.get("/ask/1").text


def test_a_large_body_is_refused_though_its_length_is_not_told(client):
    chunks = (b"x" * 1000 for _ in range(300))
    assert client.post("/rate/1", content=chunks, headers=posting()).status_code == 413


@pytest.mark.parametrize("number", ["0", "2", "9" * 21, "x", "1/../../etc"])
@pytest.mark.parametrize("page", PAGES)
def test_an_unknown_run_is_not_found(client, page, number):
    assert client.get(f"/{page}/{number}").status_code == 404


@pytest.mark.parametrize("address", ["/", "/rate/1", "/ask/1", "/serve.js", "/nowhere"])
def test_every_answer_forbids_what_the_page_does_not_need(client, address):
    headers = client.get(address).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_the_report_gets_an_origin_of_its_own_and_no_requests(client, run):
    assert client.get("/report/1").status_code == 404
    (run / "report").mkdir()
    (run / "report" / "index.html").write_text("<p>finished", encoding="utf-8")
    answer = client.get("/report/1")
    assert answer.text == "<p>finished"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts;")
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
