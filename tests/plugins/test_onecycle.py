"""Its values against torch's stand in tests/invariants/test_schedules.py."""

import pytest
from torch.utils.data import IterableDataset

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.plugins.onecycle import OneCycle
from accel.plugins.sgd import SGD
from accel.testing import fit_toy
from accel.testing.toy_run import Toy


def test_the_peak_is_the_optimisers_lr_unless_said() -> None:
    assert fit_toy([OneCycle(), SGD(lr=0.2)]).spy.run.parts.schedule.peak == 0.2  # type: ignore[attr-defined]
    assert fit_toy([OneCycle(max_lr=0.5), SGD()]).spy.run.parts.schedule.peak == 0.5  # type: ignore[attr-defined]


def test_an_lr_without_effect_warns() -> None:
    with pytest.warns(AccelWarning, match=r"sgd.lr has no effect: onecycle.max_lr=0.5 sets the learning rate"):
        fit_toy([OneCycle(max_lr=0.5), SGD(lr=0.2)])


def test_momentum_settings_without_effect_warn() -> None:
    with pytest.warns(AccelWarning, match=r"onecycle.max_momentum has no effect without onecycle.cycle_momentum=true"):
        fit_toy([OneCycle(max_momentum=0.9)])


def test_cycling_momentum_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"needs an optimiser with momentum or betas"):
        fit_toy([OneCycle(cycle_momentum=True), SGD(momentum=0.0)])


class Endless(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(Toy().data("train"))


def test_data_without_a_length_is_refused() -> None:
    toy = Toy()
    with pytest.raises(ConfigError, match=r"onecycle needs the number of updates, .*without a length tells; set"):
        Trainer(toy.model(), Endless(), loss=toy.loss, plugins=[OneCycle()], watch=()).fit()


def test_the_last_update_has_the_floor_even_of_one() -> None:
    outcome = fit_toy([OneCycle(max_lr=1.0)], epochs=1, batch_size=100)
    assert outcome.spy.run.updates == 1
    assert outcome.spy.run.parts.optim.optimizer.param_groups[0]["lr"] == 1.0 / 25 / 1e4
