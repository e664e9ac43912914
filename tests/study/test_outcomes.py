"""A model's page says what its scores say, whatever they say: synthetic studies whose answers are known beforehand."""

import json
import re

import counting
import declare
import pages
import pytest
import results
from synthetic_study import Case, write

WORSE = {"dolly_ja_rinna": 0.04}
CASES = {
    "yes": Case(effect=WORSE),
    "no": Case(effect={}, base=0.452, shown=0.451, gain=0.0, choice_margin=0.09, foreign=0.0),
    "open": Case(effect={}, seed_spread=0.03, base=0.47, shown=0.46, gain=0.03, choice_margin=0.001, foreign=0.01),
    "harm": Case(effect={}, base=0.40, shown=0.40, gain=-0.2, edge=("plain",)),
    "control": Case(effect=WORSE, foretold={"shuffled-10": 0.08, "shuffled-30": -0.06}),
    "seed": Case(effect={"dolly_ja_rinna": 0.03}, of_seed={5: 0.0}),
    "lost": Case(effect=WORSE, lost=(("dolly_ja_rinna", 2), ("dolly_ja", 3))),
    "strata": Case(effect={"dolly_ja_rinna": 0.05, "plain": 0.05}, long_only=True, margin=None),
}
"""Of Gemma, for its rows are split."""
ANSWERS = {
    "yes": {"template": {"nll": "yes", "choice": "no"}, "lora": {"nll": "yes", "choice": "yes"}},
    "no": {"template": {"nll": "no", "choice": "no"}, "lora": {"nll": "no", "choice": "no"}},
    "open": {"template": {"nll": "open", "choice": "open"}, "lora": {"nll": "open", "choice": "open"}},
    "harm": {"template": {"nll": "no", "choice": "open"}, "lora": {"nll": "harm", "choice": "harm"}},
    "lost": {"template": {"nll": "open", "choice": "open"}, "lora": {"nll": "yes", "choice": "open"}},
}
SAID = {
    "yes": (
        "By loss on held-out answers **yes** (nothing to add).",
        "3 are shown to differ (3 by more than the margin), 3 are shown to differ by less than the margin.",
        "| another of the four templates, 12 ways | loss | 12 | 0 | 0 |",
        "Of the four templates' adapters all are shown to be better.",
        "Both questions have an answer by both metrics",
        '"Yes": a difference is shown. "No": the difference is shown to lie within the margin.',
        "差があるのが 3 組（うち許容差を確かに超えるのが 3 組）、差が許容差に収まるのが 3 組。",
        "whether the template matters is answered yes by loss and no by multiple choice, whether LoRA was needed is "
        "answered yes.\n  Between the post",
    ),
    "no": (
        "Of the 6 pairs of templates all are shown to differ by less than the margin.",
        "No other template is seen to make the loss worse.",
        "whether the template matters is answered no, whether LoRA was needed is answered no.\n",
        "  Prompting an adapter with another template than it was trained on changes the loss by −",
        "別のテンプレートで損失が悪くなるとは、どの組み合わせでも言えない。",
        "テンプレートの影響は「なし」、LoRA の必要性は「なし」でした。",
    ),
    "open": (
        "Of the 6 pairs of templates all are open.",
        "both questions are open.\n  Between the post",
        "| the template, by multiple choice | of 6 pairs all are open; 6 seeds and 300 groups of questions find ",
        "| LoRA, by loss | ",
        "どちらの問いもまだ未定です。",
    ),
    "harm": (
        "By loss on held-out answers **no, it did harm** (nothing to add).",
        "By multiple choice **no, it did harm** (learning rate at the edge of the grid: plain).",
        "Of the four templates' adapters all are shown to be worse.",
        "a failed gate: chance (both sides may be guessing)",
        "| the four templates' adapters | loss | 4 | 0 | 0 | +",
        "**At the edge of the grid: plain.** A better rate may lie beyond.",
        "4 つのテンプレートのアダプタの内訳は、悪くなったのが 4 つ。",
        "multiple choice (learning rates at the edge of the grid; a gate failed), whether LoRA was needed is answered "
        "no (it did harm) (learning rates at the edge of the grid).\n  Between the post",
        "(exploratory; learning rates at the edge of the grid).",
    ),
    "control": (
        "By loss on held-out answers **yes** (**a control failed**: shuffled-10, shuffled-30).",
        "**No, 2 failed.**",
        "**not as planned**, too far from what was foretold.",
        "**2 件が計画どおりにならなかった。**",
        "whether LoRA was needed is answered yes (a control failed).",
    ),
    "seed": (
        '(it hangs on one seed: without seed 0, 1, 2, 3 or 4 it is "open"; shown to differ, but by no pair shown',
        "（シード 0、1、2、3、4 のどれかを除くと「未定」に変わる。差は示せたが、許容差 0.",
        "(an answer hangs on one seed), whether LoRA was needed is answered yes.",
    ),
    "lost": (
        "a failed gate: sound_training (an arm was given up, or its loss did not fall)",
        "1 is shown to differ by less than the margin, 5 are not assessable.",
        "- *Nothing to find*: 10 seeds of one template, split in halves in all 126 ways.",
        "満たされなかったゲート: sound_training（学習を打ち切ったか、損失が下がらなかったアームがある）",
    ),
    "strata": (
        '(on rows with long answers alone it is "yes", on the others alone "open").',
        "| 20 characters or more | 50 | yes | yes |",
        "| fewer | 100 | open | yes |",
        "There is no margin, since tuning gained nothing in the pilot",
        "許容差はなく、「同等」とは言わない",
        "回答の長い行だけでは「はい」、ほかの行だけでは「未定」",
    ),
}


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """Return case -> folder of a study of which Gemma alone is run; each is analysed once."""
    made = {}

    def of(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            own = write(folder / "gemma", case=CASES[name], model="gemma")
            (own / "results.json").write_text(json.dumps(results.plain(results.results("gemma", own))))
            made[name] = folder
        return made[name]

    return of


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("plain_section")
def test_each_outcome_is_said_as_it_is(studied, name):
    folder = studied(name)
    assert json.loads((folder / "gemma" / "results.json").read_text())["answers"] == ANSWERS.get(name, ANSWERS["yes"])
    texts = pages.pages(folder) | pages.pages(folder, pages.HEADLINES)
    said = "\n".join(texts.values())
    assert [one for one in SAID[name] if one not in said] == []
    prose = [line.lstrip() for line in said.split("\n") if not line.startswith("    ")]
    assert [line for line in prose if re.search(r"None|nan|\(\)|（）|  | \*$|\.\.(?!/)|\|\|", line)] == []


def in_short(folder, answers, doubts=None, cost=(0.1, 0.2), apart=0.15):
    """Write what a headline reads of models: name -> (template by nll, by choice, lora by nll, by choice)."""
    for name, (one, two, three, four) in answers.items():
        (folder / name).mkdir(exist_ok=True)
        asked = declare.name_of(declare.STUDIES[name].asked)
        found = {
            "model": name,
            "loss": None,
            "answers": {"template": {"nll": one, "choice": two}, "lora": {"nll": three, "choice": four}},
            "doubts": {"template": {"nll": (doubts or {}).get(name, {})}, "lora": {}},
            "rates": {"at_the_edge": (doubts or {}).get(name, {}).get("edge", [])},
            "pairs": [{"metric": "nll", "difference": one} for one in (0.01, -apart, None)],
            "price": [
                {"metric": "nll", "prompted_with": to, "difference": size, "interval": [size - 0.05, size + 0.05]}
                for to, size in (("a", cost[0]), ("b", cost[1]), (asked, 9.0))
            ],
        }
        (folder / name / "results.json").write_text(json.dumps(found))
    english, japanese = (" ".join(text.split()) for text in pages.pages(folder, pages.HEADLINES).values())
    return english, japanese


def test_the_headline_holds_one_two_or_three_models(tmp_path):
    assert in_short(tmp_path, {})[0] == "None of the three planned models is run yet."
    cost = "Prompting an adapter with another template than it was trained on costs 0.100 to 0.200 bits per byte"
    edge = {"smollm2": {"edge": ["native"]}, "gemma": {"seed": {"3": "open"}}, "qwen": {}}
    first = {"smollm2": ("open",) * 4}
    of_first = (
        "- **SmolLM2-135M**: both questions are open (learning rates at the edge of the grid). "
        f"{cost} (exploratory; learning rates at the edge of the grid)."
    )
    assert in_short(tmp_path, first, edge)[0] == f"One of three planned models is run. {of_first}"
    two = first | {"gemma": ("yes", "open", "no", "no")}
    of_second = (
        "- **Gemma-3-270M**: whether the template matters is answered yes by loss and open by multiple choice (an "
        f"answer hangs on one seed), whether LoRA was needed is answered no. {cost} (exploratory)."
    )
    assert in_short(tmp_path, two, edge)[0] == f"Two of three planned models are run. {of_first} {of_second}"
    english, japanese = in_short(tmp_path, two | {"qwen": ("open", "yes", "harm", "open")}, edge)
    assert english == (
        f"All three planned models are run. {of_first} {of_second} - **Qwen2.5-Coder-0.5B**: whether the template "
        "matters is open by loss and answered yes by multiple choice, whether LoRA was needed is answered no (it did "
        f"harm) by loss and open by multiple choice. {cost} (exploratory)."
    )
    assert "**SmolLM2-135M**：どちらの問いもまだ未定です（学習率は探索範囲の端）。" in japanese
    assert (
        "影響は損失では「あり」、択一問題では「未定」（シード 1 個で変わる答えがある）、LoRA の必要性は「なし」で"
        in japanese
    )
    assert "LoRA の必要性は損失では「なし」（むしろ悪化）、択一問題では「未定」でした。学習と違う" in japanese


def test_what_costs_is_said_to_cost_only_where_each_way_is_shown_to(tmp_path):
    own = {"qwen": ("no",) * 4}
    assert "costs 0.100 to 0.200 bits" in in_short(tmp_path, own)[0]
    assert "changes the loss by +0.010 to +0.200 bits" in in_short(tmp_path, own, cost=(0.01, 0.2))[0]


def test_that_asking_otherwise_costs_more_than_the_template_is_said_only_where_it_is_so_in_each_model(tmp_path):
    two = {"gemma": ("yes",) * 4, "qwen": ("no",) * 4}
    said = "In each, by loss, prompting an adapter with another of its four templates than it was trained on costs more"
    assert said in in_short(tmp_path, two, apart=0.09)[0]
    assert "その幅はテンプレートどうしの差より大きく" in in_short(tmp_path, two, apart=0.09)[1]
    assert (
        "Gemma-3-270M's learning rates at the edge"
        in in_short(tmp_path, two, {"gemma": {"edge": ["a"]}}, apart=0.09)[0]
    )
    assert said not in in_short(tmp_path, two, apart=0.11)[0]
    assert said not in in_short(tmp_path, two, cost=(0.04, 0.2), apart=0.01)[0]


def test_an_answer_that_a_seed_turns_is_told_so_in_its_sentence_open_or_not(tmp_path):
    turned = {"qwen": {"seed": {"0": "no"}}}
    for answers in (("open",) * 4, ("yes", "open", "no", "no")):
        assert "(an answer hangs on one seed)" in in_short(tmp_path, {"qwen": answers}, turned)[0]
        assert "hangs" not in in_short(tmp_path, {"qwen": answers})[0]


def row(difference, interval=None, verdict="INCONCLUSIVE", metric="nll"):
    return {"metric": metric, "difference": difference, "interval": interval, "verdict": verdict}


def test_comparisons_are_counted_by_verdict_and_by_the_side_of_their_interval():
    verdicts = {0.1: "MATTERS", -0.1: "MATTERS", 0.0: "SMALL", None: "NOT_ASSESSABLE"}
    rows = [row(difference, verdict=verdict) for difference, verdict in verdicts.items()]
    assert counting.tally(rows) == {"differ": 2, "equal": 1, "unknown": 1}
    assert counting.tally(rows, signed=True) == {"better": 1, "worse": 1, "equal": 1, "unknown": 1}
    assert counting.tally([row(0.1, verdict="MATTERS", metric="choice")], signed=True) == {"better": 1}
    seen = [row(0.2, [0.1, 0.3]), row(0.3, [-0.1, 0.7]), row(-0.2, [-0.3, -0.1]), row(0.1, None)]
    assert counting.signs(seen) == {"worse": 1, "better": 1, "neither": 2}
    assert counting.shown_worst(seen) == seen[0]
    assert counting.shown_worst(seen[1:]) is None
    assert counting.farthest([row(None), row(0.1), row(-0.2)]) == row(-0.2)
    assert counting.farthest([row(None)]) is None


def test_ranges_are_written_once_where_both_ends_read_the_same():
    known = counting.written(" to ")
    assert known["span"]([0.0, 0.0], "finish") == "0.0%"
    assert known["changes"]([0.02, -0.01, None], "nll") == "−0.010 to +0.020"
    assert known["sizes"]([-0.02, 0.01], "choice") == "1.0 pt to 2.0 pt"
    assert known["i"](None, "nll") == "– to –"


def test_rates_at_which_an_arm_failed_are_no_rate_for_all():
    rates = {"means": {"a": {"1e-3": 0.5, "0.01": 0.4}, "b": {"1e-3": 0.7}}}
    assert counting.whole({"1e-3": ["a", "b"], "0.01": ["a"]}) == {"1e-3": ["a", "b"]}
    assert counting.apart(rates, "1e-3") == pytest.approx(0.2)
    assert counting.apart(rates, {"a": "0.01", "b": "1e-3"}) == pytest.approx(0.3)
