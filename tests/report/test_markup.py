"""Texts of a model are shown, never obeyed."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from synthetic_run import HOSTILE

from iikata.core.text import escape
from iikata.report.markup import code, fenced, markdown, shortened, slot, spaced

RENDER = MarkdownIt("commonmark").enable("table").render
TEXTS = st.text(alphabet=st.characters(codec=None, exclude_categories=()), max_size=40) | st.text(
    "`|\\<>&[]()*_#-=+.:!~ \n1a"
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202eb\x00\u200b\ufeff", "a⟨U+202E⟩b⟨U+0000⟩⟨U+200B⟩⟨U+FEFF⟩"),
        ("a\u00ad\U000e0041", "a⟨U+00AD⟩⟨U+E0041⟩"),
        ("色の\n三原色\t", "色の\n三原色\t"),
        ("\ud83d", "⟨U+D83D⟩"),
    ],
)
def test_hidden_characters_are_written_out_and_others_stay(text, shown):
    assert escape(text) == shown


def test_spaces_are_drawn_where_they_count_and_what_is_cut_is_counted():
    assert spaced("a b\n\t\u3000") == "a·b↵\n→\t□"
    assert shortened("A" * 1010, 10) == "AAAAAAAAAA … (+1,000)"


@given(TEXTS)
def test_a_code_span_holds_its_whole_text(text):
    rendered = RENDER(code(text))
    assert (rendered.count("<code>"), rendered.count("<")) == (1, 4), "only <p> and <code>"


@given(TEXTS)
def test_a_slot_stays_in_its_cell(text):
    table = RENDER(f"| a | b |\n|---|---|\n| {slot(text)} | end |\n")
    assert table.count("<td>") == 2
    assert "<td>end</td>" in table


@given(TEXTS)
def test_a_fence_is_not_closed_by_its_text(text):
    rendered = RENDER(fenced(text) + "\n\nafter")
    assert rendered.count("<pre>") == 1
    assert rendered.endswith("<p>after</p>\n")


@given(TEXTS)
@example("- a list")
@example("+ a list")
@example("0)")
@example("12) twelve")
@example("3. three")
@example("12. twelve")
def test_a_line_of_markdown_has_no_markup(text):
    rendered = RENDER(markdown(text)).strip()
    assert rendered.removeprefix("<p>").removesuffix("</p>").count("<") == 0


@pytest.mark.parametrize("text", HOSTILE)
def test_no_way_of_writing_hostile_text_yields_html_of_its_own(text):
    for write in (code, fenced, markdown):
        rendered = RENDER(write(text))
        assert "<script" not in rendered
        assert "<img" not in rendered
        assert 'href="javascript' not in rendered
