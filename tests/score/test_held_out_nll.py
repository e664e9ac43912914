"""Held-out likelihood is transformers' own, per byte of the answer; what cannot be scored whole is NaN."""

import math
from dataclasses import replace

import pytest

import models
import oracle
from iikata.core.records import Arm, Before, Example
from iikata.generate import Request, Sampling, Shapes, generate
from iikata.score.nll import held_out_nll, scoreable
from iikata.templates import TEMPLATES, native
from iikata.tokenize import encode, load_tokenizer, prefixes
from iikata.train import ArmRun, TrainingArgs, train
from tokenizer_folders import CHATML

TEMPLATE = TEMPLATES["alpaca_short"]
ROWS = [
    Example("a", "Name three colours.", "paint", "red, blue and yellow"),
    Example("b", "色の三原色は?", "", "赤、青、黄です。"),
    Example("c", "What is the capital of France?", "", "The capital of France is Paris."),
    Example("d", "電車は?", "港", "電車は朝八時に駅を出て、九時に港へ着きました。"),
]
families = pytest.mark.parametrize("family", ["llama", "neox_sequential", "gemma3"])


class Cell:
    """A model with an adapter that acts, its tokenizer, and its scores."""

    def __init__(self, folder):
        self.folder, self.tokenizer = folder, load_tokenizer(folder)
        self.base = models.opened(folder)
        self.base.adapt(4, 16, 0.0, "all-linear").initialise("arm", 0)
        models.stir(self.base.adapters.weights("arm"))
        self.prefixes = prefixes(TEMPLATE, self.tokenizer)

    def scores(self, rows=ROWS, arm="arm", cutoff=500, buffer=300, shared=True):
        found = held_out_nll(
            self.base, arm, rows, TEMPLATE, self.tokenizer, self.prefixes if shared else (), cutoff, buffer
        )
        return list(found)


@families
@pytest.mark.parametrize("arm", ["arm", None])
def test_every_row_is_what_transformers_gives_for_it_alone(model_folder, family, arm, tmp_path):
    cell = Cell(model_folder(family))
    oracle.save_adapter(cell.base, "arm", tmp_path)
    reference = oracle.with_adapter(cell.folder, tmp_path) if arm else oracle.plain(cell.folder)
    for row, got in zip(ROWS, cell.scores(arm=arm), strict=True):
        losses = oracle.token_losses(reference, encode(row, TEMPLATE, cell.tokenizer, 500)).detach() / math.log(2)
        assert got.id == row.id
        assert got.nll == pytest.approx(float(losses[:-1].sum()) / len(row.output.encode()), rel=1e-5)
        assert got.nll_end == pytest.approx(float(losses[-1]), rel=1e-5)


@pytest.mark.parametrize("buffer", [1, 60, 10_000])
def test_scores_do_not_depend_on_buffers_or_shared_tokens(llama_folder, buffer):
    cell = Cell(llama_folder)
    wanted = cell.scores(shared=False)
    for got, one in zip(cell.scores(buffer=buffer), wanted, strict=True):
        assert (got.nll, got.nll_end) == pytest.approx((one.nll, one.nll_end), rel=1e-5)


def test_rows_that_are_cut_empty_or_do_not_come_back_whole_are_nan_and_harm_no_other(rinna_folder):
    cell = Cell(rinna_folder)
    whole = cell.scores()
    bad = [
        Example("cut", "x", "", "魚" * 600),
        Example("empty", "x", "", ""),
        Example("break", "x", "", "猫は\n魚を食べる。"),  # this tokenizer makes a blank of a line break
        Example("unknown", "x", "", "鰻"),
    ]
    mixed = [bad[0], ROWS[0], bad[1], bad[2], ROWS[1], ROWS[2], bad[3], ROWS[3]]
    found = {score.id: score for score in cell.scores(mixed)}
    for row in bad:
        assert math.isnan(found[row.id].nll)
        assert math.isnan(found[row.id].nll_end)
    for one in whole:
        assert found[one.id].nll == pytest.approx(one.nll, rel=1e-5)
        assert math.isfinite(one.nll)


def test_rows_at_the_cutoff_are_scored_and_one_token_less_is_not(llama_folder):
    cell = Cell(llama_folder)
    length = len(encode(ROWS[0], TEMPLATE, cell.tokenizer, 500).input_ids)
    assert math.isfinite(cell.scores(ROWS[:1], cutoff=length)[0].nll)
    assert math.isnan(cell.scores(ROWS[:1], cutoff=length - 1)[0].nll)


