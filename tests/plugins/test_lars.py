"""The plugin hands its settings over."""

import pytest
import torch

from accel.errors import ConfigError
from accel.optim import LARS as Plain
from accel.plugins.lars import LARS
from accel.testing import fit_toy
from tests.support.handwritten_loop import hand_loop


def test_is_the_plain_optimiser_in_a_loop_of_ones_own() -> None:
    settings = {
        "lr": 2.0, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01, "trust_coefficient": 0.01, "eps": 1e-6,
        "exclude": "none", "trust_clip": True,
    }  # fmt: skip
    actual = fit_toy([LARS(**settings)])  # type: ignore[arg-type]
    weights, _ = hand_loop(lambda model: Plain(model.parameters(), **settings))  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ConfigError, match=r"lars.nesterov needs momentum; set lars.momentum=0.9"):
        LARS(momentum=0.0, nesterov=True)
