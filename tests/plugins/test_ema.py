import copy
from contextlib import suppress

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from accel import Trainer
from accel.plugins.accumulate import Accumulate
from accel.plugins.ema import EMA
from accel.testing import fit_toy
from tests.support.handwritten_loop import hand_loop


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_it_is_torchs_averaged_model(decay: float) -> None:
    actual = fit_toy([EMA(decay=decay, warmup=False)])
    theirs: list[AveragedModel] = []

    def make(model: nn.Module) -> torch.optim.Optimizer:
        theirs.append(AveragedModel(copy.deepcopy(model), multi_avg_fn=get_ema_multi_avg_fn(decay)))
        theirs[0].n_averaged += 1  # its first update is else a copy of the weights after it
        return torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)

    hand_loop(make, after_step=lambda model: theirs[0].update_parameters(model))
    average = actual.spy.run.parts.average.average  # type: ignore[attr-defined]
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(average, theirs[0].module.parameters(), strict=True))


def test_it_ticks_once_per_update() -> None:
    ema = EMA()
    fit_toy([ema, Accumulate(steps=4)])
    assert ema.step == 4


def test_warmup_shortens_a_young_memory() -> None:
    assert [EMA().decay_at(step) for step in (0, 8)] == [0.1, 0.5]
    assert EMA().decay_at(100_000) == 0.999
    assert EMA(warmup=False).decay_at(0) == 0.999


def test_evaluation_uses_the_average_and_gives_the_weights_back() -> None:
    ema = EMA(decay=0.9)
    outcome = fit_toy([ema], dropout=0.0)
    plain = fit_toy([], dropout=0.0)
    assert outcome.metrics != plain.metrics
    # the trained weights are those of the run without an average, bit for bit
    assert all(torch.equal(a, b) for a, b in zip(outcome.spy.states[-1], plain.spy.states[-1], strict=False))


def test_the_result_has_the_averaged_weights() -> None:
    ema = EMA(decay=0.9)
    outcome = fit_toy([ema])
    assert all(torch.equal(a, b) for a, b in zip(outcome.weights, ema.average, strict=True))


def test_an_error_in_evaluation_still_gives_the_weights_back() -> None:
    ema = EMA(decay=0.0, warmup=False)
    outcome = fit_toy([ema])
    model = outcome.spy.run.unwrapped_model
    torch._foreach_zero_(ema.average)
    before = [param.clone() for param in model.parameters()]
    with suppress(ZeroDivisionError), ema.weights(model):
        assert all((param == 0).all() for param in model.parameters())
        raise ZeroDivisionError
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_the_average_of_another_model_is_refused() -> None:
    ema = EMA()
    fit_toy([ema])
    state = ema.state_dict()
    name, average = next(iter(state["average"].items()))
    ema.load_state_dict(state)
    with pytest.raises(ValueError, match="those of another model"):
        ema.load_state_dict({**state, "average": {**state["average"], name: average.reshape(-1)[:1]}})


def test_the_share_of_an_update_is_filled_in_before_a_replay() -> None:
    """Also where the model has one parameter alone."""
    ema, model = EMA(decay=0.9), nn.Linear(3, 1, bias=False)
    Trainer(model, [torch.ones(2, 3)], loss=lambda model, x: model(x).mean(), plugins=[ema], watch=(), epochs=1).fit()
    ema.to_device_scalars()
    step = ema.step
    ema.before_replay()
    assert ema.step == step + 1
    assert float(ema.weight) == pytest.approx(1 - ema.decay_at(step))  # type: ignore[arg-type]
