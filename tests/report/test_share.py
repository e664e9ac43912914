"""The card says the verdict in a picture, and pictures are drawn as PNG or it is told why not."""

import os
import re
import struct
import sys
from dataclasses import replace
from functools import partial
from xml.etree import ElementTree

import pytest
from synthetic_run import HOSTILE_NAME, hostile, run

from iikata.core import VERSION
from iikata.report import picture, write
from iikata.report.pages import pages
from iikata.report.share import COLUMN, ROOM, SIZES, cut, ems, fitted, wrapped

SVG = "{http://www.w3.org/2000/svg}"
LANGUAGES = ("en", "ja")


@pytest.fixture(scope="module")
def data():
    return replace(run(probes=4), model="SmolLM2-135M-Instruct", data=["dolly_ja.jsonl"])


@pytest.fixture(scope="module")
def cards(data):
    made = pages(data)
    return {language: ElementTree.fromstring(made[f"card_{language}.svg"]) for language in LANGUAGES}


@pytest.fixture
def resvg():
    if "CI" in os.environ:
        import resvg_py
    else:
        resvg_py = pytest.importorskip("resvg_py", reason="PNGs are not drawn: resvg-py is missing")
    seen = picture._seen
    seen.cache_clear()
    if why := picture.lacking("A"):
        pytest.skip(why)
    yield resvg_py
    seen.cache_clear()


def said(card):
    return " ".join("".join(text.itertext()) for text in card.iter(f"{SVG}text"))


def test_a_card_says_questions_answers_numbers_margin_and_what_they_rest_on(cards, data):
    verdict = data.comparisons["verdict"]
    english = ("Does the template matter?", "Was LoRA needed?", "LoRA-tuned on dolly_ja.jsonl", "held-out rows: 3 × 24")
    japanese = ("テンプレートは結果に影響するか？", "LoRA は必要だったか？", "検証行: 3 × 24", "許容差 ±0.020")
    for language, words in (("en", english), ("ja", japanese)):
        text, (first, _, last) = said(cards[language]), verdict[f"short_{language}"].split("\n")
        for wanted in (*words, first, "SmolLM2-135M-Instruct", "rinna − native", "+0.013 [−0.003, +0.029]", VERSION):
            assert wanted in text
        assert last.replace(" ", "") in text.replace(" ", "")
        assert cards[language].find(f"{SVG}desc").text == " ".join((words[0], first, words[1], last))
        assert cards[language].get("aria-labelledby").split()[1] == cards[language].find(f"{SVG}desc").get("id")


def test_the_points_of_a_card_lie_where_the_ticks_say(cards, data):
    left = cards["en"].findall(f"{SVG}svg")[0]
    x = float(left.find(f"{SVG}circle").get("cx").rstrip("%"))
    marks = [t for t in cards["en"].iter(f"{SVG}text") if t.get("y") == "556" and float(t.get("x")) <= 60 + COLUMN]
    (at0, low), (at1, high) = ((float(t.get("x")), float(t.text.replace("−", "-"))) for t in (marks[0], marks[-1]))
    matched = (c for c in data.comparisons["comparisons"] if c["question"] == "matched" and c["metric"] == "nll")
    difference = next(c["difference"] for c in matched if c["treatment"]["trained_on"] == "rinna")
    assert 60 + COLUMN * x / 100 == pytest.approx(at0 + (at1 - at0) * (difference - low) / (high - low), abs=0.1)


def test_hostile_names_are_inert_on_a_card():
    card = ElementTree.fromstring(pages(replace(hostile(), model=HOSTILE_NAME, data=[HOSTILE_NAME] * 3))["card_ja.svg"])
    ours = {"svg", "title", "desc", "style", "rect", "text", "tspan", "line", "circle"}
    assert {node.tag.removeprefix(SVG) for node in card.iter()} <= ours
    assert "\u202e" not in said(card)


