"""Browse shows how far a run is from what lies in its folder, while it grows."""

import os

import pytest
from served import HOSTILE, answer, steps, written
from starlette.testclient import TestClient

from iikata.core.errors import IikataError
from iikata.core.io import Appender
from iikata.core.records import Arm, Cell, plain
from iikata.run_folder import RunFolder, write_json, write_lines
from iikata.serve.run import Bar, Run

ARM = Arm("plain", 1)


def bars(run):
    return {bar.stage: (bar.done, bar.todo) for bar in Run(run).bars()}


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(IikataError, match=r"no experiment\.yaml"):
        Run(tmp_path)


def test_stages_are_counted_in_steps_and_answers(run):
    # 4 arms of 2 epochs of 12 rows in batches of 4; 5 arms with the base, 2 templates, 3 probes, 2 samples.
    assert bars(run) == {
        "encode": (2, 2), "train": (24, 24), "generate": (60, 60), "score": (0, 1), "compare": (0, 1), "report": (0, 1),
    }  # fmt: skip


def test_an_arm_in_training_counts_its_steps_and_what_follows_has_not_begun(run):
    store = RunFolder(run)
    (store.arm(ARM) / "DONE").unlink()
    write_lines(store.steps(ARM), map(plain, steps(ARM, 2)))
    assert bars(run)["train"] == (20, 24)
    assert bars(run)["generate"] == (0, 60)


def test_an_arm_that_was_given_up_is_waited_for_no_longer(run):
    store = RunFolder(run)
    write_lines(store.steps(ARM), map(plain, steps(ARM, 2)))
    write_json(store.arm(ARM) / "DONE", {"steps": 2, "stopped": "step 2: loss is nan"})
    assert bars(run)["train"] == (20, 20)
    assert bars(run)["generate"] == (48, 48)
    assert ARM.name not in Run(run).adapters()


def test_answers_that_come_are_counted_a_torn_one_not(run):
    store, cell = RunFolder(run), Cell(ARM, "plain")
    store.answers(cell).rename(store.unfinished_answers(cell))
    with store.unfinished_answers(cell).open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 10)
    assert bars(run)["generate"] == (59, 60)


def test_a_run_that_has_just_begun_is_shown(run, client):
    store = RunFolder(run)
    for path in [store.counts, store.templates, *run.rglob("*.jsonl"), *run.rglob("DONE")]:
        path.unlink()
    assert bars(run)["encode"] == (0, 2)
    assert client.get("/").status_code == 200


def test_the_page_asks_again_until_the_run_is_finished(run, client):
    finish(run)
    text = client.get("/").text
    assert "every 2s" not in text
    assert "/report/1?lang=ja" in text
    finish(run, "check")
    assert "every 2s" in client.get("/browse/1").text


def finish(run, last="report", age=10):
    """Leave what the last stages leave, as many seconds before the newest answer; the log of times ends with `last`."""
    store = RunFolder(run)
    with Appender(store.timing) as file:
        file.add({"stage": last, "seconds": 1.0})
    store.report.mkdir(exist_ok=True)
    then = max(path.stat().st_mtime for path in run.glob("generate/*")) - age
    for path in (store.scores("nll"), store.comparisons, store.report / "index.html"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
        os.utime(path, (then, then))


def test_a_copied_run_has_lost_its_times_and_is_finished_by_its_log(run):
    finish(run)
    assert all(bar.whole for bar in Run(run).bars())


def test_a_stage_done_once_more_leaves_a_finished_run_finished(run):
    finish(run, "train", age=-10)
    assert all(bar.whole for bar in Run(run).bars())


def test_a_run_that_grows_has_its_old_verdict_and_is_not_finished(run):
    finish(run, "generate")
    assert [bar.stage for bar in Run(run).bars() if not bar.whole] == ["score", "compare", "report"]
    finish(run, "score")
    assert [bar.stage for bar in Run(run).bars() if not bar.whole] == ["compare", "report"]


def test_a_run_without_probes_generates_nothing(tmp_path):
    run = written(tmp_path, probes=None)
    finish(run)
    assert "generate" not in bars(run)
    assert all(bar.whole for bar in Run(run).bars())


def test_newest_answers_come_first(run):
    store, cell = RunFolder(run), Cell(ARM, "plain")
    made = [answer(cell, "p0", sample, f"answer {sample}") for sample in range(6)]
    write_lines(store.unfinished_answers(cell), map(plain, made))
    os.utime(store.unfinished_answers(cell), (4e9, 4e9))
    assert [one.text for one in Run(run).newest()] == ["answer 5", "answer 4", "answer 3", "answer 2"]


def test_a_changed_file_is_read_anew(run):
    store, shown = RunFolder(run), Run(run)
    before = shown.losses()
    write_lines(store.steps(ARM), map(plain, steps(ARM, 3)))
    assert shown.losses() != before
    assert len(shown.losses()) == 2


def test_no_probe_file_is_no_fault(run, client):
    (run.parent / "probes.jsonl").unlink()
    assert client.get("/").status_code == 200
    assert client.get("/rate/1?rater=aki").status_code == 200


def test_nothing_to_do_is_not_finished():
    assert not Bar("train", 0, 0).whole


def test_two_runs_stand_side_by_side(run, tmp_path_factory, queue):
    from iikata.serve.app import app

    other = written(tmp_path_factory.mktemp("other"), name="another")
    with TestClient(app([Run(run), Run(other)], queue, "t"), base_url="http://127.0.0.1:8000") as client:
        text = client.get("/?token=t").text
        assert 'id="run-1"' in text
        assert 'id="run-2"' in text
        assert "another" in client.get("/rate/2").text
        assert client.get("/rate/3").status_code == 404


def test_hostile_text_is_escaped(tmp_path, queue):
    from iikata.serve.app import app

    run = written(tmp_path, lambda cell, probe, sample: HOSTILE[sample])
    with TestClient(app([Run(run)], queue, "t"), base_url="http://127.0.0.1:8000") as client:
        for address in ("/?token=t", "/rate/1?rater=aki", "/rate/1?rater=%3Cscript%3Eowned"):
            text = client.get(address).text
            assert "<script>" not in text
            assert "<img" not in text
            assert "<svg onload" not in text


@pytest.mark.parametrize(("accepts", "spoken"), [("ja,en;q=0.5", "ja"), ("en-US", "en"), ("fr", "en")])
def test_the_page_speaks_the_browsers_language_until_another_is_chosen(client, accepts, spoken):
    assert f'<html lang="{spoken}">' in client.get("/", headers={"accept-language": accepts}).text
    client.cookies.set("iikata_language", "ja")
    assert '<html lang="ja">' in client.get("/", headers={"accept-language": accepts}).text


def test_a_run_that_cannot_be_read_is_told_in_its_place(client, run):
    path = RunFolder(run).answers(Cell(ARM, "plain"))
    path.write_text("garbage\n")
    for address in ("/", "/browse/1"):
        found = client.get(address)
        assert found.status_code == 200
        assert "plain.s1@plain.jsonl:1:1: not JSON" in found.text
        assert "This run cannot be read" in found.text


@pytest.mark.parametrize(("address", "language"), [("/?lang=ja", "ja"), ("/?lang=xx", "en"), ("/", "en")])
def test_the_address_may_ask_for_a_language(client, address, language):
    assert f'<html lang="{language}"' in client.get(address).text
