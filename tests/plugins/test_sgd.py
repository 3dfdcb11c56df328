import pytest
import torch

from accel.errors import ConfigError
from accel.parts.optim import sgd
from accel.plugins.sgd import SGD
from accel.testing import fit_toy
from tests.support.handwritten_loop import hand_loop


def test_nesterov_and_weight_decay_reach_torch() -> None:
    result = fit_toy([SGD(lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01)])
    settings = {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01, "fused": True}
    weights, _ = hand_loop(lambda model: torch.optim.SGD(model.parameters(), **settings))  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(result.weights, weights, strict=True))


def test_nesterov_needs_momentum() -> None:
    with pytest.raises(ConfigError, match=r"sgd.nesterov needs momentum; set sgd.momentum=0.9"):
        SGD(momentum=0.0, nesterov=True)


def test_a_skipped_first_step_leaves_a_clean_momentum() -> None:
    param = torch.nn.Parameter(torch.ones(1000))
    optimizer = sgd([("weight", param)], fused=True, lr=0.1, momentum=0.9)
    param.grad = torch.full((1000,), torch.inf)
    optimizer.found_inf = torch.ones(())  # type: ignore[attr-defined]
    optimizer.step()
    assert torch.equal(optimizer.state[param]["momentum_buffer"], torch.zeros(1000))
    assert torch.equal(param, torch.ones(1000))


@pytest.mark.parametrize("fused", [True, False])
def test_biases_and_norms_stay_out_of_the_decay_where_asked(fused: bool) -> None:
    optimizer = fit_toy([SGD(weight_decay=0.3, exclude="norm_and_bias", fused=fused)]).spy.run.parts.optim.optimizer
    actual = [(group["weight_decay"], [param.dim() for param in group["params"]]) for group in optimizer.param_groups]
    assert actual == [(0.3, [2, 2]), (0.0, [1, 1, 1, 1])]
