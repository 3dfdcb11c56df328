from dataclasses import dataclass
from math import sqrt

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.parts import Parallel, Part
from accel.plugins.accumulate import Accumulate
from accel.plugins.adamw import AdamW
from accel.plugins.batch_lr import BatchLR
from accel.plugins.cosine import Cosine
from accel.plugins.cyclic import Cyclic
from accel.plugins.onecycle import OneCycle
from accel.plugins.sgd import SGD
from accel.testing import fit_toy


def rates(*plugins: Part, **toy: int) -> list[float]:
    """The rates of the parameter groups after a run; a batch of the toy has 4 samples."""
    return [group["lr"] for group in fit_toy(plugins, **toy).spy.run.parts.optim.optimizer.param_groups]  # type: ignore[arg-type]


@dataclass(eq=False)
class Three(Parallel):
    """One of three processes, which talk to nobody."""

    @property
    def world_size(self) -> int:
        return 3


def test_double_the_batch_doubles_the_rate() -> None:
    assert rates(BatchLR(reference=2), SGD(lr=0.1)) == [0.2]
    assert rates(BatchLR(reference=2), SGD(lr=0.1), batch_size=8) == [0.4]
    assert rates(BatchLR(reference=2, rule="sqrt"), AdamW(lr=0.1)) == [0.1 * sqrt(2)]


def test_accumulation_and_ranks_are_counted_in() -> None:
    assert rates(BatchLR(reference=8), SGD(lr=0.1), Accumulate(steps=4)) == [0.2]
    assert rates(BatchLR(reference=8), SGD(lr=0.1), Accumulate(steps=2), Three()) == [pytest.approx(0.3)]


def test_the_run_is_the_one_with_that_rate() -> None:
    actual = fit_toy([BatchLR(reference=2), SGD(lr=0.125), Cosine()])
    assert actual.equals(fit_toy([SGD(lr=0.25), Cosine()]))


@pytest.mark.parametrize("schedule", [Cosine, OneCycle, Cyclic, lambda: OneCycle(max_lr=0.5), lambda: Cyclic(max_lr=0.5)])
def test_every_schedule_is_scaled_over_its_whole_length(schedule: type[Part]) -> None:
    scaled = fit_toy([BatchLR(reference=2), SGD(), schedule()]).spy.run.parts.schedule
    plain = fit_toy([SGD(), schedule()]).spy.run.parts.schedule
    assert [scaled.lr(step) for step in range(12)] == pytest.approx([2 * plain.lr(step) for step in range(12)], rel=1e-12)


def test_groups_keep_their_ratio_and_the_setting_its_value() -> None:
    class Two(SGD):
        def build(self, params: list[tuple[str, Tensor]], device: torch.device) -> Optimizer:
            first, *rest = [param for _, param in params]
            return torch.optim.SGD([{"params": [first]}, {"params": rest, "lr": 3 * self.lr}], lr=self.lr)

    optim = Two(lr=0.1)
    for _ in range(2):  # the same instance again: nothing is scaled twice
        assert rates(BatchLR(reference=2), optim) == pytest.approx([0.2, 0.6])
    assert optim.lr == 0.1


def test_the_plan_says_how_it_came_about() -> None:
    facts = fit_toy([BatchLR(reference=16, rule="sqrt"), SGD(lr=0.1)]).spy.run.plan.facts
    assert facts["learning rates"] == "x 0.5 = the root of 4 / 16"
    assert facts["learning rate"] == "0.05, constant"


def test_at_the_reference_it_warns() -> None:
    with pytest.warns(AccelWarning, match=r"batch_lr has no effect: the effective batch is its reference, 4"):
        fit_toy([BatchLR(reference=4)])


def test_ready_batches_are_refused() -> None:
    trainer = Trainer(torch.nn.Linear(3, 1), [torch.ones(2, 3)], loss=lambda net, x: net(x).mean(), plugins=[BatchLR()], watch=())
    with pytest.raises(ConfigError, match=r"batch_lr needs batch_size, and the data comes in ready batches"):
        trainer.fit()
