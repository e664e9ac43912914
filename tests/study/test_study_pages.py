"""The study's pages hold no number of their own: they follow the results, and a sentence that does not is named."""

import json
import re
import shutil
from pathlib import Path

import pages
import pytest
import results
from synthetic_study import Case, write

STUDY = Path(__file__).parents[2] / "study"


@pytest.fixture
def folder(tmp_path):
    """The study's own results and pages, to be changed."""
    for model in pages.NAMES:
        (tmp_path / model).mkdir()
        for name in ("results.json", "reanalysis.json"):
            shutil.copy(STUDY / model / name, tmp_path / model / name)
    for name in pages.PAGES:
        shutil.copy(STUDY / name, tmp_path / name)
    return tmp_path


def changed(folder, change, model="smollm2"):
    path = folder / model / "results.json"
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def test_the_committed_pages_are_what_the_results_give(folder):
    assert list(pages.faults(folder)) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["pairs"][2].update(difference=-0.02),
        lambda found: found["price"][0].update(difference=0.5),
        lambda found: found["planted"]["shuffled-30"].update(foretold=0.03),
        lambda found: found["matrix"]["finish"]["base"].update(alpaca=0.45),
        lambda found: found["shares"] and found["power"]["nll"].update(detectable=0.04),
        lambda found: found["doubts"]["lora"]["nll"].update(gate=["live_adapter"]),
    ],
)
def test_a_number_that_differs_is_told_of_both_pages(folder, change):
    changed(folder, change)
    assert [fault.split(":")[0] for fault in pages.faults(folder)] == list(pages.PAGES)


@pytest.mark.parametrize("page", pages.PAGES)
def test_a_number_that_was_typed_is_told(folder, page):
    path = folder / page
    path.write_text(path.read_text(encoding="utf-8").replace("0.461", "0.416", 1), encoding="utf-8")
    assert [fault.split(":")[0] for fault in pages.faults(folder)] == [page]


@pytest.mark.parametrize(
    ("model", "change", "said"),
    [
        ("smollm2", lambda found: found["answers"]["template"].update(nll="yes"), "all four answers of SmolLM2"),
        ("smollm2", lambda found: found["pairs"][0].update(verdict="MATTERS"), "no pair is settled by loss"),
        ("smollm2", lambda found: found["price"][0].update(interval=[-0.1, 0.9]), "another template always costs loss"),
        ("smollm2", lambda found: found["rates"].update(at_the_edge=[]), "all four rates lie at the edge"),
        ("qwen", lambda found: found["answers"]["lora"].update(choice="yes"), "Qwen's answers are open and no, yes"),
        ("qwen", lambda found: found["pairs"][10].update(interval_90=[0, 0.02]), "one pair ends just inside"),
        ("qwen", lambda found: found["untuned"]["finish"].update({"plain+4shots": 0.5}), "examples make answers end"),
        ("qwen", lambda found: found["mixture"][0].update(difference=0.03), "less than any other template"),
    ],
)
def test_a_sentence_that_is_no_longer_so_is_named(folder, model, change, said):
    changed(folder, change, model)
    with pytest.raises(SystemExit, match=said):
        pages.pages(folder)


def test_models_that_are_not_run_are_said_so(tmp_path):
    english, japanese = pages.pages(tmp_path).values()
    assert "none of three models are run" in english
    assert english.count("Not run yet. Its [experiment files]") == 3
    assert japanese.count("未実行。[実験ファイル]") == 3


@pytest.mark.long
@pytest.mark.usefixtures("plain_section")
def test_a_model_that_was_run_fills_its_section(folder):
    shutil.rmtree(folder / "gemma")
    given = write(folder / "gemma", case=Case(effect={"dolly_ja_rinna": 0.04}), model="gemma")
    (given / "results.json").write_text(json.dumps(results.plain(results.results("gemma", given))))
    english, japanese = pages.pages(folder).values()
    assert "**The answer: all three models are run.**" in english
    own = english.split("## Gemma-3-270M")[1].split("## Qwen2.5-Coder-0.5B-Instruct")[0]
    assert "Not run yet" not in english
    assert "| does the template matter? | loss on held-out answers | **yes** |" in own
    assert "| was LoRA needed? | multiple choice | **yes** |" in own
    assert "- *Re-analysis*: not done yet." in english
    assert "| テンプレートは影響するか | 保留データの損失 | **はい** |" in japanese
    assert "未実行。[実験ファイル]" not in japanese


@pytest.mark.parametrize("page", pages.PAGES)
def test_what_a_page_shows_is_there(page):
    links = re.findall(r"\]\(([^)#]+)", (STUDY / page).read_text(encoding="utf-8"))
    assert any(link.endswith(".svg") for link in links)
    assert [link for link in links if not (STUDY / link).exists()] == []
