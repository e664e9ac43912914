"""Only whoever was given this start's token reaches the page, and only the page itself changes anything."""

import pytest
from served import ADDRESS, TOKEN, posting

ADDRESSES = ("/", "/browse/1", "/report/1", "/rate/1", "/ratings/1", "/ask/1", "/serve.js", "/htmx.js", "/nowhere")
RATING = {"rater": "aki", "pair": "", "choice": "tie"}


@pytest.mark.parametrize("address", ADDRESSES)
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


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], f"{TOKEN}x", "日本"])
def test_another_token_is_refused(stranger, token):
    answer = stranger.get("/", params={"token": token})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_the_cookie_of_another_port_is_not_taken(stranger):
    assert stranger.get("/", cookies={"iikata_token_9999": TOKEN}).status_code == 403


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com", "0.0.0.0:8000", "[::1]:8000", ""])
def test_a_foreign_name_that_points_here_is_refused(client, host):
    assert client.get("/", headers={"host": host}).status_code == 400


def test_localhost_is_a_name_of_this_machine(client):
    assert client.get(
        "/serve.js", headers={"host": "localhost:8000", "cookie": f"iikata_token_8000={TOKEN}"}
    ).is_success


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": ADDRESS},
        posting(**{"x-csrf-token": "wrong"}),
        posting(origin="http://127.0.0.1:9999"),
        posting(origin="null"),
        posting(origin="https://example.com"),
        {"x-csrf-token": posting()["x-csrf-token"]},
    ],
)
@pytest.mark.parametrize("address", ["/rate/1", "/rate/1/undo", "/ask/1"])
def test_a_post_that_does_not_come_from_the_page_is_refused(client, run, address, headers):
    assert client.post(address, data=RATING, headers=headers).status_code == 403
    assert not (run / "rate").exists()


def test_a_post_needs_the_cookie_too(stranger):
    assert stranger.post("/rate/1", data=RATING, headers=posting()).status_code == 403


def test_the_csrf_token_does_not_tell_the_token(client):
    assert TOKEN not in client.get("/ask/1").text


def test_a_large_body_is_refused(client):
    body = {**RATING, "pair": "x" * (1 << 18)}
    assert client.post("/rate/1", data=body, headers=posting()).status_code == 413
    chunks = (b"x" * 1000 for _ in range(300))
    assert client.post("/rate/1", content=chunks, headers=posting()).status_code == 413


@pytest.mark.parametrize("body", [b"\xff\xfe", b"rater=%ff%fe", "&".join(f"a{i}=1" for i in range(2000)).encode()])
def test_a_body_that_is_no_form_is_refused(client, body):
    assert client.post("/rate/1", content=body, headers=posting()).status_code == 400


@pytest.mark.parametrize("number", ["0", "2", "999999999999999999999", "-1", "x", "%2e%2e%2f", "1/../../etc"])
@pytest.mark.parametrize("page", ["browse", "report", "rate", "ratings", "ask"])
def test_an_unknown_run_is_not_found(client, page, number):
    assert client.get(f"/{page}/{number}").status_code == 404


@pytest.mark.parametrize(
    "address", ["/static", "/static/", "/page.html.jinja", "/words.json", "/%2e%2e/run.py", "/run.py"]
)
def test_there_is_no_folder_to_look_through(client, address):
    assert client.get(address).status_code == 404


@pytest.mark.parametrize("address", ["/", "/rate/1", "/ask/1", "/serve.js", "/nowhere"])
def test_every_answer_forbids_what_the_page_does_not_need(client, address):
    headers = client.get(address).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
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
    assert policy.startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
