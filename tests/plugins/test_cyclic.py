"""Its values against torch's stand in tests/invariants/test_schedules.py."""

import pytest
from torch.utils.data import IterableDataset

from accel import Trainer
from accel.errors import AccelWarning, ConfigError
from accel.plugins.adamw import AdamW
from accel.plugins.cyclic import Cyclic
from accel.plugins.sgd import SGD
from accel.testing import check_plugin, fit_toy
from accel.testing.toy_run import Toy
from tests.support.companions import COMPANIONS


def schedule(plugin: Cyclic, **toy: int) -> Cyclic:
    """The plugin after a run of 12 updates with SGD at 0.3, unless `toy` says more."""
    fit_toy([plugin, SGD(lr=0.3)], **toy)  # type: ignore[arg-type]
    return plugin


def test_a_step_size_is_a_share_below_one_and_a_count_from_one() -> None:
    share, count = schedule(Cyclic(step_size=0.25)), schedule(Cyclic(step_size=5, step_size_down=1))
    assert (share.climb_updates, share.fall_updates) == (3, 3)
    assert (count.climb_updates, count.fall_updates) == (5, 1)
    assert schedule(Cyclic(step_size=0.01)).climb_updates == 1, "a share of less than one update is one"


def test_valleys_and_peaks_are_exact() -> None:
    actual = schedule(Cyclic(step_size=3, div_factor=3, mode="triangular2"))
    base, peak = 0.3 / 3, 0.3
    assert [actual.lr(step) for step in (0, 6, 12, 600)] == [base] * 4
    assert actual.lr(3) == peak
    assert actual.lr(9) == base + (peak - base) / 2
    assert schedule(Cyclic(mode="exp_range", gamma=0.5, step_size=2, div_factor=3)).lr(2) == base + (peak - base) / 4


def test_the_plan_says_what_it_does() -> None:
    assert schedule(Cyclic(div_factor=3)).plan_notes() == {
        "learning rate": "0.1 up to 0.3 (the optimiser's lr) in 2 updates, down in 2"
    }  # fmt: skip
    assert (
        schedule(Cyclic(max_lr=0.3, mode="triangular2"))
        .plan_notes()["learning rate"]
        .endswith("down in 2, half as high each cycle")
    )


def test_settings_without_effect_warn() -> None:
    with pytest.warns(AccelWarning, match=r"cyclic.gamma has no effect without cyclic.mode=exp_range"):
        fit_toy([Cyclic(gamma=0.5)])
    with pytest.warns(AccelWarning, match=r"cyclic.base_momentum has no effect without cyclic.cycle_momentum=true"):
        fit_toy([Cyclic(base_momentum=0.5)])
    with pytest.warns(AccelWarning, match=r"sgd.lr has no effect: cyclic.max_lr=0.5 sets the learning rate"):
        fit_toy([Cyclic(max_lr=0.5), SGD(lr=0.2)])


def test_cycling_momentum_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cyclic.cycle_momentum needs an optimiser with momentum or betas"):
        fit_toy([Cyclic(cycle_momentum=True), SGD(momentum=0.0)])


def test_beta1_is_moved_and_beta2_kept() -> None:
    run = fit_toy([Cyclic(cycle_momentum=True, step_size=11), AdamW(beta2=0.95)]).spy.run
    assert run.parts.optim.optimizer.param_groups[0]["betas"] == (0.8, 0.95), "the twelfth update is the peak"


class Endless(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(Toy().data("train"))


def fit_endless(plugin: Cyclic) -> None:
    toy = Toy()
    Trainer(toy.model(), Endless(), loss=toy.loss, plugins=[plugin], watch=()).fit()


def test_data_without_a_length_takes_a_number_of_updates() -> None:
    plugin = Cyclic(step_size=4)
    fit_endless(plugin)
    assert plugin.lr(4) == plugin.peak
    with pytest.raises(ConfigError, match=r"cyclic needs the number of updates, .*without a length tells; set"):
        fit_endless(Cyclic(step_size=0.5))


@pytest.mark.slow
def test_the_common_suite_with_momentum() -> None:
    check_plugin(lambda: Cyclic(max_lr=0.1, mode="exp_range", gamma=0.9, cycle_momentum=True), beside=COMPANIONS)
