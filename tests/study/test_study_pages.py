"""The study's pages hold no number of their own: they follow the results, and a sentence that does not is named."""

import json
import re
import shutil
from pathlib import Path

import pages
import pytest
import results
from synthetic_study import write

STUDY = Path(__file__).parents[2] / "study"


@pytest.fixture
def folder(tmp_path):
    """The study's own results and pages, to be changed."""
    (tmp_path / "smollm2").mkdir()
    for name in ("smollm2/results.json", "smollm2/reanalysis.json", *pages.PAGES):
        shutil.copy(STUDY / name, tmp_path / name)
    return tmp_path


def changed(folder, change):
    path = folder / "smollm2" / "results.json"
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
    ("change", "said"),
    [
        (lambda found: found["answers"]["template"].update(nll="yes"), "all four answers of SmolLM2 are open"),
        (lambda found: found["pairs"][0].update(verdict="MATTERS"), "no pair is settled by loss"),
        (lambda found: found["price"][0].update(interval=[-0.1, 0.9]), "another template always costs loss"),
        (lambda found: found["rates"].update(at_the_edge=[]), "all four rates lie at the edge"),
    ],
)
def test_a_sentence_that_is_no_longer_so_is_named(folder, change, said):
    changed(folder, change)
    with pytest.raises(SystemExit, match=said):
        pages.pages(folder)


def test_models_that_are_not_run_are_said_so(tmp_path):
    english, japanese = pages.pages(tmp_path).values()
    assert "none of three models are run" in english
    assert english.count("Not run yet. Its [experiment files]") == 3
    assert japanese.count("未実行。[実験ファイル]") == 3


@pytest.mark.long
def test_a_model_that_was_run_fills_its_section(folder):
    given = write(folder / "qwen")
    (given / "results.json").write_text(json.dumps(results.plain(results.results("qwen", given))))
    english, japanese = pages.pages(folder).values()
    assert "two of three models are run; not run yet: Gemma-3-270M.**" in english
    own = english.split("## Qwen2.5-Coder-0.5B-Instruct")[1].split("## Gemma-3-270M")[0]
    assert "Not run yet" not in own
    assert "| does the template matter? | loss on held-out answers | **yes** |" in own
    assert "| was LoRA needed? | multiple choice | **yes** |" in own
    assert "- *Re-analysis*: not done yet." in english
    assert "| テンプレートは影響するか | 保留データの損失 | **はい** |" in japanese
    assert japanese.count("未実行。[実験ファイル]") == 1


@pytest.mark.parametrize("page", pages.PAGES)
def test_what_a_page_shows_is_there(page):
    links = re.findall(r"\]\(([^)#]+)", (STUDY / page).read_text(encoding="utf-8"))
    assert any(link.endswith(".svg") for link in links)
    assert [link for link in links if not (STUDY / link).exists()] == []
