"""Every answer of a conversation is trained on exactly what is prompted, and tokens are those of transformers."""

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iikata.core.errors import IikataError
from iikata.core.records import NOTHING, Before, Example
from iikata.templates import TEMPLATES, native
from iikata.templates.jinja import DATE, messages
from iikata.tokenize import encode, encode_prompt, encode_turns, load_tokenizer
from tokenizer_folders import CHATML

DROPS = (
    "{% for m in messages %}{% if m.role == 'assistant' and not loop.last %}<|im_start|>a\n{{ m.content }}<|im_end|>\n"
    "{% elif m.role == 'assistant' %}<|im_start|>a\n<think>\n\n</think>\n\n{{ m.content }}<|im_end|>\n"
    "{% else %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>a\n{% endif %}"
)
"""As Qwen3's: an empty block of thoughts before the last answer, and none before earlier ones."""
LAST_USER = (
    "{% if messages[0].role == 'system' %}{% set s = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}{% for m in rest %}{% if m.role == 'user' %}"
    "{% if loop.last and s is defined %}[INST] {{ s }}\n\n{{ m.content }}[/INST]{% else %}[INST] {{ m.content }}[/INST]"
    "{% endif %}{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
"""As Mistral 7B v0.3's: the system message stands in the last user message, while that is not answered."""
WRITTEN = {
    **{name: replace(template, eos="</s>") for name, template in TEMPLATES.items()},
    "native": native(CHATML, {}),
    "drops thoughts": native(DROPS, {}),
    "system last": native(LAST_USER, {}),
    "trim": native("{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}</s>{% endfor %}", {}),
}
PIECES = [
    "富士山",
    "です。",
    "a",
    "The",
    " ",
    "  ",
    "\n",
    "🐟",
    "か\u3099",
    "</s>",
    "<|im_end|>",
    "<NL>",
    "{input}",
    "[/INST]",
]
TEXT = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)
TURNS = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)


def masked(encoded):
    return [at for at, counts in enumerate(encoded.completion_mask) if counts]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(WRITTEN)), TEXT, TURNS, TEXT, TEXT)
def test_each_answer_is_trained_once_behind_the_tokens_that_are_prompted(any_tokenizer, name, system, turns, q, a):
    template, example = WRITTEN[name], Example("id", q, "", a, before=Before(system, turns))
    ((alone, sequences),) = encode_turns([example], template, any_tokenizer, 10_000)
    whole = encode(example, template, any_tokenizer, 10_000)
    assert whole == sequences[0]
    assert whole.apart == len(sequences) - 1
    assert sum(len(masked(one)) for one in sequences) == sum(len(masked(turn)) for turn in alone)
    for turn, own in zip(example.turns(), alone, strict=True):
        prompt = encode_prompt(template, any_tokenizer, *turn.asked)
        assert list(own.input_ids[: len(prompt)]) == prompt
        assert masked(own) == list(range(len(prompt), len(own.input_ids)))
        holders = [
            one
            for one in sequences
            if one.input_ids[: len(own.input_ids)] == own.input_ids and set(masked(own)) <= set(masked(one))
        ]
        assert len(holders) >= 1
    last = encode(example, template, any_tokenizer, 10_000, "last")
    assert (last.input_ids, masked(last)) == (whole.input_ids, masked(alone[-1]))
    every = encode(example, template, any_tokenizer, 10_000, "all")
    assert (every.input_ids, all(every.completion_mask)) == (whole.input_ids, True)


def test_earlier_answers_count_where_they_stand_as_they_were_prompted_and_not_where_the_template_drops_thoughts(
    byte_bpe_folder,
):
    tokenizer = load_tokenizer(byte_bpe_folder)
    example = Example("id", "One?", "", "red", before=Before("", (("Two?", "red, blue"), ("Three?", "a, b, c"))))
    kept = encode(example, WRITTEN["native"], tokenizer, 10_000)
    assert kept.apart == 0
    assert (
        tokenizer.text(kept.input_ids[at] for at in masked(kept)) == "red, blue<|im_end|>a, b, c<|im_end|>red<|im_end|>"
    )
    dropped, *apart = next(encode_turns([example], WRITTEN["drops thoughts"], tokenizer, 10_000))[1]
    assert dropped.apart == len(apart) == 2
    assert tokenizer.text(dropped.input_ids[at] for at in masked(dropped)) == "<think>\n\n</think>\n\nred<|im_end|>"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from(sorted(WRITTEN)),
    TURNS.filter(len),
    TEXT,
    st.integers(2, 300),
    st.sampled_from(("completion", "last", "all")),
)
def test_cut_at_a_turn_a_row_is_the_conversation_up_to_the_last_answer_that_fits(
    any_tokenizer, name, turns, last, cutoff_len, loss_on
):
    template, example = WRITTEN[name], Example("id", last, "", "red", before=Before("", turns))
    up_to = [encode(one, template, any_tokenizer, cutoff_len, loss_on) for one in example.turns()]
    fit = [n for n, row in enumerate(up_to) if not row.truncated]
    found = encode(example, template, any_tokenizer, cutoff_len, loss_on, cut_at_turn=True)
    if not fit:
        assert (found.truncated, found.cut) == (True, 0)
        return
    assert found == replace(up_to[fit[-1]], cut=len(turns) - fit[-1])


