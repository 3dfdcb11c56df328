"""The state of torch's own optimisers is refused if it is that of parameters of another shape."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from accel.plugins.adamw import AdamW
from accel.testing import fit_toy


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("exp_avg", torch.zeros(1), "exp_avg is a tensor"),
        ("exp_avg_sq", 0.5, "exp_avg_sq is"),
        ("step", torch.zeros(2), "step is a tensor.*one number is wanted"),
    ],
)
def test_a_state_that_no_kernel_could_read_is_refused(name: str, value: Any, message: str) -> None:
    optim = fit_toy([AdamW(fused=False)], epochs=1).spy.run.parts.optim
    state = optim.state_dict()
    optim.load_state_dict(state)
    number = max(state["state"])
    state["state"][number] = {**state["state"][number], name: value}
    with pytest.raises(ValueError, match=message):
        optim.load_state_dict(state)
