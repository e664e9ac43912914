"""A base cut into stages: every layer once, each part on its device, the same numbers; else it is refused."""

import pytest
import torch
from transformers.integrations.accelerate import expand_device_map

import architectures
from iikata.core.errors import IikataError
from iikata.model.attention.registry import NAME, register
from iikata.model.base import Base
from iikata.model.links import AHEAD, Links, Pace
from iikata.model.load import load, ready
from iikata.model.memory import without_weights
from iikata.model.stages import cuts, device_map

CPU = torch.device("cpu")
IDS = torch.arange(9)[None]
FAMILIES = ("Mixtral", "gpt-oss", "Gemma 3 (composite)", "Phi-3 (rotary by longrope)", "GPT-BigCode", "DeepSeek-V3")


@pytest.mark.parametrize("family", FAMILIES)
def test_two_stages_give_the_bits_of_the_whole(family, tmp_path):
    architectures.write(tmp_path, architectures.EXACT[family])
    whole, cut = load(tmp_path, "float32"), load(tmp_path, "float32", devices=[CPU] * 2)
    assert [(one.start, one.stop) for one in cut.laid_over.stages] == [(0, 1), (1, 2)]
    assert torch.equal(cut.hidden(IDS, IDS), whole.hidden(IDS, IDS))
    assert torch.equal(cut.logits(cut.hidden(IDS, IDS)), whole.logits(whole.hidden(IDS, IDS)))


def test_accelerates_way_from_device_to_device_is_taken_off(deep_folder):
    """transformers puts it on where weights are loaded onto several devices."""
    from accelerate.hooks import ModelHook, add_hook_to_module
    from transformers import AutoModelForCausalLM

    passed = []

    class Hook(ModelHook):
        def pre_forward(self, module, *args, **kwargs):
            passed.append(module)
            return args, kwargs

    register()
    model = AutoModelForCausalLM.from_pretrained(deep_folder, dtype=torch.float32, attn_implementation=NAME)
    for module in model.modules():
        add_hook_to_module(module, Hook())
    model.hf_device_map = {"": CPU}
    cut = ready(Base(model.eval().requires_grad_(False), deep_folder, CPU, torch.float32), devices=[CPU] * 2)
    assert torch.equal(cut.hidden(IDS, IDS), load(deep_folder, "float32").hidden(IDS, IDS))
    assert not passed


def test_a_model_whose_layers_hand_on_more_than_hidden_states_is_refused_by_name(tmp_path):
    architectures.write(tmp_path, architectures.EXACT["Gemma 4 (text)"])
    load(tmp_path, "float32")
    with pytest.raises(IikataError, match=r"gemma4_text cannot be laid over several devices.*model\.stages: 1"):
        load(tmp_path, "float32", devices=[CPU] * 2)


def test_quantised_bases_are_not_laid_over_several_devices(deep_folder):
    with pytest.raises(IikataError, match=r"without model\.quantize and model\.compute"):
        load(deep_folder, "float32", quantize="8bit", devices=[CPU] * 2)


def config_of(layers, **more):
    from transformers import LlamaConfig

    shape = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "vocab_size": 64}
    return LlamaConfig(num_hidden_layers=layers, **(shape | more))


@pytest.mark.parametrize(
    ("layers", "vocabulary", "parts", "found"),
    [
        (80, 64, 4, [20, 40, 60, 80]),
        (12, 2 * 41_088 // 64, 2, [7, 12]),  # a head as large as two layers
        (3, 100_000, 3, [1, 2, 3]),
    ],
)
def test_stages_have_like_shares_of_the_products_and_the_last_one_has_the_head(layers, vocabulary, parts, found):
    model = without_weights(config_of(layers, vocab_size=vocabulary))
    assert sum(p.numel() for p in model.model.layers[0].parameters()) == 41_088
    assert cuts(model, parts) == found


def test_every_tensor_is_loaded_onto_its_own_device():
    """As from_pretrained reads the map: one place a tensor, the embeddings first, norm and head last."""
    model = without_weights(config_of(12))
    devices = [torch.device("cuda", index) for index in range(3)]
    names = [name for name, _ in model.named_parameters()]
    where = expand_device_map(device_map(model, devices), names)
    ends = cuts(model, 3)
    for name in names:
        layer = int(name.split(".")[2]) if ".layers." in name else None
        if layer is not None:
            assert where[name] == devices[sum(layer >= end for end in ends)], name
    assert where["model.embed_tokens.weight"] == devices[0]
    assert where["model.norm.weight"] == where["lm_head.weight"] == devices[2]


def test_a_layout_is_carried_with_all_that_lies_on_the_device_and_nothing_else():
    from iikata.model.attention.limits import Limits
    from iikata.model.attention.packed import Group
    from iikata.model.attention.varlen import lay_out

    meta = torch.device("meta")
    layout = lay_out([Group((0, 0), ((0, 5), (5, 8)))], 8, Limits.over(5, 8, 0), CPU)
    moved = Links().carry(layout, CPU, meta)
    assert {x.device for x in moved.tensors} == {meta}
    assert moved.limits == layout.limits
    assert Links().carry(layout, CPU, CPU) is layout


def test_a_gpu_is_asked_for_a_few_layers_ahead_and_no_more(monkeypatch):
    """Without a GPU: what is asked for is counted, forward and backward, and the oldest is waited for."""
    waiting, most, done = [], [], []

    class Event:
        def synchronize(self):
            waiting.remove(self)
            done.append(self)

    class Stream:
        def record_event(self):
            waiting.append(Event())
            most.append(len(waiting))
            return waiting[-1]

    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    pace, layers = Pace(CPU), torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(20)))
    for layer in layers:
        layer.register_forward_pre_hook(pace.keep)
    layers(torch.ones(1, 2, requires_grad=True)).sum().backward()
    assert len(most) == 40, "each layer, forward and backward"
    assert max(most) == AHEAD + 1
    assert len(done) == 40 - AHEAD
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    layers(torch.ones(1, 2))
    assert len(most) == 40, "a graph that is recorded is not waited for"
