"""A base in 8 or 4 bits gives its adapters the gradients of the weights that its bits stand for."""

import pytest
import torch

import models
from iikata.model.buffers import Part
from iikata.model.load import load
from iikata.score.nll import limits_of

bitsandbytes = pytest.importorskip("bitsandbytes")
KINDS = {"4bit": bitsandbytes.nn.Linear4bit, "8bit": bitsandbytes.nn.Linear8bitLt}


def gradients(base):
    """Return an adapter's gradients by name, and the losses of the untuned model before."""
    rows = models.samples(6)
    buffer = base.pack([Part(rows, ())], limits_of(rows, (), 256))
    base.adapt(4, 8, 0.0, "all-linear")
    base.adapters.initialise("t.s0", 0)
    base.set_adapter(None)
    with torch.no_grad():  # as scoring does before training: what a library prepares then must not end gradients
        losses = base.losses(buffer)
    base.set_adapter("t.s0")
    base.losses(buffer).sum().backward()
    return {name: leaf.grad.float() for name, leaf in base.adapters.flats_of("t.s0")[0].leaves.items()}, losses.float()


def stood_for(layer):
    """Return the weight [out, in] that a layer's bits stand for."""
    weight = layer.weight
    if hasattr(weight, "quant_state"):
        return bitsandbytes.functional.dequantize_4bit(weight.data, weight.quant_state)
    scales = weight.SCB if weight.SCB is not None else layer.state.SCB
    return weight.data.float() * scales[:, None] / 127


@pytest.mark.parametrize(("quantize", "near"), [("4bit", 0.05), ("8bit", 0.1)])
def test_every_module_gets_the_gradients_of_the_weights_that_its_bits_stand_for(llama_folder, quantize, near):
    small, plain = load(llama_folder, "bfloat16", quantize), load(llama_folder, "bfloat16")
    layers = dict(plain.model.named_modules())
    quantised = {n: m for n, m in small.model.named_modules() if isinstance(m, KINDS[quantize])}
    assert len(quantised) == 7 * len(plain.model.model.layers)
    for name, layer in quantised.items():
        layers[name].weight.data = stood_for(layer).to(torch.bfloat16)
    (found, losses), (wanted, expected) = gradients(small), gradients(plain)
    assert losses.sub(expected).norm() < near * expected.norm()
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        if gradient.any():  # A's is zero while B is
            assert found[name].sub(gradient).norm() < near * gradient.norm(), name
    assert sum(bool(gradient.any()) for gradient in wanted.values()) == len(quantised)


def test_bitsandbytes_tells_nothing_of_casts(llama_folder, caplog):
    base = load(llama_folder, "bfloat16", quantize="8bit")
    base.hidden(torch.arange(8)[None], torch.arange(8)[None])
    assert [record.getMessage() for record in caplog.records if record.name.startswith("bitsandbytes")] == []
