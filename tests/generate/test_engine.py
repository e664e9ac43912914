"""Answers are transformers', and belong to their own prompt and seed: bit for bit, whoever else is in the batch."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

import models
import oracle
from iikata.generate import Request, Sampling, Shapes, decoder, engine, generate, in_flight
from iikata.model import rotary
from iikata.model.layers import compilations, run_layers
from iikata.tokenize import load_tokenizer
from marks import long

GREEDY = Sampling(temperature=0)
NEW = 10
PROMPTS = [sample.input_ids for sample in models.samples(9, seed=3, longest=16)]
PREFIX = (5, 9, 4, 7, 30, 31, 32, 33)
NEVER = frozenset[int]()


def request(prompt, key="row", seeds=(0,), end_ids=NEVER, arm=None, prefixes=(), stopped=None) -> Request:
    keys = tuple((key, seed) for seed in seeds)
    return Request(keys, tuple(prompt), tuple(seeds), frozenset(end_ids), arm, prefixes, stopped)


def answers(loaded, requests, sampling=GREEDY, new=NEW, rows=8, length=64, arm=None, arms=()):
    """Return {(key, seed): reply}."""
    requests = [replace(request, arm=request.arm or arm) for request in requests]
    arms = arms or sorted({request.arm for request in requests if request.arm})
    return {r.key: r for r in generate(loaded, arms, requests, sampling, new, Shapes(rows, length))}


@pytest.fixture
def llama(llama_folder):
    return models.opened(llama_folder)


def theirs(reference, prompt, end_ids=NEVER, new=NEW, **settings):
    """Return the new tokens of transformers' generate, without the end token."""
    out = reference.generate(
        input_ids=torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False, max_new_tokens=new, eos_token_id=sorted(end_ids) or [-1], pad_token_id=3, **settings,
    )  # fmt: skip
    new_ids = out[0, len(prompt) :].tolist()
    return tuple(new_ids[:-1] if new_ids[-1] in end_ids else new_ids)


@pytest.mark.parametrize("family", models.FAMILIES)
def test_greedy_answers_are_transformers_token_by_token_with_slots_refilled(model_folder, family):
    loaded, reference = models.opened(model_folder(family)), oracle.plain(model_folder(family))
    first = theirs(reference, PROMPTS[0])
    end_ids = {first[4], theirs(reference, PROMPTS[1])[2]}  # so that some answers end early
    got = answers(loaded, [request(p, index, seeds=(0, 1), end_ids=end_ids) for index, p in enumerate(PROMPTS)])
    wanted = [theirs(reference, prompt, end_ids) for prompt in PROMPTS]
    assert [got[index, 0].ids for index in range(len(PROMPTS))] == wanted
    assert len({len(ids) for ids in wanted}) > 1
    for index, ids in enumerate(wanted):
        assert got[index, 1].ids == ids
        assert got[index, 0].finish == ("length" if len(ids) == NEW else "stop")


def test_the_penalty_counts_the_prompt_and_the_answer_as_transformers_does(llama_folder, llama):
    reference = oracle.plain(llama_folder)
    sampling = Sampling(temperature=0, repetition_penalty=1.8)
    got = answers(llama, [request(p, index) for index, p in enumerate(PROMPTS)], sampling)
    wanted = [theirs(reference, prompt, repetition_penalty=1.8) for prompt in PROMPTS]
    assert [got[index, 0].ids for index in range(len(PROMPTS))] == wanted
    assert wanted != [theirs(reference, prompt) for prompt in PROMPTS]


def test_an_arm_answers_as_peft_does_and_the_base_as_itself(llama_folder, llama, tmp_path):
    models.with_arms(llama, "arm")
    oracle.save_adapter(llama, "arm", tmp_path)
    requests = [request(p, index) for index, p in enumerate(PROMPTS[:4])]
    for arm, reference in (("arm", oracle.with_adapter(llama_folder, tmp_path)), (None, oracle.plain(llama_folder))):
        got = answers(llama, requests, arm=arm)
        assert [got[index, 0].ids for index in range(4)] == [theirs(reference, p) for p in PROMPTS[:4]]


def with_three_arms(folder, dtype):
    return models.with_arms(models.opened(folder, dtype), "one", "two", "three")


