"""accel without plugins is the loop one would write by hand, bit for bit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from accel.plugins.adamw import AdamW
from accel.plugins.onecycle import OneCycle
from accel.plugins.sgd import SGD
from accel.schema import plugin_registry
from accel.testing import ToyResult, fit_toy
from accel.testing.toy_run import Toy
from tests.support.handwritten_loop import hand_loop
from tests.support.handwritten_schedules import rates


def test_no_plugins_is_the_hand_written_loop() -> None:
    actual = fit_toy([])
    weights, losses = hand_loop(lambda model: torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True))
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(actual.losses, losses, strict=True))


@pytest.mark.parametrize("fused", [True, False])
def test_adamw(fused: bool) -> None:
    actual = fit_toy([AdamW(lr=0.01, fused=fused)])
    weights, losses = hand_loop(lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, fused=fused))
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(actual.losses, losses, strict=True))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd(fused: bool, momentum: float) -> None:
    actual = fit_toy([SGD(lr=0.1, momentum=momentum, weight_decay=1e-3, fused=fused)])
    weights, losses = hand_loop(
        lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum, weight_decay=1e-3, fused=fused)
    )
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(actual.losses, losses, strict=True))


def test_a_schedule_moves_the_same_updates_as_in_a_hand_written_loop() -> None:
    actual = fit_toy([OneCycle(max_lr=0.2)])
    schedulers: list[OneCycleLR] = []

    def make(model: nn.Module) -> torch.optim.Optimizer:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=True)
        schedulers.append(OneCycleLR(optimizer, 0.2, total_steps=12, cycle_momentum=False))
        return optimizer

    def after(model: nn.Module) -> None:
        if schedulers[0].last_epoch < 11:
            schedulers[0].step()

    weights, _ = hand_loop(make, after_step=after)
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))


def plain(model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a run without plugins."""
    trained = [param for param in model.parameters() if param.requires_grad]
    return torch.optim.SGD(trained, lr=0.01, momentum=0.9, fused=True)


SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {"warmup": 3.0, "floor": 0.0},
    "wsd": {"warmup": 0.2, "decay": 5.0, "shape": "sqrt", "floor": 0.0},
    "step": {"warmup": 2.0, "step_size": 0.3, "milestones": None, "gamma": 0.5},
    "polynomial": {"warmup": 0.0, "power": 0.9, "floor": 0.0},
    "constant": {"warmup": 4.0},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rates_of_a_schedule_are_those_that_stand_in_a_hand_written_loop(name: str) -> None:
    actual = fit_toy([plugin_registry.load(name)(**SCHEDULES[name])])
    optimizers, left = list[torch.optim.Optimizer](), rates(name, SCHEDULES[name], 0.01, 12)

    def make(model: nn.Module) -> torch.optim.Optimizer:
        optimizers.append(plain(model))
        return optimizers[0]

    def set_rate(model: nn.Module) -> None:
        optimizers[0].param_groups[0]["lr"] = left.pop(0)

    weights, _ = hand_loop(make, before_step=set_rate)
    assert not left
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))


Loops = tuple[ToyResult, tuple[list[Tensor], list[Tensor]]]


def groups() -> Loops:
    """The first rule that matches counts, alone."""
    rules: list[dict[str, Any]] = [{"match": "4.*", "lr": 0.03, "weight_decay": 0.0}, {"match": "*.bias", "lr_scale": 2}]

    def make(model: Any) -> torch.optim.Optimizer:
        head, biases, rest = [*model[4].parameters()], [model[0].bias, model[1].bias], [model[0].weight, model[1].weight]
        split = [{"params": head, "lr": 0.03, "weight_decay": 0.0}, {"params": biases, "lr": 0.02}, {"params": rest}]
        return torch.optim.AdamW(split, lr=0.01, weight_decay=0.1, fused=True)

    return fit_toy([AdamW(lr=0.01, weight_decay=0.1, groups=rules)]), hand_loop(make)


def frozen_and_thawed() -> Loops:
    """What is thawed joins the optimiser in between two updates, with a state that begins there."""
    optimizers, done = list[torch.optim.Optimizer](), list[None]()

    def make(model: Any) -> torch.optim.Optimizer:
        model[0].requires_grad_(False)
        optimizers.append(plain(model))
        return optimizers[0]

    def thaw(model: Any) -> None:
        done.append(None)
        if len(done) == 7:
            model[0].requires_grad_(True)
            optimizers[0].add_param_group({"params": list(model[0].parameters())})

    return fit_toy([], freeze=[{"match": "0.*", "until": 7}]), hand_loop(make, after_step=thaw)


def ended_within_an_epoch_and_evaluated_in_between() -> Loops:
    """A run of seven updates of twelve, evaluated after every second."""
    return fit_toy([], epochs=99, updates=7, evaluate_every=2, evaluate_batches=1), hand_loop(plain, updates=7)


def half_an_epoch() -> Loops:
    """One epoch of six updates and a half."""
    return fit_toy([], epochs=1.5), hand_loop(plain, updates=9)


def logging_loss() -> Loops:
    """A loss that logs a number beside itself."""
    with pytest.MonkeyPatch.context() as patch:
        loss = Toy.loss
        patch.setattr(Toy, "loss", lambda toy, model, batch: (loss(toy, model, batch), {"size": batch[0].square().mean()}))
        actual = fit_toy([])
    assert actual.metrics.keys() == {"loss", "size"}
    return actual, hand_loop(plain)


LOOPS: list[Callable[[], Loops]] = [
    groups, frozen_and_thawed, ended_within_an_epoch_and_evaluated_in_between, half_an_epoch, logging_loss,
]  # fmt: skip


@pytest.mark.parametrize("both", LOOPS, ids=lambda both: both.__name__)
def test_what_shapes_a_run_is_what_one_would_write_by_hand(both: Callable[[], Loops]) -> None:
    actual, (weights, losses) = both()
    assert all(torch.equal(a, b) for a, b in zip(actual.weights, weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(actual.losses, losses, strict=True))


@pytest.mark.slow
def test_a_fit_without_plugins_needs_neither_hydra_nor_an_extra() -> None:
    code = """
import sys
for name in ("hydra", "omegaconf", "sklearn", "PIL", "lmdb", "cv2", "prefetch_generator", "torch_pruning", "torchao"):
    sys.modules[name] = None
from accel.testing import fit_toy
assert fit_toy([]).losses
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
