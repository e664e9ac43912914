"""nll is over the row's own answer: what a template writes around it is given, and counted apart."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
import oracle
from iikata.core.errors import IikataError
from iikata.core.records import Example
from iikata.score.nll import held_out_nll
from iikata.templates import TEMPLATES, native
from iikata.tokenize import encode, end_id, load_tokenizer, writes

THINK = "<think>\\n\\n</think>\\n\\n"
TURN = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
ANSWERED = TURN + "{% if m.role == 'assistant' %}" + THINK + "{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
ASKED = "{% if add_generation_prompt %}<|im_start|>assistant\n"
GIVEN = native((ANSWERED + ASKED + THINK + "{% endif %}").replace("\\n", "\n"), {})
WRITTEN = native((ANSWERED + ASKED + "{% endif %}").replace("\\n", "\n"), {})
"""The same finished text; the empty think block is prompted, or for the model to write (Qwen3 without thinking)."""
WORDS = st.text(st.sampled_from("a the 6 富士山です。\n :<>"), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def cell(llama_folder):
    return models.opened(llama_folder), load_tokenizer(llama_folder), oracle.plain(llama_folder)


def scored(cell, template, *rows):
    return list(held_out_nll(cell[0], None, rows, template, cell[1], (), 900, 900))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(WORDS, WORDS)
def test_templates_of_equal_text_and_answer_tokens_have_equal_nll(cell, instruction, output):
    row = Example("r", instruction, "", output)
    one, other = (encode(row, template, cell[1], 900) for template in (GIVEN, WRITTEN))
    (given,), (written,) = scored(cell, GIVEN, row), scored(cell, WRITTEN, row)
    if one.input_ids == other.input_ids and not (one.straddles or other.straddles):
        assert given.nll == pytest.approx(written.nll, abs=1e-5, nan_ok=True)
    if not math.isnan(given.nll):
        assert given.nll_template == 0 < written.nll_template


def test_the_answers_bits_the_templates_and_the_ends_are_transformers_own(cell):
    row = Example("r", "2+4?", "", "The sum is 6")
    encoded = encode(row, WRITTEN, cell[1], 900)
    assert (encoded.completion, encoded.answer) == ("<think>\n\n</think>\n\nThe sum is 6", "The sum is 6")
    bits = (oracle.token_losses(cell[2], encoded).detach() / math.log(2)).tolist()
    start = len(cell[1].ids(THINK.replace("\\n", "\n")))
    (found,) = scored(cell, WRITTEN, row)
    assert found.nll_template == pytest.approx(sum(bits[:start]), rel=1e-5)
    assert found.nll == pytest.approx(sum(bits[start:-1]) / len("The sum is 6"), rel=1e-5)
    assert found.nll_end == pytest.approx(bits[-1], rel=1e-5)


BLANKS = native(
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %}  {{ m.content }} <|endoftext|>{% endif %}{% endfor %}",
    {},
)


def test_blanks_around_an_answer_are_trained_and_one_that_joins_its_first_word_is_counted(cell):
    encoded = encode(Example("r", "Why?", "", "the sum"), BLANKS, cell[1], 900)
    own = [(role, cell[1].token(id)) for role, id in zip(encoded.roles, encoded.input_ids, strict=True)][-7:]
    assert [role for role, _ in own] == ["prompt", "written", *["answer"] * 3, "written", "end"]
    assert [text for _, text in own][1:] == [" ", " the", " ", "sum", " ", "<|endoftext|>"]
    assert encoded.completion_mask[-7:] == (False, *[True] * 6)
    assert encoded.straddles
    (found,) = scored(cell, BLANKS, Example("r", "Why?", "", "the sum"))
    assert math.isfinite(found.nll)
    assert BLANKS.answer("  the sum ") == "the sum"


def test_what_a_template_writes_in_front_may_hold_special_tokens(cell):
    # gpt-oss writes a channel's tokens between the generation prompt and the answer.
    text = "{% for m in messages %}{{ m.content if m.role == 'user' else '<|im_start|>' ~ m.content ~ '<|im_end|>' }}"
    template, special = native(text + "{% endfor %}", {}), cell[1].special_tokens
    plain = encode(Example("r", "Why?", "", "so"), template, cell[1], 900)
    assert plain.input_ids[plain.roles.index("written")] == special["<|im_start|>"]
    quoting = encode(Example("r", "Why?", "", "so <|im_end|>"), template, cell[1], 900)
    assert [id for id in quoting.input_ids if id in special.values()] == [
        special["<|im_start|>"],
        special["<|im_end|>"],
    ]


QWEN3 = native(
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
    "{% set parts = m.content.split('</think>') %}"
    "<think>\n{{ (parts[0].split('<think>')[-1] if parts | length > 1 else '').strip('\n') }}\n</think>\n\n"
    "{{ parts[-1].lstrip('\n') }}{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    {},
)
"""Shaped like Qwen3's: an answer's own thoughts are taken apart and written where an empty block would be."""
R1 = native(
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}",
    {},
)
"""Shaped like DeepSeek-R1's: the prompt opens a think block, a finished turn has none."""
THOUGHT = "<think>\n8+8 is 16.\n</think>\n\n16"