def test_an_answer_that_begins_with_the_very_first_token_is_not_scored(llama_folder):
    tokenizer = load_tokenizer(llama_folder)
    encoded = encode(ROWS[0], TEMPLATE, tokenizer, 500)
    answer = sum(encoded.completion_mask)
    bare = replace(encoded, input_ids=encoded.input_ids[-answer:], completion_mask=(True,) * answer)
    assert scoreable(ROWS[0], encoded, TEMPLATE, tokenizer)
    assert not scoreable(ROWS[0], bare, TEMPLATE, tokenizer)


def test_a_line_break_that_the_template_maps_counts_as_the_byte_it_was(tmp_path):
    from tokenizer_folders import sp_nfkc

    folder = models.neox_sequential(tmp_path, lambda path: sp_nfkc(path, newline=True))
    cell, row = Cell(folder), Example("n", "x", "", "猫は\n魚を食べる。")
    mapped = replace(TEMPLATE, newline="<NL>")
    (got,) = held_out_nll(cell.base, None, [row], mapped, cell.tokenizer, (), 500, 300)
    encoded = encode(row, mapped, cell.tokenizer, 500)
    losses = oracle.token_losses(oracle.plain(folder), encoded).detach() / math.log(2)
    assert got.nll == pytest.approx(float(losses[:-1].sum()) / len("猫は\n魚を食べる。".encode()), rel=1e-5)


@families
def test_a_few_steps_on_the_rows_lower_their_nll_and_bring_the_answer_out(model_folder, family):
    cell, row = Cell(model_folder(family)), ROWS[1]
    rows = [encode(row, TEMPLATE, cell.tokenizer, 500)]
    before = cell.scores([row], arm=None)[0]
    run = ArmRun(Arm("alpaca_short", 0), rows, cell.prefixes, TrainingArgs(80, 1, 3e-2, schedule="constant"), cell.base)
    assert len(list(train([run]))) == 80
    after = cell.scores([row], arm=run.arm.name)[0]
    assert after.nll < before.nll / 3  # the frozen norm and head of so narrow a model let it no lower
    assert after.nll_end < before.nll_end
    prompt = tuple(i for i, counted in zip(rows[0].input_ids, rows[0].completion_mask, strict=True) if not counted)
    asked = Request(("answer",), prompt, (0,), frozenset({cell.tokenizer.eos_id}), run.arm.name, cell.prefixes)
    (reply,) = generate(cell.base, [run.arm.name], [asked], Sampling(temperature=0), 40, Shapes(8, 200))
    assert (TEMPLATE.answer(cell.tokenizer.text(reply.ids)), reply.finish) == (row.output, "stop")


DROPS = CHATML.replace(
    "message['content'] +", "('' if loop.last or message.role != 'assistant' else '(old) ') + message['content'] +"
)
"""An earlier answer stands otherwise in the whole conversation than when it was the last."""


@pytest.mark.parametrize("marked", [(), (1,)])
@pytest.mark.parametrize("chat_template", [CHATML, DROPS])
def test_a_conversation_is_the_bits_of_all_its_unmarked_answers_by_their_bytes(llama_folder, chat_template, marked):
    cell = Cell(llama_folder)
    template, shared = native(chat_template, {}), prefixes(native(chat_template, {}), cell.tokenizer)
    talk = Before("Be short.", (("Two?", "赤、青"), ("Three?", "red, blue, green")))
    row = Example("t", "One?", "", "red", before=talk)
    reference = oracle.plain(cell.folder)
    answers, ends, size = [], [], 0
    for n, turn in enumerate(row.turns()):  # each by itself, as if nothing came after
        if n in marked:
            continue
        size += len(turn.output.encode())
        losses = oracle.token_losses(
            reference, encode(turn, template, cell.tokenizer, 500, "last")
        ).detach() / math.log(2)
        answers.append(float(losses[:-1].sum()))
        ends.append(float(losses[-1]))
    given = (cell.base, None, [replace(row, marked=marked)], template, cell.tokenizer, shared, 500, 300)
    (got,) = held_out_nll(*given)
    assert got.nll == pytest.approx(sum(answers) / size, rel=1e-5)
    assert got.nll_end == pytest.approx(sum(ends) / len(ends), rel=1e-5)
    (last,) = held_out_nll(*given, last=True)
    assert last.nll == pytest.approx(answers[-1] / len(b"red"), rel=1e-5)
