"""The learning rate is transformers' at every step."""

import pytest
import torch
import transformers

from iikata.train.arm_run import rate

SCHEDULES = {
    "linear": transformers.get_linear_schedule_with_warmup,
    "cosine": transformers.get_cosine_schedule_with_warmup,
    "constant": lambda optimizer, warmup, steps: transformers.get_constant_schedule_with_warmup(optimizer, warmup),
}


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 1, 5, 12, 20])
@pytest.mark.parametrize("steps", [1, 12])
def test_rates_are_those_of_transformers_schedules(kind, warmup, steps):
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=3e-4)
    schedule = SCHEDULES[kind](optimizer, warmup, steps)
    for step in range(steps):
        assert rate(step, steps, 3e-4, warmup, kind) == pytest.approx(schedule.get_last_lr()[0], rel=1e-12, abs=1e-18)
        optimizer.step()
        schedule.step()