@pytest.mark.parametrize("width", [4, 9.5, 16, 40])
def test_lines_hold_all_of_the_text_and_are_not_too_wide(width):
    texts = (
        "Yes: alpaca beats rinna by 0.298 bits per byte (0.154 to 0.442), more than your margin of 0.1.",
        "影響します。alpaca は rinna より 0.298 ビット/バイト 良い（0.154〜0.442）。許容差 0.1 を超えます。",
        "a_name_without_any_blank" * 4,
        "",
    )
    for text in texts:
        lines = list(wrapped(text, width))
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert all(ems(line) <= width or len(line) == 1 for line in lines)
        assert not [line for line in lines if width > 9 and line[0] in "。〜、）ッ"]


def test_an_answer_of_any_length_fits_its_room_and_says_where_it_was_cut():
    for text in ("Yes.", "word " * 28, "長" * 140, "word " * 400):
        size, [lines] = fitted([text], COLUMN, ROOM)
        assert len(lines) * size * 1.35 <= ROOM
        assert lines[-1].endswith("…") == (len(text) > 500)
    assert fitted(["Yes."], COLUMN, ROOM)[0] == SIZES[0]
    assert fitted(["Yes.", "word " * 28], COLUMN, ROOM)[0] < SIZES[0], "both answers have the same letters"
    assert [cut("abc", 9), cut("abc def", 3), cut("", 3)] == ["abc", "abc…", ""]


def test_every_picture_is_drawn_as_png_too(data, tmp_path, resvg):
    told = []
    paths = write(data, tmp_path, told.append)
    without = {"card_ja.png"} if picture.lacking("言") else set()
    assert len(told) == len(without)
    drawn = {path.relative_to(tmp_path).as_posix(): path for path in paths if path.suffix == ".png"}
    plots = {"plots/forest.png", "plots/loss.png", "plots/held_out.png"}
    assert set(drawn) == {"card_en.png", "card_ja.png", *plots} - without
    for name, path in drawn.items():
        content, svg = path.read_bytes(), ElementTree.parse(path.with_suffix(".svg")).getroot()
        assert content[:8] == b"\x89PNG\r\n\x1a\n"
        scale = 1 if name.startswith("card") else 2
        wanted = [scale * int(svg.get(side)) for side in ("width", "height")]
        assert list(struct.unpack(">II", content[16:24])) == wanted
    assert struct.unpack(">II", drawn["card_en.png"].read_bytes()[16:24]) == (1200, 630)


def test_an_empty_box_in_place_of_a_letter_is_no_letter(resvg):
    assert picture._seen("A")
    assert not picture._seen("\u0378")  # assigned to nothing; most fonts draw a box


def test_without_fonts_or_resvg_it_is_told_what_to_do_and_no_old_picture_stays(data, tmp_path, resvg, monkeypatch):
    write(data, tmp_path)
    picture._seen.cache_clear()
    monkeypatch.setattr(resvg, "svg_to_bytes", partial(resvg.svg_to_bytes, skip_system_fonts=True))
    told = []
    write(data, tmp_path, told.append)
    assert not [*tmp_path.rglob("*.png")]
    assert re.fullmatch(r"report: without card_en.png, .*: this machine has no font: install .*", told[0])
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    write(data, tmp_path, told.append)
    assert "pip install resvg-py" in told[1]


def test_where_only_japanese_letters_are_missing_the_english_pictures_are_drawn(data, tmp_path, monkeypatch, resvg):
    seen = picture._seen
    monkeypatch.setattr(picture, "_seen", lambda character: character == "A" and seen(character))
    told = []
    drawn = {path.name for path in write(data, tmp_path, told.append) if path.suffix == ".png"}
    assert drawn == {"card_en.png", "forest.png", "loss.png", "held_out.png"}
    assert "without card_ja.png: this machine has no Japanese font" in told[0]
    assert len(told) == 1


def test_the_page_names_its_card_to_who_shows_previews(data, cards):
    made = pages(data)
    found = dict(re.findall(r'<meta (?:property|name)="([^"]+)" content="([^"]*)"', made["index.html"]))
    assert found["og:image"].replace(".png", ".svg") in made
    assert found["og:image:alt"] == cards["en"].find(f"{SVG}desc").text
    assert (found["og:image:width"], found["og:image:height"]) == ("1200", "630")