@pytest.fixture
def three(llama_folder):
    return with_three_arms(llama_folder, "float32")


def of_all(**more):
    """Return requests of three arms and the base, mixed, that end at different lengths."""
    return [
        request((*PREFIX, *prompt), (arm, index), (0, 1), range(100, 160), arm, (PREFIX,), **more)
        for index, prompt in enumerate(PROMPTS)
        for arm in ("one", "two", "three", None)
    ]


def test_mixed_arms_answer_as_peft_does_for_each(llama_folder, three, tmp_path):
    got = answers(three, of_all())
    assert len({reply.ids for reply in got.values()}) > len(PROMPTS)
    for arm in ("one", "two", "three", None):
        reference = oracle.plain(llama_folder)
        if arm:
            (folder := tmp_path / arm).mkdir()
            reference = oracle.with_adapter(llama_folder, oracle.save_adapter(three, arm, folder))
        wanted = [theirs(reference, (*PREFIX, *prompt), set(range(100, 160))) for prompt in PROMPTS]
        assert [got[(arm, index), 0].ids for index in range(len(PROMPTS))] == wanted


@pytest.mark.parametrize("sampling", [Sampling(0.9, repetition_penalty=1.2), Sampling(0)], ids=["sampled", "greedy"])
@pytest.mark.parametrize("new", [1, NEW])
def test_reading_tokens_a_step_late_as_on_a_gpu_changes_no_answer(three, monkeypatch, sampling, new):
    wanted = answers(three, of_all(), sampling, new)
    monkeypatch.setitem(engine.AHEAD, "cpu", 1)
    assert answers(three, of_all(), sampling, new) == wanted
    longest = max(len(asked.prompt_ids) for asked in of_all())
    assert answers(three, of_all(), sampling, new, length=longest + new) == wanted


@pytest.mark.parametrize("share", [2, 4])
def test_waiting_for_more_free_slots_as_on_a_gpu_fills_less_often_and_changes_no_answer(three, monkeypatch, share):
    fills = []
    start = engine.Decoder.start
    monkeypatch.setattr(engine.Decoder, "start", lambda self, *args: fills.append(len(args[0])) or start(self, *args))
    wanted, often = answers(three, of_all(), Sampling(0.9)), len(fills)
    monkeypatch.setitem(engine.SHARE_FREE, "cpu", share)
    assert answers(three, of_all(), Sampling(0.9)) == wanted
    assert len(fills) - often < often
    assert sum(fills[:often]) == sum(fills[often:]) == len(wanted)


@pytest.mark.parametrize("family", ["llama", *long("neox_sequential", "qwen2", "gemma3")])
def test_the_layouts_of_a_gpu_give_the_same_logits_and_one_graph_serves_all_layers(model_folder, family, recorded):
    loaded = with_three_arms(model_folder(family), "float64")
    wanted = recorded(loaded, of_all())
    rotary.install(loaded.model)
    loaded.runners = run_layers(loaded.model)
    for runner in loaded.runners:
        runner.compiled = torch.compile(runner.plain, fullgraph=True, backend="aot_eager")
    for compiled in (False, True):
        loaded.run_layers(compiled)
        before = compilations()
        found = recorded(loaded, of_all())
        assert set(found) == set(wanted)
        for key, steps in wanted.items():
            assert found[key].shape == steps.shape
            assert oracle.distance(found[key], steps) < 1e-7  # rotary tables are float32
        # Gemma 3 has layers with a window and layers without.
        assert compilations() - before == (0 if not compiled else 2 if family == "gemma3" else 1)


@pytest.mark.parametrize("window", [37, 40, 63])
def test_a_window_between_a_slots_length_and_the_power_of_two_above_it_is_kept(model_folder, window):
    loaded = models.opened(model_folder("gemma3"), "float64")
    loaded.config.sliding_window = window
    for module in loaded.model.modules():
        if getattr(module, "sliding_window", None):
            module.sliding_window = window
    asked = [request((*PREFIX, *prompt), index, prefixes=(PREFIX,)) for index, prompt in enumerate(PROMPTS)]
    wanted = answers(loaded, asked, length=38)
    rotary.install(loaded.model)
    loaded.runners = run_layers(loaded.model)
    assert answers(loaded, asked, length=38) == wanted