def test_an_answer_that_is_marked_is_read_and_not_trained(byte_bpe_folder):
    tokenizer = load_tokenizer(byte_bpe_folder)
    example = Example("id", "One?", "", "red", before=Before("", (("Two?", "red, blue"), ("Three?", "a, b, c"))))
    bare, marked = (
        encode(one, WRITTEN["native"], tokenizer, 10_000) for one in (example, replace(example, marked=(0,)))
    )
    assert marked.input_ids == bare.input_ids
    assert tokenizer.text(marked.input_ids[at] for at in masked(marked)) == "a, b, c<|im_end|>red<|im_end|>"
    assert {marked.roles[at] for at in set(masked(bare)) - set(masked(marked))} == {"prompt"}
    assert marked.apart == 0


TALK = [("What is the capital?", "Paris."), ("次は?", "富士山です。\n高い。"), ("And a 'third'?", 'He said "no".'),
        ("Add 1 and 2.", "3"), ("Thanks.", "You are welcome.")]  # fmt: skip


@pytest.fixture(scope="module")
def published():
    trl = pytest.importorskip("trl", reason="TRL is not installed: its chat templates are not tried")
    files = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
    return {file.stem: file.read_text(encoding="utf-8") for file in files}


def opened(chat_template, folder, tmp_path):
    """Return transformers' tokenizer and ours, both with the special tokens that the template writes."""
    import transformers

    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    marks = sorted(set(re.findall(r"<[^<>\s'\"{}%]{2,40}>|<｜[^<>]{2,30}｜>", chat_template)))
    theirs.add_special_tokens({"bos_token": "<s>", "extra_special_tokens": [m for m in marks if "think" not in m]})
    theirs.save_pretrained(tmp_path)
    theirs, ours = transformers.AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(tmp_path)
    theirs.chat_template = chat_template
    return theirs, ours, native(chat_template, ours.named_tokens)


def said(template, instruction, before, answer=None):
    """Return the messages as transformers wants them of this template."""
    talk = messages(instruction, "", before) + (
        [{"role": "assistant", "content": answer}] if answer is not None else []
    )
    listed = {*template._parts, *(["system"] if "user" in template._parts else [])}
    return [m | {"content": [{"type": "text", "text": m["content"]}]} if m["role"] in listed else m for m in talk]


class OurDay(datetime):
    """The day that templates are told here."""

    @classmethod
    def now(cls, tz=None):
        return cls.fromisoformat(DATE)


@pytest.mark.long
def test_ids_of_one_to_five_turns_are_those_of_apply_chat_template(published, byte_bpe_folder, tmp_path, monkeypatch):
    import transformers.utils.chat_template_utils as theirs_day

    monkeypatch.setattr(theirs_day, "datetime", OurDay)
    tried, thinking = 0, []
    for name, chat_template in published.items():
        theirs, ours, template = opened(chat_template, byte_bpe_folder, tmp_path / name)
        for turns in range(1, len(TALK) + 1):
            for system in ("", "Be kind.") if template.takes_system else ("",):
                (question, answer), before = TALK[turns - 1], Before(system, tuple(TALK[: turns - 1]))
                asked = said(template, question, before)
                prompt = theirs.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
                assert encode_prompt(template, ours, question, "", before) == prompt, name
                try:
                    row = encode(Example("id", question, "", answer, before=before), template, ours, 10_000)
                except IikataError:  # it asks for thoughts, which these rows do not bring
                    thinking.append(name)
                    continue
                full = theirs.apply_chat_template(said(template, question, before, answer), return_dict=False)
                *body, _ = row.input_ids
                assert full[: len(body)] == body, name
                tried += 1
    assert tried > 400
    assert {re.sub("_training$", "", name) for name in thinking} <= {
        *("deepseek_r1_distill", "deepseekv3", "nemotron_3_5_lightning", "nemotron_3_nano"),
        *("nemotron_3_super", "nemotron_3_ultra"),
    }


HEADER = ("gptoss_training", "muse_glimmer_training")
"""TRL counts the assistant's header, which is the prompt's."""
OPENED = ("qwen3_5_nothink", "qwen3_5_think", "qwen3_6", "qwen3_8")
"""TRL counts the block of thoughts that the prompt has opened, or closed."""


def test_masks_are_trls_but_for_what_is_no_answer(published, byte_bpe_folder, tmp_path):
    """TRL's own templates mark the assistant's text. What it counts beyond is never generated: see each case."""
    alike = []
    for name in (name for name in published if name.endswith("_training") and name not in HEADER):
        theirs, ours, template = opened(published[name], byte_bpe_folder, tmp_path / name)
        (question, answer), before = TALK[2], Before("", tuple(TALK[:2]))
        try:
            row = encode(Example("id", question, "", answer, before=before), template, ours, 10_000)
        except IikataError:
            continue  # it asks for thoughts
        talk = said(template, question, before, answer)
        marked = theirs.apply_chat_template(talk, return_dict=True, return_assistant_tokens_mask=True)[
            "assistant_masks"
        ]
        more = [at for at, counts in enumerate(row.completion_mask) if marked[at] and not counts]
        less = [at for at in masked(row) if not marked[at]]
        assert not less, name
        text = "".join(ours.text([row.input_ids[at]]) for at in more)
        if name.removesuffix("_training") in OPENED:
            text = re.sub(r"</?think>", "", text)
        # The line break behind an end token, at which generation has stopped; a second end token.
        assert re.fullmatch(r"(\n|<\|END_OF_TURN_TOKEN\|>|<\|end_of_turn\|>)*", text), (name, text)
        alike.append(name)
    assert len(alike) > 20


def test_without_a_history_nothing_changes(any_tokenizer):
    example = Example("id", "q", "i", "a")
    assert example.before == NOTHING
    for template in TEMPLATES.values():
        assert encode(example, template, any_tokenizer, 99) == encode(example, template, any_tokenizer, 99, "last")
