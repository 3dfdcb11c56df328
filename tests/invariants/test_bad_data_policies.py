"""What becomes of a sample that cannot be read: left out, replaced, or the error itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from accel.data.batches.bad_samples import BadSampleRule
from accel.data.batches.make_batches import make_batches
from accel.data.loaders.ring import Ring
from accel.data.loaders.thread_pool import ThreadPool as Pool
from accel.data.loaders.worker_pool import WorkerPool as Processes
from accel.errors import BadSample, ConfigError, TrainingError
from tests.support.sample_datasets import SAMPLES, Drawn, Filled, md5
from tests.support.spoilt_datasets import POLICIES, SPOILT, over, spoil


def test_skip_leaves_them_out_and_changes_no_other() -> None:
    whole = {float(x[0, 0]): x for batch, _ in make_batches(Drawn(), 4, seed=3, shuffle=True).epoch(2) for x in batch}
    shown = [x for batch, _ in over(Drawn, "skip").epoch(2) for x in batch]
    assert len(shown) == SAMPLES - len(SPOILT)
    assert all(torch.equal(whole[float(x[0, 0])], x) for x in shown)
    assert not SPOILT & {int(x[0, 0]) for x in shown}
    labels = [int(y) for _, ys in over(Drawn, "skip").epoch(2) for y in ys]
    assert labels == [int(x[0, 0]) % 2 for x in shown]


def test_a_substitute_is_shown_as_it_is_itself() -> None:
    """With its own random numbers of this epoch, so what stands for a sample is one of the others, to the bit."""
    good = make_batches(Drawn(), 1, seed=3, shuffle=True)
    with_bad = make_batches(spoil(Drawn), 1, seed=3, shuffle=True, bad=BadSampleRule("substitute", 1.0))
    drawn: list[dict[int, int]] = [{}, {}]
    for epoch in (0, 1):
        of = {int(x[0, 0, 0]): x for x, _ in good.epoch(epoch)}
        for (wanted, _), (shown, label) in zip(good.epoch(epoch), with_bad.epoch(epoch), strict=True):
            index, other = int(wanted[0, 0, 0]), int(shown[0, 0, 0])
            assert (other == index) == (index not in SPOILT)
            assert torch.equal(shown, of[other])
            assert int(label) == other % 2
            drawn[epoch] |= {index: other} if index in SPOILT else {}
    assert len(set(drawn[0].values())) > 1
    assert drawn[0] != drawn[1], "another one in every epoch"


@POLICIES
def test_a_batch_of_which_nothing_is_left(policy: Any) -> None:
    """In training it consists of others, so that every epoch has all of its batches; evaluation is without it."""
    bad = frozenset({*range(4, 8), 22})
    for kind in (Filled, Drawn):
        rule = BadSampleRule(policy, 1.0)
        train, held_out = make_batches(spoil(kind, bad), 4, 3, False, bad=rule), over(kind, policy, bad, train=False)
        assert [len(x) for x, _ in train.epoch(0)] == [4, 4, 4, 4, 4, 2 if policy == "skip" else 3]
        assert [len(x) for x, _ in held_out.epoch(0)] == [4, 4, 4, 4, 2]
        with Ring.from_batches(held_out, Pool(2), 2, False) as ring:
            assert md5(ring.epoch(0)) == md5(held_out.epoch(0))
        workers = Processes([train, held_out], 2, prefetch=1, timeout=60)  # type: ignore[list-item]
        for which, batches in enumerate([train, held_out]):
            assert md5(workers.batches(which, 0, 0)) == md5(batches.epoch(0))
        workers.close()


def test_rows_move_up_in_their_slot_and_the_slot_comes_back() -> None:
    with Ring(spoil(Filled), 4, seed=3, shuffle=True, threads=2, depth=1, bad="skip", bad_limit=1.0) as ring:
        assert ring.pool is not None
        for epoch in range(4):
            for x, _ in ring.epoch(epoch):
                assert x.is_contiguous()
                assert (x >= 0).all(), "no row of a sample that failed"
        assert ring.pool.allocated <= 4, "depth + 2, and one that a thread still holds"


@pytest.mark.parametrize("kind", [Filled, Drawn])
def test_too_many_end_the_run_with_their_number_and_the_first_few(kind: type) -> None:
    says = r"3 of 23 train samples cannot be read, which is above bad_limit=0.1: sample \d+: .* \| sample .*; mend them, take"

    def read(batches: Iterator[Any]) -> int:
        actual: list[Any] = []
        with pytest.raises(TrainingError, match=says):
            actual.extend(batches)
        return len(actual)

    plain = read(over(kind, "skip", limit=0.1).epoch(0))
    workers = Processes([over(kind, "skip", limit=0.1)], 2, prefetch=2, timeout=60)
    assert read(workers.batches(0, 0, 0)) == plain
    workers.close()
    pool = Pool(2)
    assert read(Ring.from_batches(over(kind, "skip", limit=0.1), pool, 3, False).epoch(0)) == plain, "at the same batch"
    pool.close()
    list(over(kind, "skip", limit=4 / 23).epoch(0))


def test_nothing_to_put_in_its_place() -> None:
    with pytest.raises(TrainingError, match=r"train sample \d+ cannot be read, nor any of 16 drawn in its place .*mend the data"):
        list(over(Drawn, "substitute", frozenset(range(SAMPLES))).epoch(0))


class Broken(Drawn):
    """Nothing is wrong with a sample."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def sample(self, index: int, rng: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error", [ConfigError("no such package"), MemoryError(), OSError(24, "too many open files"), TrainingError("x")]
)
def test_what_is_no_fault_of_a_sample_is_never_passed_over(error: Exception) -> None:
    batches = make_batches(Broken(error), 4, bad=BadSampleRule("skip", 1.0))
    with pytest.raises(type(error)):
        list(batches.epoch(0))


def test_raise_is_the_error_itself() -> None:
    with pytest.raises(KeyError):
        list(over(Filled, "raise").epoch(0))
    with pytest.raises(BadSample, match="cannot read number"):
        list(over(Drawn, "raise").epoch(0))
