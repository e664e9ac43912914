"""The mask is exact: the completion and one end token, behind the very tokens that are prompted at inference."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iikata.core.records import Example, Probe
from iikata.score.choice import encode_choices
from iikata.templates import TEMPLATES, AlpacaTemplate, Shots, native
from iikata.templates.child import CHILD
from iikata.tokenize import Tokenizer, encode, encode_all, encode_prompt, end_id, load_tokenizer, show
from tokenizer_folders import CHATML

WRITTEN = {
    **TEMPLATES,
    "native": native(CHATML, {}),
    "bos": native("{{ bos_token }}{% for m in messages %}{{ m.content }}\n{% endfor %}", {"bos_token": "<s>"}),
    "trim": native("{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}</s>{% endfor %}", {}),
    "unended": AlpacaTemplate("unended", prompt_input="{input} {instruction}", prompt_no_input="{instruction}"),
}
PIECES = [
    *["富士山", "です。", "鯖", "の", "a", "The", " ", "  ", "\n", "\n\n", "🐟", "か\u3099", "\u3099", ":"],
    *[
        "<|im_end|>",
        "<|im_start|>",
        "</s>",
        "<s>",
        "<NL>",
        "<unk>",
        "{input}",
        "{instruction}",
        "### 応答:",
        "｜",
    ],
]
UNKNOWN = " \u2047 "
"""What SentencePiece decodes an unknown piece to."""
TEXT = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)


def of(instruction="名前は?", input="", output="富士山です。") -> Example:
    return Example("id", instruction, input, output)


def masked(encoded) -> list[int]:
    return [id for id, counts in zip(encoded.input_ids, encoded.completion_mask, strict=True) if counts]


def normal(tokenizer, text: str) -> str:
    """The text as the tokenizer keeps it, less unknown characters and the white space at its ends."""
    kept = tokenizer.text(tokenizer.ids(text, special=False, start=False))
    return kept.replace(UNKNOWN, "").strip()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(WRITTEN)), TEXT, TEXT, TEXT)
def test_mask_covers_the_answer_and_exactly_one_end_token(any_tokenizer, name, instruction, input, output):
    template = WRITTEN[name]
    encoded = encode(of(instruction, input, output), template, any_tokenizer, 10_000)
    *answer, end = masked(encoded)
    assert end == end_id(template, any_tokenizer)
    assert not set(answer) & set(any_tokenizer.special_tokens.values())
    completion = template.render(instruction, input, output).completion
    text = any_tokenizer.text(answer)
    if any_tokenizer.text(any_tokenizer.ids("\n")) == "\n":  # a family that loses nothing
        assert text == completion
    assert text.replace(UNKNOWN, "").strip() == normal(any_tokenizer, completion)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(WRITTEN)), TEXT, TEXT, TEXT)
def test_unmasked_tokens_are_the_prompts_at_inference(any_tokenizer, name, instruction, input, output):
    template = WRITTEN[name]
    encoded = encode(of(instruction, input, output), template, any_tokenizer, 10_000)
    prompt = encode_prompt(template, any_tokenizer, instruction, input)
    assert list(encoded.input_ids[: len(prompt)]) == prompt
    assert encoded.completion_mask == (False,) * len(prompt) + (True,) * (len(encoded.input_ids) - len(prompt))


@pytest.mark.parametrize("name", WRITTEN)
def test_bos_stands_once_where_the_model_has_one(any_tokenizer, name):
    ids = encode(of(), WRITTEN[name], any_tokenizer, 10_000).input_ids
    if any_tokenizer.bos_id is not None:
        assert ids[0] == any_tokenizer.bos_id
        assert ids.count(any_tokenizer.bos_id) == 1


def test_template_that_writes_the_bos_itself_gets_no_second(sp_bytes_folder):
    tokenizer = load_tokenizer(sp_bytes_folder)
    assert tokenizer.bos_id == 1
    assert encode_prompt(WRITTEN["bos"], tokenizer, "a").count(1) == 1


def test_answer_is_tokenized_apart_where_a_merge_would_cross_the_border(byte_bpe_folder):
    # "システム: " ends with a blank that joins the next word: " the" is one token.
    tokenizer = load_tokenizer(byte_bpe_folder)
    blank, word = tokenizer.ids(" "), tokenizer.ids(" the")
    assert len(word) == 1
    encoded = encode(of(output="the sum"), TEMPLATES["rinna"], tokenizer, 100)
    assert list(encoded.input_ids[: encoded.completion_mask.index(True)])[-1:] == blank
    assert tokenizer.text(masked(encoded)) == "the sum<|im_end|>"


def test_answer_tokenized_apart_gets_no_blank_in_front(sp_nfkc_folder):
    # SentencePiece's dummy prefix belongs to the start of a text; "<s>" and "</s>" keep these two apart.
    tokenizer = load_tokenizer(sp_nfkc_folder)
    template = AlpacaTemplate("t", prompt_no_input="<s>{instruction}:")
    encoded = encode(of(output="富士</s>"), template, tokenizer, 100)
    assert tokenizer.token(masked(encoded)[0]) == "富"


def test_answer_begins_alike_whether_or_not_it_quotes_a_special_token(sp_nfkc_folder):
    tokenizer = load_tokenizer(sp_nfkc_folder)
    plain = encode(of(output="富士"), TEMPLATES["alpaca"], tokenizer, 1000)
    quoting = encode(of(output="富士</s>"), TEMPLATES["alpaca"], tokenizer, 1000)
    assert masked(quoting)[:3] == masked(plain)[:3]


def test_behind_a_turn_that_the_template_opens_a_quoted_end_is_text(byte_bpe_folder):
    tokenizer = load_tokenizer(byte_bpe_folder)
    turn = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
    quoting = masked(encode(of(output="a<|im_end|>b"), native(turn, {}), tokenizer, 1000))
    assert quoting[0] == tokenizer.special_tokens["<|im_start|>"]
    assert quoting.count(tokenizer.special_tokens["<|im_end|>"]) == 1


def test_end_is_the_special_token_a_template_writes_and_else_the_tokenizers(byte_bpe_folder):
    tokenizer = load_tokenizer(byte_bpe_folder)
    turn = native("{% for m in messages %}{{ m.content }} \n<|endoftext|>\n{% endfor %}", {})
    assert end_id(turn, tokenizer) == tokenizer.special_tokens["<|endoftext|>"]
    assert end_id(TEMPLATES["alpaca"], tokenizer) == tokenizer.eos_id
    words = native("{% for m in messages %}{{ m.content }}\nEND\n{% endfor %}", {})
    assert end_id(words, tokenizer) == tokenizer.eos_id


def test_nothing_stands_behind_the_end_token(byte_bpe_folder):
    # ChatML writes a line break after <|im_end|>; no model ever has to say it.
    tokenizer = load_tokenizer(byte_bpe_folder)
    assert encode(of(), WRITTEN["native"], tokenizer, 1000).input_ids[-1] == tokenizer.eos_id


def test_native_prompt_has_the_tokens_of_apply_chat_template(byte_bpe_folder):
    transformers = pytest.importorskip("transformers")
    oracle = transformers.AutoTokenizer.from_pretrained(byte_bpe_folder)
    tokenizer = load_tokenizer(byte_bpe_folder)
    template = native(tokenizer.chat_template, tokenizer.named_tokens)
    messages = [{"role": "user", "content": "山は?\n\n本文"}]
    ids = oracle.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert encode_prompt(template, tokenizer, "山は?", "本文") == ids


def test_empty_answer_is_one_end_token(any_tokenizer):
    encoded = encode(of(output=""), TEMPLATES["alpaca"], any_tokenizer, 1000)
    assert masked(encoded) == [any_tokenizer.eos_id]


def test_loss_on_all_counts_every_token_as_train_on_inputs_does(any_tokenizer):
    encoded = encode(of(), TEMPLATES["alpaca"], any_tokenizer, 1000, loss_on="all")
    assert encoded.input_ids == encode(of(), TEMPLATES["alpaca"], any_tokenizer, 1000).input_ids
    assert all(encoded.completion_mask)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(WRITTEN)), st.lists(st.tuples(TEXT, TEXT, TEXT), min_size=1, max_size=5))
def test_rows_encoded_together_have_the_tokens_that_each_has_alone(any_tokenizer, name, rows):
    examples = [of(*row) for row in rows]
    any_tokenizer.ahead([])  # forget what was worked out before
    alone = [encode(example, WRITTEN[name], any_tokenizer, 40, "last") for example in examples]
    assert list(encode_all(examples, WRITTEN[name], any_tokenizer, 40, "last")) == alone


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(WRITTEN)), TEXT, st.lists(TEXT, min_size=1, max_size=4), st.lists(TEXT, max_size=2))
def test_choices_behind_examples_have_the_tokens_of_the_whole_text(any_tokenizer, name, question, choices, shown):
    """What is read from the prompt's last cut is what is read from its beginning."""
    template = Shots.over(WRITTEN[name], [of(text, "", text) for text in shown], "shots")
    probes = [Probe(id, question, choices=tuple(choices), answer=0) for id in "ab"]
    together = [row for asked in encode_choices(probes, template, any_tokenizer, 10_000) for row in asked.rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(any_tokenizer), "cut", Tokenizer.cut)  # all is read again for every row
        alone = [encode(of(question, "", one), template, any_tokenizer, 10_000, "last") for one in choices]
    assert [replace(row, id="id") for row in together] in ([*alone, *alone], [])  # none where one is not scored


