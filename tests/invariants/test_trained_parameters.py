"""Parameters that are unfrozen, frozen, replaced or made while a run goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.parts import Part, Run, Watch
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.clip import Clip
from accel.plugins.cosine import Cosine
from accel.plugins.ema import EMA
from accel.plugins.finite_guard import FiniteGuard
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.master_weights import MasterWeights
from accel.plugins.muon import Muon
from accel.plugins.onecycle import OneCycle
from accel.plugins.oom import OOM
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from accel.plugins.step_in_backward import StepInBackward

EPOCHS = 3
SETS: dict[str, Callable[[], list[Part]]] = {
    "default": list,
    "sgd": lambda: [SGD(lr=0.1), Cosine()],
    "not fused": lambda: [AdamW(fused=False, exclude="norm_and_bias")],
    "adamw, cycled betas": lambda: [AdamW(), OneCycle(), EMA(decay=0.5), Clip(max_norm=0.1)],
    "lamb": lambda: [LAMB(lr=0.01), EMA()],
    "lars": lambda: [LARS(), Accumulate(steps=2)],
    "muon": lambda: [Muon(), FiniteGuard()],
    "schedule_free": lambda: [ScheduleFree(warmup=0.0), Clip()],
    "master_weights": lambda: [MasterWeights(), AdamW(), EMA()],
    "amp, oom": lambda: [AMP(dtype="float16", force=True, init_scale=1024.0), OOM(), AdamW()],
    "step_in_backward": lambda: [StepInBackward(), AdamW()],
}


def net() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    model[:4].requires_grad_(False)
    return model


def loss(model: nn.Module, batch: Any) -> Tensor:
    return cross_entropy(model(batch[0]), batch[1])


def data() -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 6, generator=generator), torch.randint(0, 3, (8,), generator=generator)) for _ in range(4)]


@dataclass(eq=False)
class Change(Watch):
    """Changes the model after the evaluation of each epoch, and may end the run after an update."""

    stop: int = 0

    def begin(self, run: Run) -> None:
        self.run, self.model = run, cast(Any, run.unwrapped_model)

    def after(self, step: int, loss: Tensor) -> None:
        if step == self.stop:
            raise KeyError("stop")

    def evaluated(self, epoch: int, metrics: dict[str, float]) -> None:
        self.change(epoch)

    def change(self, epoch: int) -> None:
        """Unfreeze one layer after the other, and freeze the last for an epoch."""
        if epoch == 1:
            self.model[3].requires_grad_(True)
            self.model[5].requires_grad_(False)
        elif epoch == 2:
            self.model[:2].requires_grad_(True)
            self.model[5].requires_grad_(True)


def fit(plugins: list[Part], watch: Watch, model: nn.Module | None = None, **settings: Any) -> Any:
    settings = {"epochs": EPOCHS, "val": data()} | settings
    return Trainer(net() if model is None else model, data(), loss=loss, plugins=plugins, watch=[watch], **settings).fit()


@pytest.mark.filterwarnings("ignore:muon. the model has no hidden matrices")
@pytest.mark.parametrize(("name", "place"), [(name, number % 2) for number, name in enumerate(SETS)])
def test_unfrozen_layers_are_trained_and_a_run_is_resumed_in_between(name: str, place: int, tmp_path: Path) -> None:
    whole = fit(SETS[name](), Change())
    for before, after in zip(net().parameters(), whole.model.parameters(), strict=True):
        assert not torch.equal(before, after)
    assert any("trained from update" in remark for remark in whole.remarks)
    stop = 2 * (whole.updates // EPOCHS) + place
    with pytest.raises(KeyError):
        fit(SETS[name](), Change(stop=stop), out=tmp_path, checkpoint_every=stop)
    resumed = fit(SETS[name](), Change(), out=tmp_path, resume="auto")
    assert all(map(torch.equal, whole.model.parameters(), resumed.model.parameters()))


def test_equals_a_loop_by_hand() -> None:
    result = fit([AdamW(lr=0.01, exclude="norm_and_bias")], Change(), val=data())
    model = net()
    groups = [{"params": [], "weight_decay": 0.01}, {"params": [], "weight_decay": 0.0}]
    trained: set[nn.Parameter] = set()
    optim: Any = None
    for epoch in range(EPOCHS):
        new = [param for param in model.parameters() if param.requires_grad and param not in trained]
        trained |= set(new)
        for group, params in zip(groups, ([p for p in new if p.dim() > 1], [p for p in new if p.dim() <= 1]), strict=True):
            if optim is None:
                cast(list[Any], group["params"]).extend(params)
            elif params:
                optim.add_param_group({**group, "params": params})
        optim = optim or torch.optim.AdamW(groups, lr=0.01, fused=True)
        for batch in data():
            optim.zero_grad()
            loss(model, batch).backward()
            optim.step()
        change = Change()
        change.model = cast(Any, model)
        change.change(epoch + 1)
    for one, other in zip(result.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_each_parameter_is_corrected_by_its_own_steps_where_betas_cycle() -> None:
    """In float64, by hand: each first moment is divided by the weight that it has given to the gradients of its parameter."""

    class Unfreeze(Change):
        def change(self, epoch: int) -> None:
            if epoch == 1:
                self.model[3].requires_grad_(True)

    schedule = OneCycle(max_lr=0.05, cycle_momentum=True)
    result = fit([AdamW(weight_decay=0.0), schedule], Unfreeze())
    model = net().double()
    states: dict[nn.Parameter, list[Any]] = {}
    change = Unfreeze()
    change.model = cast(Any, model)
    for step in range(EPOCHS * len(data())):
        if step and step % len(data()) == 0:
            change.change(step // len(data()))
        x, y = data()[step % len(data())]
        model.zero_grad()
        loss(model, (x.double(), y)).backward()
        lr, beta = schedule.lr(step), schedule.momentum(step)
        with torch.no_grad():
            for param in model.parameters():
                if param.grad is not None:
                    m, v, product, count = states.get(param, [0.0, 0.0, 1.0, 0])
                    m, v = beta * m + (1 - beta) * param.grad, 0.999 * v + 0.001 * param.grad**2
                    product, count = product * beta, count + 1
                    states[param] = [m, v, product, count]
                    param -= lr * m / (1 - product) / ((v / (1 - 0.999**count)).sqrt() + 1e-8)
    for one, other in zip(result.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


def test_what_was_unfrozen_in_mid_epoch_is_trained_from_the_next_on_and_its_gradient_is_new() -> None:
    class MidEpoch(Change):
        def after(self, step: int, loss: Tensor) -> None:
            if step == 6:
                self.model[3].requires_grad_(True)
            if step in (8, 9):
                weight = self.model[3].weight
                assert torch.equal(weight, net()[3].weight) == (step == 8)
                assert step == 8 or weight.grad is None

        def change(self, epoch: int) -> None: ...

    fit([SGD(lr=0.1)], MidEpoch())


@pytest.mark.filterwarnings("ignore:muon. the model has no hidden matrices")
@pytest.mark.parametrize("name", ["muon", "master_weights", "adamw, cycled betas"])
def test_a_layer_that_takes_the_place_of_another_is_trained(name: str, tmp_path: Path) -> None:
    class Replace(Change):
        def change(self, epoch: int) -> None:
            if epoch == 2:
                self.model[5] = nn.Linear(8, 3)
                self.fresh = self.model[5].weight.detach().clone()

    watch = Replace()
    with pytest.warns(AccelWarning, match=r"other parameters than before \(5.weight and 1 more\): the optimiser"):
        result = fit(SETS[name](), watch)
    assert not torch.equal(result.model[5].weight, watch.fresh)
    with pytest.warns(AccelWarning), pytest.raises(KeyError):
        fit(SETS[name](), Replace(stop=10), out=tmp_path, checkpoint_every=5)
    resumed = fit(SETS[name](), Replace(), out=tmp_path, resume="auto")
    assert all(map(torch.equal, result.model.parameters(), resumed.model.parameters()))


def test_a_layer_that_is_added_in_mid_run_is_trained() -> None:
    class Add(Change):
        def change(self, epoch: int) -> None:
            if epoch == 2:
                self.model.append(nn.Linear(3, 3))
                self.fresh = self.model[6].weight.detach().clone()

    watch = Add()
    with pytest.warns(AccelWarning, match="a resumed run finds it only if model"):
        result = fit([], watch)
    assert not torch.equal(result.model[6].weight, watch.fresh)


class Registers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "scale"):
            self.scale = nn.Parameter(torch.ones(3))
        return cast(Tensor, self.linear(x) * self.scale)


@pytest.mark.parametrize("settings", [{}, {"dry_run": True}, {"val": None, "epochs": 1}])
def test_parameters_that_the_first_forward_pass_makes_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"the model made scale when the optimiser was built already.*call the model once"):
        fit([], Change(), Registers(), **settings)
    model = Registers()
    model(torch.ones(1, 6))
    fit([], Change(), model, val=None)
    assert not torch.equal(model.scale.detach(), torch.ones(3))


def test_ties_stay_ties() -> None:
    class Tie(Change):
        def change(self, epoch: int) -> None:
            if epoch == 1:
                self.model[0].requires_grad_(True)

    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 3))
    model[2].weight = model[0].weight
    model[0].requires_grad_(False)
    result = fit([AdamW(), EMA(decay=0.5)], Tie(), model)
    assert result.model[2].weight is result.model[0].weight


def test_a_checkpoint_of_a_run_with_other_layers_frozen_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        fit([], Change(stop=6), out=tmp_path, checkpoint_every=1)
    model = net()
    model[3].requires_grad_(True)
    with pytest.raises(ConfigError, match="it began with other parameters frozen"):
        fit([], Change(), model, out=tmp_path, resume="auto")