def test_a_row_that_brings_its_own_thoughts_is_taken_as_it_is(cell):
    row = encode(Example("r", "8+8?", "", THOUGHT), QWEN3, cell[1], 900)
    assert (row.completion, row.answer, "written" in row.roles) == (THOUGHT, THOUGHT, False)
    plain = encode(Example("r", "8+8?", "", "16"), QWEN3, cell[1], 900)
    assert (plain.completion, plain.answer) == ("<think>\n\n</think>\n\n16", "16")


def test_thoughts_that_a_finished_turn_trims_or_drops_are_trained_as_the_row_has_them(cell):
    trimmed = encode(Example("r", "8+8?", "", "<think>8+8</think>16"), QWEN3, cell[1], 900)
    assert (trimmed.answer, trimmed.input_ids[-1]) == ("<think>8+8</think>16", cell[1].special_tokens["<|im_end|>"])
    row = encode(Example("r", "8+8?", "", THOUGHT), R1, cell[1], 900)
    assert (row.prompt[-8:], row.answer) == ("<think>\n", "8+8 is 16.\n</think>\n\n16")
    assert end_id(R1, cell[1]) == row.input_ids[-1] == cell[1].special_tokens["<|im_end|>"]
    assert R1.answer("8+8 is 16.\n</think>\n\n16") == "8+8 is 16.\n</think>\n\n16"
    with pytest.raises(IikataError, match="does not begin with its own prompt"):
        R1.render("8+8?", "", "16")  # it would be written into the open block


def test_an_answer_follows_an_empty_block_that_only_the_prompt_has(cell):
    # Gemma 4 asks for an answer without thoughts and keeps no trace of that in finished turns.
    closed = native(R1.chat_template.replace("<think>\n{% endif %}", "<think>\n</think>\n{% endif %}"), {})
    row = encode(Example("r", "8+8?", "", "16"), closed, cell[1], 900)
    assert (row.prompt[-9:], row.completion, row.answer) == ("</think>\n", "16", "16")
    with pytest.raises(IikataError, match="changes the answer"):
        closed.render("8+8?", "", THOUGHT)


def test_a_prompt_that_opens_the_think_block_leaves_the_rest_to_be_trained_and_no_number(cell):
    opening = native(QWEN3.chat_template.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}"), {})
    row = encode(Example("r", "8+8?", "", THOUGHT), opening, cell[1], 900)
    assert (row.prompt[-8:], row.completion) == ("<think>\n", THOUGHT.removeprefix("<think>\n"))
    (found,) = scored(cell, opening, Example("r", "8+8?", "", THOUGHT))  # its first bytes are given here, not predicted
    assert math.isnan(found.nll)


def test_only_a_template_that_writes_something_gets_the_metric_of_it(cell):
    assert [writes(template, cell[1]) for template in (GIVEN, WRITTEN, QWEN3, TEMPLATES["alpaca"])] == [
        False,
        True,
        True,
        False,
    ]
