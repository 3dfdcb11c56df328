"""Its values against torch's stand in tests/invariants/test_schedules.py."""

from accel.plugins.cosine import Cosine
from accel.plugins.sgd import SGD
from accel.testing import fit_toy


def test_warmup_is_a_share_below_one_and_a_count_from_one() -> None:
    assert fit_toy([Cosine(warmup=0.25)]).spy.run.parts.schedule.warmup_updates == 3  # type: ignore[attr-defined]
    assert fit_toy([Cosine(warmup=1)]).spy.run.parts.schedule.warmup_updates == 1  # type: ignore[attr-defined]
    assert fit_toy([Cosine(warmup=0)]).spy.run.parts.schedule.warmup_updates == 0  # type: ignore[attr-defined]


def test_it_starts_at_the_optimisers_lr_without_warmup() -> None:
    schedule = fit_toy([Cosine(warmup=0), SGD(lr=0.4)]).spy.run.parts.schedule
    assert schedule.lr(0) == 0.4