def test_two_arms_may_answer_in_turn(llama):
    models.with_arms(llama, "one", "two")
    requests = [request(p, index) for index, p in enumerate(PROMPTS)]
    alone = {arm: answers(llama, requests, arm=arm) for arm in ("one", "two")}
    assert alone["one"] != alone["two"]
    shapes = Shapes(8, 64)
    asked = {arm: [replace(request, arm=arm) for request in requests] for arm in ("one", "two")}
    both = zip(*(generate(llama, [arm], asked[arm], GREEDY, NEW, shapes) for arm in asked), strict=True)
    for one, two in both:
        assert (alone["one"][one.key], alone["two"][two.key]) == (one, two)


def test_the_caller_is_not_left_in_inference_mode_between_answers(llama):
    running = generate(llama, (), [request(PROMPTS[0], seeds=(0, 1))], GREEDY, 2, Shapes(1, 64))
    next(running)
    assert not torch.is_inference_mode_enabled()
    running.close()
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=0.7), Sampling(0.9, top_p=0.8, top_k=30, repetition_penalty=1.5)], ids=str
)
def test_sampled_frequencies_fit_the_softmax_after_transformers_warpers(llama_folder, llama, sampling):
    reference, prompt = oracle.plain(llama_folder), PROMPTS[0]
    replies = answers(llama, [request(prompt, seeds=range(3000))], sampling, new=2, rows=100)

    def fits(context, tokens):
        with torch.no_grad():
            logits = reference(input_ids=torch.tensor([context])).logits[:, -1].float()
        expected = oracle.warped(logits, context, sampling)[0] * len(tokens)
        counts = torch.bincount(torch.tensor(tokens), minlength=len(expected)).double()
        assert not counts[expected == 0].any()
        common = expected >= 5
        rest = [(x[~common].sum(),) for x in (counts, expected)]
        seen, wanted = (torch.cat([x[common], torch.tensor(r)]) for x, r in zip((counts, expected), rest, strict=True))
        kept = wanted > 0
        assert int(kept.sum()) >= 3
        assert chisquare(seen[kept].numpy(), wanted[kept].numpy()).pvalue > 1e-3

    first = [reply.ids[0] for reply in replies.values()]
    fits(prompt, first)
    commonest = max(set(first), key=first.count)
    fits((*prompt, commonest), [reply.ids[1] for reply in replies.values() if reply.ids[0] == commonest])


@pytest.fixture
def recorded(monkeypatch):
    """Run the engine and return every row's logits, {(key, seed): [steps, V]}."""
    last: list[torch.Tensor] = []
    found: dict[object, list[torch.Tensor]] = {}
    pick, take = decoder.pick, in_flight.InFlight.take

    def watched_pick(logits, *rest):
        last[:] = [logits]
        return pick(logits, *rest)

    def watched_take(self, slots, serials, tokens):
        for slot, serial, logits in zip(slots, serials, last[0], strict=True):
            if serial >= 0:
                asked, sample = self.asked[slot]
                found.setdefault(asked.keys[sample], []).append(logits.clone())
        return take(self, slots, serials, tokens)

    monkeypatch.setattr(decoder, "pick", watched_pick)
    monkeypatch.setattr(in_flight.InFlight, "take", watched_take)

    def run(loaded, requests, **settings):
        found.clear()
        answers(loaded, requests, **settings)
        return {key: torch.stack(steps) for key, steps in found.items()}

    return run


