"""8-bit products are the 16-bit ones within the format's rounding, forward and backward."""

import pytest
import torch
from torch import nn

import models
from iikata.core.errors import IikataError
from iikata.core.records import Arm
from iikata.model.fp8 import Fp8Linear, quantize
from iikata.model.load import MOST_ROUNDING, _round_to_fp8, load
from iikata.train import ArmRun, TrainingArgs, train


def test_a_number_comes_back_within_half_a_step_of_the_format():
    x = torch.randn(50, 64, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 50)[:, None]
    small, scale = quantize(x)
    # Three bits behind the point: half a step is 2**-4 of a number, or of the smallest normal one.
    bound = torch.maximum(x.abs() * 2**-4, scale * 2**-6)
    assert ((small.float() * scale - x).abs() <= bound * 1.001).all()
    alone, _ = quantize(x[7:8])
    assert torch.equal(alone.float(), small[7:8].float())  # a row's bits follow from the row alone


def test_a_row_of_zeros_stays_zero():
    small, scale = quantize(torch.zeros(2, 16))
    assert not (small.float() * scale).any()


def test_outputs_and_input_gradients_are_near_those_of_the_layer():
    torch.manual_seed(0)
    layer = nn.Linear(64, 48).requires_grad_(False)
    x, y = (torch.randn(3, 20, 64).requires_grad_() for _ in range(2))
    y.data.copy_(x.data)
    ours, theirs = Fp8Linear(layer)(x), layer(y)
    grad = torch.randn_like(theirs)
    ours.backward(grad)
    theirs.backward(grad)
    for a, b in ((ours.detach(), theirs.detach()), (x.grad, y.grad)):
        assert 0 < (a - b).norm() / b.norm() < 0.05


def test_a_device_without_8_bit_products_is_refused(llama_folder):
    with pytest.raises(IikataError, match=r"model\.compute: fp8"):
        load(llama_folder, "float32", compute="fp8")


def test_a_model_keeps_its_logits_within_rounding_and_the_share_is_noted(llama_folder):
    loaded = load(llama_folder, "float32")
    _round_to_fp8(loaded)
    assert 0 < loaded.rounding < MOST_ROUNDING
    assert {type(m).__name__ for m in loaded.model.model.layers.modules()} >= {"Fp8Linear"}
    assert type(loaded.model.get_output_embeddings()) is nn.Linear


def test_adapters_learn_over_8_bit_products_nearly_as_over_others(llama_folder):
    losses = []
    for small in (False, True):
        loaded = load(llama_folder, "float32")
        if small:
            _round_to_fp8(loaded)
        loaded.adapt(4, 8, 0.0, "all-linear")
        run = ArmRun(Arm("t", 0), models.samples(8), (), TrainingArgs(20, 8, 1e-2), loaded)
        losses.append([step.loss for step in train([run])])
    plain, rounded = losses
    assert rounded[-1] < 0.8 * rounded[0]
    assert rounded == pytest.approx(plain, rel=0.1)


def test_a_model_that_8_bits_change_beyond_rounding_is_refused(llama_folder, monkeypatch):
    monkeypatch.setattr("iikata.model.load.MOST_ROUNDING", 1e-6)
    with pytest.raises(IikataError, match="more than rounding"):
        _round_to_fp8(load(llama_folder, "float32"))