def test_a_prompt_is_rendered_once_for_all_its_choices(byte_bpe_folder, monkeypatch):
    tokenizer, template, asked = load_tokenizer(byte_bpe_folder), native(CHATML, {}), []
    probes = [Probe(str(n), f"Which? {n}", choices=("red", "blue", "white"), answer=0) for n in range(3)]
    first = list(encode_choices(probes, template, tokenizer, 10_000))
    monkeypatch.setattr(CHILD, "ask", lambda ask=CHILD.ask, **more: asked.append(more) or ask(**more))
    assert list(encode_choices(probes, template, tokenizer, 10_000)) == first
    assert [len(one["behind"]) for one in asked] == [4, 4, 4]


def test_row_over_the_cutoff_is_cut_and_flagged(any_tokenizer):
    whole = encode(of(), TEMPLATES["alpaca"], any_tokenizer, 1000)
    length = len(whole.input_ids)
    assert encode(of(), TEMPLATES["alpaca"], any_tokenizer, length) == whole
    cut = encode(of(), TEMPLATES["alpaca"], any_tokenizer, length - 1)
    assert cut.truncated
    assert cut.input_ids == whole.input_ids[:-1]
    assert cut.completion_mask == whole.completion_mask[:-1]


def test_painted_row_shows_the_prompt_dim_the_answer_green_and_the_end_reversed(byte_bpe_folder):
    tokenizer = load_tokenizer(byte_bpe_folder)
    encoded = encode(of(output="鯖です"), TEMPLATES["plain"], tokenizer, 1000)
    assert show(encoded, tokenizer) == ("\x1b[2m名前は?\n\x1b[0m\x1b[32m鯖です\x1b[0m\x1b[7m<|im_end|>\x1b[0m")


def test_painted_row_says_where_it_was_cut(byte_bpe_folder):
    tokenizer = load_tokenizer(byte_bpe_folder)
    encoded = encode(of(), TEMPLATES["plain"], tokenizer, 3)
    assert show(encoded, tokenizer).endswith("[cut at 3 tokens]")
