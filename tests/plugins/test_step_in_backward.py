"""The optimiser inside the backward pass: the same bits, and one gradient at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from accel import Trainer
from accel.errors import ConfigError
from accel.parts import Optim, Part, Precision
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.amp import AMP
from accel.plugins.batch_lr import BatchLR
from accel.plugins.clip import Clip
from accel.plugins.ema import EMA
from accel.plugins.lamb import LAMB
from accel.plugins.lars import LARS
from accel.plugins.muon import Muon
from accel.plugins.onecycle import OneCycle
from accel.plugins.recompute import Recompute
from accel.plugins.schedule_free import ScheduleFree
from accel.plugins.sgd import SGD
from accel.plugins.step_in_backward import StepInBackward
from accel.tasks.models.gpt import GPT
from accel.testing import ToyResult, fit_toy

OPTIMISERS: list[Callable[[], Part]] = [
    SGD,
    lambda: SGD(nesterov=True, weight_decay=0.1, exclude="norm_and_bias"),
    lambda: SGD(fused=False),
    AdamW,
    lambda: AdamW(exclude="norm_and_bias"),
    lambda: AdamW(fused=False),
    lambda: LAMB(max_grad_norm=None, lr=0.01),
    lambda: LARS(lr=1.0),
]


def equal_states(one: ToyResult, other: ToyResult) -> bool:
    states = [outcome.spy.run.parts.optim.state_dict() for outcome in (one, other)]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    assert states[0]["state"].keys() == states[1]["state"].keys()
    return all(
        list(entry) == list(states[1]["state"][number])
        and all(torch.equal(entry[name], states[1]["state"][number][name]) for name in entry)
        for number, entry in states[0]["state"].items()
    )


@pytest.mark.parametrize("optim", OPTIMISERS)
def test_the_same_bits_and_the_same_state(optim: Callable[[], Part]) -> None:
    actual = fit_toy([optim(), StepInBackward(), EMA()], epochs=3)
    plain = fit_toy([optim(), EMA()], epochs=3)
    assert actual.equals(plain)
    assert equal_states(actual, plain)


def test_schedules_momentum_and_rules_reach_it() -> None:
    def plugins() -> list[Part]:
        return [AdamW(), OneCycle(max_lr=0.1, cycle_momentum=True), BatchLR(reference=2), AMP(dtype="bfloat16")]

    assert fit_toy([*plugins(), StepInBackward()]).equals(fit_toy(plugins()))


class Fit(Trainer):
    """Text by a model with tied weights: the embedding is the output layer too."""

    def model(self) -> nn.Module:
        return GPT(16, context=8, width=16, layers=3, heads=2, dropout=0.1)

    def data(self, split: str) -> Any:
        return list(torch.randint(16, (5, 2, 9), generator=torch.Generator().manual_seed(1)))

    def loss(self, model: nn.Module, batch: Tensor) -> Any:
        logits = model(batch[:, :-1])
        return nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()), batch[:, 1:].numel()


def fit(*plugins: Part, **run: Any) -> list[Tensor]:
    return list(Fit(plugins=plugins, watch=(), **{"epochs": 2, **run}).fit().model.parameters())


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_tied_weights_and_recomputed_blocks() -> None:
    plain = fit(AdamW())
    assert same(fit(AdamW(), StepInBackward()), plain)
    assert same(fit(AdamW(), StepInBackward(), Recompute()), plain)


class Alone(StepInBackward):
    """Counts the gradients alive whenever one is complete."""

    def step_parameter(self, param: Tensor) -> None:
        live = sum(other.grad is not None for _, other in self.precision.params)
        self.most = max(getattr(self, "most", 0), live)
        self.steps = getattr(self, "steps", 0) + 1
        super().step_parameter(param)


def test_one_gradient_is_alive_at_a_time() -> None:
    alone = Alone()
    weights = fit(AdamW(), alone)
    assert alone.most == 1
    assert alone.steps == 10 * len(weights), "each parameter once per update, the tied one too"


def test_the_hooks_are_gone_after_the_run() -> None:
    plugin = StepInBackward()
    weights = fit(plugin)
    before = [weight.detach().clone() for weight in weights]
    sum(weight.square().sum() for weight in weights).backward()  # type: ignore[union-attr]
    assert same(weights, before)
    assert all(weight.grad is not None for weight in weights)


def test_resume_with_the_same_bits(tmp_path: Any) -> None:
    whole = fit(AdamW(), StepInBackward())
    fit(AdamW(), StepInBackward(), epochs=1, out=tmp_path / "run")
    assert same(whole, fit(AdamW(), StepInBackward(), resume=tmp_path / "run"))


def test_the_state_of_a_run_without_it_fits() -> None:
    """What the optimiser saved without it can be loaded with it, and the other way round."""
    plain, actual = fit_toy([AdamW()]), fit_toy([AdamW(), StepInBackward()])
    for one, other in ((plain, actual), (actual, plain)):
        one.spy.run.parts.optim.load_state_dict(other.spy.run.parts.optim.state_dict())
    assert equal_states(plain, actual)


class Shared(Optim):
    """An optimiser of one's own, whose state is not known to be each parameter's own."""

    class Sign(torch.optim.Optimizer):
        def step(self, closure: Any = None) -> None: ...

    def build(self, params: Any, device: torch.device) -> torch.optim.Optimizer:
        return Shared.Sign([param for _, param in params], {"lr": self.lr})


class Masters(Precision):
    def parameters(self, model: nn.Module) -> list[tuple[str, Tensor]]:
        self.params = [(name, param.detach().clone().requires_grad_()) for name, param in super().parameters(model)]
        return self.params


@pytest.mark.parametrize(
    ("plugin", "says"),
    [
        (lambda: Accumulate(steps=4), "accumulate adds up those of 4 micro-batches; leave one out: '~plugins.accumulate'"),
        (Clip, "clip limits all of them together; leave one out: '~plugins.clip'"),
        (lambda: Clip(mode="value"), "clip limits all of them together; leave one out: '~plugins.clip'"),
        (
            lambda: AMP(dtype="float16", force=True),
            "amp skips an update when one of all overflows; leave one out: '~plugins.amp'",
        ),
        (LAMB, "lamb: lamb.max_grad_norm limits the norm over all parameters; set plugins.lamb.max_grad_norm=null"),
        (lambda: Muon(matrices=["*"]), "muon: Muon may keep or compute something for several parameters; leave one out: "),
        (ScheduleFree, "schedule_free: ScheduleFree may keep or compute something for several parameters; leave one out: "),
        (Shared, "shared: Sign may keep or compute something for several parameters; leave one out: '~plugins.shared'"),
        (Masters, "masters keeps copies of the weights, which the model's gradients must reach first; leave one out: "),
    ],
)
def test_what_needs_all_gradients_is_refused_by_name(plugin: Callable[[], Part], says: str) -> None:
    for plugins in ([plugin(), StepInBackward()], [StepInBackward(), plugin()]):
        with pytest.raises(ConfigError) as error:
            fit_toy(plugins)
        assert str(error.value).startswith(f"step_in_backward has each gradient for itself, and {says}"), str(error.value)


def test_a_weight_that_is_needed_after_its_step_is_named() -> None:
    class Teacher(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = nn.functional.linear(self.one(x), self.two.weight.detach())
            out: Tensor = self.two(y)
            return out

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = model(x).square().mean()
        return out

    with pytest.raises(ConfigError, match=r"^step_in_backward: the backward pass needs a weight after its gradient"):
        Trainer(Teacher(), [torch.ones(2, 4)], loss=loss, plugins=[StepInBackward()], watch=()).fit()
