"""The plugin hands its settings over, shares the norm of the gradients, and says what has no effect."""

import pytest
import torch

from accel.errors import AccelWarning
from accel.optim import LAMB as Plain
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.lamb import LAMB
from accel.testing import fit_toy
from tests.support.handwritten_loop import hand_loop


def test_is_the_plain_optimiser_in_a_loop_of_ones_own() -> None:
    settings = {"lr": 0.02, "eps": 1e-5, "weight_decay": 0.3, "max_grad_norm": 0.1, "exclude": "none", "trust_clip": True}
    actual = fit_toy([LAMB(beta1=0.8, beta2=0.95, **settings)])  # type: ignore[arg-type]
    weights, _ = hand_loop(lambda model: Plain(model.parameters(), betas=(0.8, 0.95), **settings))  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))


def test_the_norm_is_that_of_the_clipped_unscaled_gradient() -> None:
    # clipped to 0.05 first, a gradient is never longer than 0.1
    clipped = fit_toy([LAMB(max_grad_norm=0.1), Clip(max_norm=0.05)])
    assert clipped.distance(fit_toy([LAMB(max_grad_norm=None), Clip(max_norm=0.05)])) < 1e-7
    scaled = AMP(dtype="float16", force=True, init_scale=2.0**10)
    assert fit_toy([LAMB(max_grad_norm=0.1), scaled]).distance(fit_toy([LAMB(max_grad_norm=0.1)])) < 2e-3


def test_what_has_no_effect_is_said() -> None:
    with pytest.warns(AccelWarning, match=r"lamb.trust_clip has no effect with lamb.weight_decay=0"):
        fit_toy([LAMB(weight_decay=0.0, trust_clip=True)])
