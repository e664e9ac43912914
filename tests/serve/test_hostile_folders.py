"""The page holds against the run folder it shows: links out of it, errors that hold secrets, any number of raters."""

import pytest
from served import TOKEN, opened, posting
from starlette.testclient import TestClient

from iikata.cli import main
from iikata.core.errors import IikataError
from iikata.serve.app import app
from iikata.serve.guard import HEADERS
from iikata.serve.question_queue import QuestionQueue
from iikata.serve.run import MOST_RATERS, ServedRun

OUTSIDE = "a line of a file outside the run folder"
SECRET = "hf_sentinel0123456789"
PLACES = (
    "report/index.html", "generate/plain.s0@plain.jsonl", "generate/base@plain.partial.jsonl",
    "train/plain.s0/steps.jsonl", "encode/counts.json", "encode/templates.json", "timing.jsonl", "rate/ratings.jsonl",
    "train/plain.s0/adapter_model.safetensors", "train/plain.s1/DONE",
)  # fmt: skip


@pytest.mark.parametrize("way", ["absolute", "relative"])
@pytest.mark.parametrize("place", PLACES)
def test_a_link_that_leads_out_of_the_folder_is_not_followed(run, client, place, way, tally):
    outside, link = run.parent / "outside.txt", run / place
    outside.write_text(OUTSIDE)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(outside if way == "absolute" else "../" * len(link.relative_to(run).parts) + outside.name)
    pages = ("/", "/browse/1", "/report/1", "/rate/1?rater=a", "/ratings/1", "/ask/1")
    said = [client.get(address) for address in pages]
    said.append(client.post("/rate/1", data={"rater": "aki", "pair": "x", "choice": "tie"}, headers=posting()))
    for answer in said:
        assert OUTSIDE not in answer.text
        assert "leads out of the run folder" in answer.text
    assert outside.read_text() == OUTSIDE
    tally("attacks on the page")


def test_a_folder_with_a_link_out_of_it_is_not_served(run, capsys):
    (run / "report").symlink_to("/etc")
    assert main(["serve", str(run)]) == 1
    assert "leads out of the run folder" in capsys.readouterr().err


def test_links_within_the_folder_and_to_the_folder_are_followed(run, tmp_path):
    (run / "report").mkdir()
    (run / "report" / "finished.html").write_text("<p>finished")
    (run / "report" / "index.html").symlink_to("finished.html")
    (tmp_path / "link").symlink_to(run)
    assert opened(tmp_path / "link").get("/report/1").text == "<p>finished"


def test_an_error_of_the_page_holds_no_secret(client, monkeypatch):
    def fails(*_):
        raise IikataError(f"could not fetch https://me:password@hub.example/x with Bearer {SECRET}\x1b[31m")

    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(ServedRun, "newest", fails)
    monkeypatch.setattr(ServedRun, "pairs", fails)
    for address in ("/", "/browse/1", "/rate/1?rater=aki"):
        said = client.get(address).text
        assert "could not fetch" in said
        assert not [hidden for hidden in (SECRET, "password@", "\x1b") if hidden in said]


def test_a_fault_of_the_page_tells_the_browser_nothing(run, monkeypatch):
    page = app([ServedRun(run)], QuestionQueue(), TOKEN)
    client = TestClient(page, base_url="http://127.0.0.1:8000", raise_server_exceptions=False)
    client.get("/", params={"token": TOKEN})
    monkeypatch.setattr("iikata.serve.asking.page", lambda *_, **__: 1 / 0)
    answer = client.get("/ask/1")
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert {header.lower() for header in HEADERS} <= set(answer.headers)


def test_any_number_of_raters_takes_no_more_memory(run):
    shown = ServedRun(run)
    for number in range(3 * MOST_RATERS):
        shown.pairs(f"rater {number}")
    assert shown._drawn.cache_info().currsize == MOST_RATERS
