"""Rating is blind, in the rater's own order, and what was chosen is on disk before the next pair is shown."""

import re
from html import unescape

import pytest
from served import MARKER, answer, posting, spoken

from iikata.core.records import plain
from iikata.rating import Ratings
from iikata.run_folder import RunFolder, write_lines
from iikata.serve.run import ServedRun


class Rater:
    """Somebody with the page before her."""

    def __init__(self, client, name="aki"):
        self.client, self.name = client, name
        self.open()

    def open(self):
        self.text = self.client.get("/rate/1", params={"rater": self.name}).text
        return self

    def post(self, choice, handle=None):
        given = {"rater": self.name, "pair": handle or self.handle, "choice": choice}
        return self.client.post("/rate/1", data=given, headers=posting())

    def choose(self, *choices, handle=None):
        for choice in choices:
            self.text = self.post(choice, handle).text
        return self

    def undo(self):
        self.text = self.client.post("/rate/1/undo", data={"rater": self.name}, headers=posting()).text

    @property
    def handle(self):
        found = re.search(r'name="pair" value="(\w*)"', self.text)
        return found[1] if found else ""

    @property
    def far(self):
        return tuple(map(int, re.search(r"(\d+) / (\d+) <span", self.text).groups()))

    @property
    def shown(self):
        return [unescape(said).strip() for said in re.findall(r'<div class="text" dir="auto">(.*?)</div>', self.text)]


@pytest.fixture
def aki(client):
    return Rater(client)


@pytest.fixture
def kept(run):
    return Ratings(run / "rate" / "ratings.jsonl")


def rewrite(run, cell, said):
    lines = [answer(cell, f"p{p}", s, said(cell, f"p{p}", s)) for p in range(3) for s in range(2)]
    write_lines(RunFolder(run).answers(cell), map(plain, lines))


def test_nothing_on_the_page_tells_whose_answers_these_are(aki, run):
    for _ in range(12):
        assert not re.search(r"alpaca_short|plain\b|\bbase\b|\.s\d|signature|@", aki.text)
        assert MARKER not in aki.text
        assert not any(pair.id in aki.text for pair in ServedRun(run).pairs("aki"))
        aki.choose("left")


def test_what_was_chosen_is_kept_for_the_side_that_was_shown(aki, run, kept):
    for choice in ("left", "right", "tie", "skip"):
        pair = next(pair for pair in ServedRun(run).pairs("aki") if pair.id not in kept.of("aki"))
        assert aki.shown[:2] == [pair.left.text, pair.right.text]
        aki.choose(choice)
        side = {"left": pair.left, "right": pair.right}.get(choice)
        wanted = choice if side is None else "first" if side is pair.first else "second"
        assert kept.of("aki")[pair.id].choice == wanted


def test_a_rater_goes_on_where_she_stopped_and_another_begins_at_the_beginning(aki, client, run):
    aki.choose("tie", "tie", "tie")
    again, ben = Rater(client), Rater(client, "ben")
    assert again.far == aki.far == (3, len(ServedRun(run).pairs("aki")))
    assert again.handle == aki.handle
    assert ben.far == (0, len(ServedRun(run).pairs("ben")))
    assert "aki" in client.get("/rate/1").text


def test_undo_shows_the_last_pair_again(aki):
    first, second = aki.handle, aki.choose("left").handle
    aki.undo()
    assert (aki.handle, aki.far[0]) == (first, 0)
    assert aki.choose("right").handle == second
    for _ in range(3):
        aki.undo()
    assert aki.far[0] == 0


def test_a_second_click_on_the_same_pair_changes_nothing(aki, kept):
    first, after = aki.handle, aki.choose("left").text
    assert aki.choose("right", handle=first).text == after
    assert len(kept.all()) == 1


def test_a_choice_is_kept_though_answers_have_come_since_the_pair_was_shown(client, run):
    files = [RunFolder(run).answers(cell) for cell in ServedRun(run).ctx.experiment.cells()]
    late = {file: file.read_bytes() for file in files}
    for file in files:
        file.write_bytes(b"".join(late[file].splitlines(keepends=True)[-1:]))
    early = Rater(client)
    for file in files:
        file.write_bytes(late[file])
    assert Rater(client).handle != early.handle
    assert early.choose("left").far[0] == 1


def test_of_another_text_the_pair_is_asked_again(aki, run, kept):
    assert aki.choose("left").far[0] == 1
    [pair] = kept.of("aki").values()
    rewrite(run, pair.first, lambda *place: f"{spoken(*place)} changed")
    assert aki.open().far[0] == 0


def test_after_the_last_pair_there_is_thanks_and_an_undo(aki):
    total = aki.far[1]
    assert aki.choose(*["tie"] * total).far == (total, total)
    assert "Everything is rated" in aki.text
    assert 'data-keys="u"' in aki.text
    assert 'data-keys="1"' not in aki.text


def test_equal_answers_leave_nothing_to_rate(aki, run):
    for cell in ServedRun(run).ctx.experiment.cells():
        rewrite(run, cell, lambda *place: "the same")
    assert "Nothing to rate yet" in aki.open().text


@pytest.mark.parametrize("name", ["", "   ", "x" * 41, "a\u202eb", "a\x00b", "a\u200bb"])
def test_a_name_without_visible_characters_is_refused(client, name, run):
    nobody = Rater(client, name)
    assert 'role="alert">' in nobody.text
    assert nobody.post("tie").status_code == 400
    assert not (run / "rate").exists()


@pytest.mark.parametrize("name", ["あき", "山田　花子", "O'Neill <b>", "x" * 40, "../../etc"])
def test_any_visible_name_is_a_rater(client, name, run, kept):
    Rater(client, name).choose("tie")
    assert [rating.rater for rating in kept.all()] == [" ".join(name.split())]
    assert {path.name for path in (run / "rate").iterdir()} == {"ratings.jsonl", "lock"}


def test_an_unknown_choice_is_refused(aki, run):
    assert aki.post("first").status_code == 400
    assert not (run / "rate").exists()


def test_ratings_are_summed_up_on_a_page_of_their_own(aki, client):
    assert "Nobody has rated yet" in client.get("/ratings/1").text
    aki.choose(*["left"] * 4)
    Rater(client, "ben").choose("skip")
    summed = client.get("/ratings/1").text
    assert "plain@plain" in summed
    assert "Krippendorff" in summed or "two people" in summed
    assert "iikata run" in summed


def test_a_damaged_ratings_file_is_told_by_name_and_line(client, kept):
    kept.path.parent.mkdir()
    kept.path.write_text("{}\n")
    answer = client.get("/rate/1", params={"rater": "aki"})
    assert (answer.status_code, "ratings.jsonl:1" in answer.text) == (500, True)
