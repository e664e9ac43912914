"""Browse shows how far a run is from the files in its folder, while it grows."""

import os

import pytest
from served import HOSTILE, answer, opened, steps, written

from iikata.core.errors import IikataError
from iikata.core.io import Appender
from iikata.core.records import Arm, Cell, plain
from iikata.run_folder import RunFolder, write_json, write_lines
from iikata.serve.run import Bar, ServedRun

ARM, CELL = Arm("plain", 1), Cell(Arm("plain", 1), "plain")


def bars(run):
    return {bar.stage: (bar.done, bar.todo) for bar in ServedRun(run).bars()}


def unfinished(run):
    return [bar.stage for bar in ServedRun(run).bars() if not bar.finished]


def finish(run, last="report", age=10):
    """Leave what the last stages leave, as many seconds before the newest answer; the log of times ends with `last`."""
    store = RunFolder(run)
    with Appender(store.timing) as file:
        file.add({"stage": last, "seconds": 1.0})
    then = max(path.stat().st_mtime for path in run.glob("generate/*")) - age
    for path in (store.scores("nll"), store.comparisons, store.report / "index.html"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
        os.utime(path, (then, then))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(IikataError, match=r"no experiment\.yaml"):
        ServedRun(tmp_path)


def test_stages_are_counted_in_steps_and_answers(run):
    # 4 arms of 2 epochs of 12 rows in batches of 4; 5 arms with the base, 2 templates, 3 probes, 2 samples.
    assert bars(run) == {
        "encode": (2, 2), "train": (24, 24), "generate": (60, 60), "score": (0, 1), "compare": (0, 1), "report": (0, 1),
    }  # fmt: skip
    assert not Bar("train", 0, 0).finished


def test_an_arm_in_training_counts_its_steps_and_what_follows_has_not_begun(run):
    store = RunFolder(run)
    (store.arm(ARM) / "DONE").unlink()
    write_lines(store.steps(ARM), map(plain, steps(ARM, 2)))
    assert (bars(run)["train"], bars(run)["generate"]) == ((20, 24), (0, 60))


def test_an_arm_that_was_given_up_is_waited_for_no_longer(run):
    store = RunFolder(run)
    write_lines(store.steps(ARM), map(plain, steps(ARM, 2)))
    write_json(store.arm(ARM) / "DONE", {"steps": 2, "stopped": "step 2: loss is nan"})
    assert (bars(run)["train"], bars(run)["generate"]) == ((20, 20), (48, 48))
    assert ARM.name not in ServedRun(run).adapters()


def test_answers_that_come_are_counted_a_torn_one_not(run):
    store = RunFolder(run)
    store.answers(CELL).rename(store.unfinished_answers(CELL))
    with store.unfinished_answers(CELL).open("r+b") as file:
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


@pytest.mark.parametrize(
    ("last", "age", "wanted"),
    [
        ("report", 10, []),  # a copied run has lost its files' times, not its log
        ("train", -10, []),  # a stage done once more leaves a finished run finished
        ("generate", 10, ["score", "compare", "report"]),  # the run has grown: its verdict is old
        ("score", 10, ["compare", "report"]),
    ],
)
def test_a_stage_is_done_by_the_log_of_times_or_by_its_files_time(run, last, age, wanted):
    finish(run, last, age)
    assert unfinished(run) == wanted


def test_a_run_without_probes_generates_nothing(tmp_path):
    run = written(tmp_path, probes=None)
    finish(run)
    assert "generate" not in bars(run)
    assert unfinished(run) == []


def test_newest_answers_come_first(run):
    path = RunFolder(run).unfinished_answers(CELL)
    write_lines(path, [plain(answer(CELL, "p0", sample, f"answer {sample}")) for sample in range(6)])
    os.utime(path, (4e9, 4e9))
    assert [one.text for one in ServedRun(run).newest()] == ["answer 5", "answer 4", "answer 3", "answer 2"]


def test_a_changed_file_is_read_again(run):
    shown = ServedRun(run)
    before = shown.losses()
    write_lines(RunFolder(run).steps(ARM), map(plain, steps(ARM, 3)))
    assert shown.losses() != before


def test_no_probe_file_is_no_fault(run, client):
    (run.parent / "probes.jsonl").unlink()
    assert client.get("/").status_code == client.get("/rate/1?rater=aki").status_code == 200


def test_two_runs_are_side_by_side(run, tmp_path_factory):
    client = opened(run, written(tmp_path_factory.mktemp("other"), name="another"))
    text = client.get("/").text
    assert 'id="run-1"' in text
    assert 'id="run-2"' in text
    assert "another" in client.get("/rate/2").text
    assert client.get("/rate/3").status_code == 404


def test_hostile_text_is_escaped(tmp_path):
    client = opened(written(tmp_path, lambda cell, probe, sample: HOSTILE[sample]))
    for address in ("/", "/rate/1?rater=aki", "/rate/1?rater=%3Cscript%3Eowned"):
        text = client.get(address).text
        assert not [tag for tag in ("<script>", "<img", "<svg onload") if tag in text]


@pytest.mark.parametrize(
    ("address", "accepts", "cookie", "language"),
    [
        ("/", "ja,en;q=0.5", "", "ja"),
        ("/", "en-US", "", "en"),
        ("/", "fr", "", "en"),
        ("/", "en-US", "ja", "ja"),
        ("/?lang=ja", "en-US", "en", "ja"),
        ("/?lang=xx", "en-US", "", "en"),
    ],
)
def test_the_language_is_the_addresss_then_the_one_chosen_before_then_the_browsers(
    client, address, accepts, cookie, language
):
    client.cookies.set("iikata_language", cookie)
    assert f'<html lang="{language}">' in client.get(address, headers={"accept-language": accepts}).text


def test_a_run_that_cannot_be_read_is_told_in_its_place(client, run):
    RunFolder(run).answers(CELL).write_text("garbage\n")
    for address in ("/", "/browse/1"):
        found = client.get(address)
        assert found.status_code == 200
        assert "plain.s1@plain.jsonl:1" in found.text
        assert "This run cannot be read" in found.text
