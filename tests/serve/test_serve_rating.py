"""Rating is blind, in the rater's own order, and what was chosen is on disk before the next pair is shown."""

import re
from html import unescape

import pytest
from served import MARKER, answer, posting, spoken

from iikata.core.records import plain
from iikata.rating import Ratings
from iikata.run_folder import RunFolder, write_lines
from iikata.serve.run import Run


def page(client, rater="aki"):
    return client.get("/rate/1", params={"rater": rater}).text


def handle(text):
    return re.search(r'name="pair" value="(\w*)"', text)[1]


def choose(client, text, choice, rater="aki"):
    answer = client.post("/rate/1", data={"rater": rater, "pair": handle(text), "choice": choice}, headers=posting())
    assert answer.status_code == 200
    return answer.text


def ratings(run):
    return Ratings(run / "rate" / "ratings.jsonl")


def undo(client):
    return client.post("/rate/1/undo", data={"rater": "aki"}, headers=posting()).text


def far(text):
    done, total = re.search(r"(\d+) / (\d+) <span", text).groups()
    return int(done), int(total)


def shown(text):
    return [unescape(said).strip() for said in re.findall(r'<div class="text" dir="auto">(.*?)</div>', text, re.DOTALL)]


def test_nothing_on_the_page_tells_whose_answers_these_are(client, run):
    text = page(client)
    for _ in range(12):
        assert not re.search(r"alpaca_short|plain\b|\bbase\b|\.s\d|signature|@", text)
        assert MARKER not in text
        assert not any(pair.id in text for pair in Run(run).pairs("aki"))
        text = choose(client, text, "left")


def test_what_was_chosen_is_kept_for_the_side_that_was_shown(client, run):
    for choice in ("left", "right", "tie", "skip"):
        text = page(client)
        pair = next(pair for pair in Run(run).pairs("aki") if pair.id not in ratings(run).of("aki"))
        assert shown(text)[:2] == [pair.left.text, pair.right.text]
        choose(client, text, choice)
        side = {"left": pair.left, "right": pair.right}.get(choice)
        wanted = choice if side is None else "first" if side is pair.first else "second"
        assert ratings(run).of("aki")[pair.id].choice == wanted


def test_a_rater_goes_on_where_she_stopped_and_another_begins_at_the_beginning(client, run):
    total = len(Run(run).pairs("aki"))
    text = page(client)
    for _ in range(3):
        text = choose(client, text, "tie")
    assert far(text) == far(page(client)) == (3, total)
    assert handle(text) == handle(page(client))
    assert far(page(client, "ben")) == (0, len(Run(run).pairs("ben")))
    assert "aki" in client.get("/rate/1").text


def test_undo_shows_the_last_pair_again(client):
    first = page(client)
    second = choose(client, first, "left")
    back = undo(client)
    assert handle(back) == handle(first)
    assert far(back)[0] == 0
    assert handle(choose(client, back, "right")) == handle(second)
    for _ in range(3):
        last = undo(client)
    assert far(last)[0] == 0


def test_a_second_click_on_the_same_pair_changes_nothing(client, run):
    text = page(client)
    after = choose(client, text, "left")
    assert choose(client, text, "right") == after
    assert len(ratings(run).all()) == 1


def test_a_choice_is_kept_though_answers_have_come_since_the_pair_was_shown(client, run):
    store, cells = RunFolder(run), Run(run).ctx.experiment.cells()
    late = {cell: store.answers(cell).read_bytes() for cell in cells}
    for cell in cells:
        store.answers(cell).write_bytes(b"".join(late[cell].splitlines(keepends=True)[-1:]))
    text = page(client)
    for cell in cells:
        store.answers(cell).write_bytes(late[cell])
    assert handle(page(client)) != handle(text)
    assert far(choose(client, text, "left"))[0] == 1


def test_of_another_text_the_pair_is_asked_again(client, run):
    text = page(client)
    done, _ = far(choose(client, text, "left"))
    pair = next(iter(ratings(run).of("aki").values()))
    store, arm = RunFolder(run), pair.first
    changed = [answer(arm, f"p{p}", s, f"{spoken(arm, f'p{p}', s)} changed") for p in range(3) for s in range(2)]
    write_lines(store.answers(arm), map(plain, changed))
    assert (done, far(page(client))[0]) == (1, 0)


def test_after_the_last_pair_there_is_thanks_and_an_undo(client):
    text = page(client)
    total = far(text)[1]
    for _ in range(total):
        text = choose(client, text, "tie")
    assert far(text) == (total, total)
    assert "Everything is rated" in text
    assert 'data-keys="u"' in text
    assert 'data-keys="1"' not in text


def test_equal_answers_leave_nothing_to_rate(client, run):
    for cell in Run(run).ctx.experiment.cells():
        made = [answer(cell, f"p{p}", s, "the same") for p in range(3) for s in range(2)]
        write_lines(RunFolder(run).answers(cell), map(plain, made))
    assert "Nothing to rate yet" in page(client)


@pytest.mark.parametrize("name", ["", "   ", "x" * 41, "a\u202eb", "a\x00b", "a\u200bb"])
def test_a_name_without_visible_characters_is_refused(client, name, run):
    assert 'role="alert">' in client.get("/rate/1", params={"rater": name}).text
    given = {"rater": name, "pair": "", "choice": "tie"}
    assert client.post("/rate/1", data=given, headers=posting()).status_code == 400
    assert not (run / "rate").exists()


@pytest.mark.parametrize("name", ["あき", "山田　花子", "O'Neill <b>", "x" * 40, "../../etc"])
def test_any_visible_name_is_a_rater(client, name, run):
    choose(client, page(client, name), "tie", name)
    assert [rating.rater for rating in ratings(run).all()] == [" ".join(name.split())]
    assert {path.name for path in (run / "rate").iterdir()} == {"ratings.jsonl", "lock"}


def test_an_unknown_choice_is_refused(client, run):
    given = {"rater": "aki", "pair": handle(page(client)), "choice": "first"}
    assert client.post("/rate/1", data=given, headers=posting()).status_code == 400
    assert not (run / "rate").exists()


def test_ratings_are_summed_up_on_a_page_of_their_own(client):
    assert "Nobody has rated yet" in client.get("/ratings/1").text
    text = page(client)
    for _ in range(4):
        text = choose(client, text, "left")
    choose(client, page(client, "ben"), "skip", "ben")
    summed = client.get("/ratings/1").text
    assert "plain@plain" in summed
    assert "Krippendorff" in summed or "two people" in summed
    assert "iikata run" in summed


def test_a_damaged_ratings_file_is_told_by_name_and_line(client, run):
    (run / "rate").mkdir()
    (run / "rate" / "ratings.jsonl").write_text("{}\n")
    answer = client.get("/rate/1", params={"rater": "aki"})
    assert answer.status_code == 500
    assert "ratings.jsonl:1" in answer.text