@pytest.fixture(scope="session")
def wider(tmp_path_factory):
    """A Llama wide enough that torch shares its work among threads."""
    from transformers import LlamaConfig

    shape = models.shape(hidden_size=192, intermediate_size=512, num_attention_heads=6, num_key_value_heads=2)
    folder = models.write(tmp_path_factory.mktemp("wider"), LlamaConfig(**shape), models.byte_bpe)

    @cache
    def opened(dtype, r=8):
        return models.with_arms(models.opened(folder, dtype), "arm", *(f"arm {i}" for i in range(9)), r=r, alpha=2 * r)

    return opened


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.long)], ids=["one thread", "two threads"])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("r", [3, 8])
def test_logits_do_not_depend_on_the_other_arms_their_number_or_the_arms_place(wider, recorded, dtype, r):
    loaded = wider(dtype, r)
    settings = {"sampling": Sampling(0.9), "rows": 8, "new": 5}
    own = [
        request((*PREFIX, *prompt), (arm, index), (0, 1), range(100, 200), arm, (PREFIX,))
        for index, prompt in enumerate(PROMPTS[:5])
        for arm in ("arm", None)
    ]
    others = [request(prompt, ("other", index), (7,), arm=f"arm {index}") for index, prompt in enumerate(PROMPTS)]
    alone = recorded(loaded, own, arms=["arm"], **settings)
    assert not torch.equal(alone[("arm", 0), 0][0], alone[(None, 0), 0][0])
    runs = {
        "before three": ["arm", "arm 0", "arm 1", "arm 2"],
        "behind nine": [*(f"arm {index}" for index in range(9)), "arm"],
        "between": [*(f"arm {index}" for index in range(5)), "arm", *(f"arm {index}" for index in range(5, 8))],
    }
    for name, arms in runs.items():
        mixed = [asked for pair in zip(own, others, strict=False) for asked in pair if asked.arm in (*arms, None)]
        again = recorded(loaded, [*mixed, own[-1]], arms=arms, **settings)
        common = set(alone) & set(again)
        assert len(common) >= 10
        different = [key for key in common if not torch.equal(alone[key], again[key])]
        assert not different, name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.usefixtures("threads")
def test_logits_do_not_depend_on_slots_neighbours_order_or_what_is_left_to_do(wider, recorded, dtype):
    settings = {"sampling": Sampling(0.9, repetition_penalty=1.1), "rows": 5, "arm": "arm", "new": 5}
    shared = [
        request((*PREFIX, *prompt), index, seeds=(0, 1), end_ids=range(100, 200), prefixes=(PREFIX,))
        for index, prompt in enumerate(PROMPTS[:5])
    ]
    whole = recorded(wider(dtype), shared, **settings)
    assert len({len(steps) for steps in whole.values()}) > 2  # rows end apart, so slots are refilled one by one
    others = [request(prompt, f"other {index}", seeds=(7,)) for index, prompt in enumerate(PROMPTS)]
    runs = {
        "permuted": shared[::-1],
        "resumed": [shared[4], request(shared[1].prompt_ids, 1, (1,), range(100, 200), prefixes=(PREFIX,))],
        "other neighbours": [*others[:7], shared[2], *others[7:], shared[0]],
        "alone": [shared[3]],
    }
    for name, requests in runs.items():
        again = recorded(wider(dtype), requests, **settings)
        common = set(whole) & set(again)
        assert len(common) >= 2
        different = [key for key in common if not torch.equal(whole[key], again[key])]
        assert not different, name


def test_a_neighbour_that_is_not_finite_changes_no_bit_of_the_others(llama, recorded):
    with torch.no_grad():
        llama.model.get_input_embeddings().weight[767] = math.inf
    good = [request(prompt, index, end_ids=range(100, 160)) for index, prompt in enumerate(PROMPTS)]
    bad = [request((5, 767, 8), f"bad {number}") for number in range(8)]
    clean = recorded(llama, good)
    mixed = recorded(llama, [*bad[:7], *good[:4], bad[7], *good[4:]])
    assert all(torch.equal(clean[key], mixed[key]) for key in clean)
    assert mixed["bad 0", 0].isnan().all()


@pytest.mark.parametrize("family", models.FAMILIES)
def test_a_shared_prefix_changes_logits_by_rounding_only_and_always_in_the_same_way(model_folder, recorded, family):
    loaded = models.opened(model_folder(family))
    prompts = [(*PREFIX, *prompt) for prompt in PROMPTS[:4]]
    shared = [request(prompt, index, prefixes=((5,), PREFIX)) for index, prompt in enumerate(prompts)]
    apart = recorded(loaded, [request(prompt, index) for index, prompt in enumerate(prompts)])
    together, again = recorded(loaded, shared), recorded(loaded, shared[::-1])
    for key, steps in apart.items():
        assert oracle.distance(together[key], steps) < 1e-5
        assert torch.equal(together[key], again[key])


def test_an_answer_that_ends_at_once_is_empty_and_stopped(llama):
    first = answers(llama, [request(PROMPTS[0])])["row", 0].ids[0]
    reply = answers(llama, [request(PROMPTS[0], end_ids={first}, seeds=range(9))])
    assert {(r.ids, r.finish) for r in reply.values()} == {((), "stop")}
    assert len(reply) == 9


def test_the_end_token_behind_the_last_token_that_fits_is_not_looked_for(llama):
    ids = answers(llama, [request(PROMPTS[0])])["row", 0].ids
    end = next(i for i in range(2, NEW) if ids[i] not in ids[:i])
    cut, ended = (answers(llama, [request(PROMPTS[0], end_ids={ids[end]})], new=n)["row", 0] for n in (end, end + 1))
    assert (cut.ids, cut.finish) == (ids[:end], "length")
    assert (ended.ids, ended.finish) == (ids[:end], "stop")


def test_the_next_row_in_a_slot_has_the_ends_of_its_own_request_alone():
    rows, slot = in_flight.InFlight(1, NEW, 2, None), np.array([0])
    for serial, (ends, token, finish) in enumerate((({5, 7}, 5, ["stop"]), ({6}, 7, []))):
        rows.begin(0, request(PROMPTS[0], end_ids=ends), 0)
        assert [one.finish for one in rows.take(slot, np.array([serial]), np.array([token]))] == finish


@pytest.mark.parametrize("new", [1, 2, 7])
def test_an_answer_is_cut_at_max_new_tokens(llama, new):
    whole = answers(llama, [request(PROMPTS[2])])["row", 0].ids
    reply = answers(llama, [request(PROMPTS[2])], new=new)["row", 0]
    assert (reply.ids, reply.finish) == (whole[:new], "length")


def test_an_answer_stops_once_a_stop_string_stands_in_it(llama_folder, llama):
    tokenizer = load_tokenizer(llama_folder)
    ids = answers(llama, [request(PROMPTS[4])])["row", 0].ids
    stop = tokenizer.text(ids[2:4])
    reply = answers(llama, [request(PROMPTS[4], stopped=lambda new: stop in tokenizer.text(new))])["row", 0]
    assert reply.finish == "stop"
    assert stop in tokenizer.text(reply.ids)
    assert stop not in tokenizer.text(reply.ids[:-1])


def test_samples_of_a_prompt_follow_their_own_seeds(llama):
    sampling = Sampling(temperature=1.5)
    five = answers(llama, [request(PROMPTS[0], seeds=(1, 2, 3, 4, 5))], sampling)
    assert len({reply.ids for reply in five.values()}) == 5
    again = answers(llama, [request(PROMPTS[0], seeds=(4, 2))], sampling)
    assert all(five[key] == reply for key, reply in again.items())


def test_a_prompt_may_fill_the_slot_up_to_its_new_tokens_and_no_further(llama_folder, llama):
    prompt = models.sample(range(4, 24), 1).input_ids
    reply = answers(llama, [request(prompt)], length=len(prompt) + NEW)["row", 0]
    assert reply.ids == theirs(oracle.plain(llama_folder), prompt)
    with pytest.raises(ValueError, match="30 tokens, a slot holds 29"):
        answers(llama, [request(prompt)], length=len(prompt) + NEW - 1)


@pytest.mark.parametrize("family", ["llama", "neox_sequential"])
def test_tokens_that_the_tokenizer_does_not_have_are_drawn_and_read_without_harm(model_folder, family):
    loaded, tokenizer = models.opened(model_folder(family)), load_tokenizer(model_folder(family))
    replies = answers(loaded, [request(PROMPTS[0], seeds=range(20))], Sampling(temperature=3.0))
    assert any(id >= tokenizer.vocab_size for reply in replies.values() for id in reply.ids)
    for reply in replies.values():
        texts = [tokenizer.text(ids) for ids in (reply.ids, [id for id in reply.ids if id < tokenizer.vocab_size])]
        assert len({"".join(text.replace("\ufffd", "").split()) for text in texts}) == 1


def test_nothing_asked_is_nothing_answered(llama):
    assert answers(llama, []) == {}
    assert answers(llama, [request(PROMPTS[0], seeds=())]) == {}
